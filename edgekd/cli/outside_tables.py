"""The tables of ``edgekd benchmark`` that look outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.output import print_table, printable
from edgekd.report_format import number

if TYPE_CHECKING:
    from edgekd.outside.device import DeviceReport


def _print(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table below its title, which holds names of strangers and is therefore no markup."""
    click.echo(printable(title))
    print_table(header, rows)


def show_operators(name: str, facts: Mapping[str, Any]) -> None:
    """The slowest operators of a model."""
    from edgekd.op_profile import LITTLE_COVERED, TOP

    operators = facts["operators"]
    rows = [
        [
            row["name"],
            str(row["index"]),
            "XNNPACK" if row["in_delegate"] else "built-in",
            number(row["ms"], 4),
            f"{row['share']:.1%}",
        ]
        for row in operators[:TOP]
    ]
    inside = sum(row["share"] for row in operators if row["in_delegate"])
    title = f"{name}: the slowest of {len(operators)} operators; in XNNPACK {inside:.0%} of their time"
    _print(title, ["operator", "node", "runs in", "ms", "share"], rows)
    if facts.get("covered", 1.0) < LITTLE_COVERED:
        click.echo(
            f"note: {name}: the operators add up to {facts['covered']:.0%} of an inference without profiling "
            f"({facts['invoke_ms']:.3f} ms). LiteRT counts an operator in whole microseconds, rounded down: of a model "
            "this fast, or on a busy machine, shares are rough",
            err=True,
        )


def show_onnx(facts: Mapping[str, Any]) -> None:
    """ONNX Runtime beside LiteRT, answers first."""
    rows = []
    for name, row in facts.items():
        if "not_compared" in row:
            click.echo(f"note: {row['not_compared']}", err=True)
            continue
        answers = row["answers"]
        rows.append(
            [
                name,
                str(answers["max_units"]),
                f"{answers['top1_flips']} of {answers['num_inputs']}",
                *(number(row.get(key), 3) for key in ("litert_p50_ms", "p50_ms")),
                number(row.get("ratio"), 2),
                row.get("verdict", "not shown"),
            ]
        )
        if "ratio" not in row:
            click.echo(
                f"note: {name}: ONNX Runtime is up to {answers['max_units']} int8 units off; the time of other answers "
                "is not shown",
                err=True,
            )
    header = [
        "model",
        "largest difference, int8 units",
        "top-1 flips",
        "LiteRT p50 ms",
        "ONNX p50 ms",
        "ratio",
        "ONNX is",
    ]
    _print("ONNX Runtime on what tf2onnx makes of the same file, one thread each", header, rows)


def show_tool(facts: Mapping[str, Any]) -> None:
    """litert-benchmark beside edgekd."""
    rows = []
    for name, row in facts.items():
        low, high = row["ratio_by_rounding"]
        rows.append(
            [
                name,
                number(row["litert_p50_ms"], 3),
                number(row["p50_ms"], 2),
                number(row["ratio"], 2),
                f"{low:.2f} to {high:.2f}",
                "yes" if row["agrees"] else "no",
            ]
        )
    header = ["model", "edgekd p50 ms", "its p50 ms", "ratio", "before its rounding", "within 10 %"]
    _print("litert-benchmark on the same file, one thread each", header, rows)
    for name, row in facts.items():
        if row["explanation"]:
            click.echo(f"note: {name}: {row['explanation']}", err=True)


def show_device(report: DeviceReport) -> None:
    """What a device measured, and how its models compare."""
    means = any("mean_ms" in row for row in report.models.values())
    rows = [
        [name, *([number(row["mean_ms"], 3)] if means else [])]
        + [number(row[key], 3) for key in ("p50_ms", "p90_ms", "p99_ms", "init_ms")]
        + [number(row["peak_rss_bytes"] and row["peak_rss_bytes"] / 2**20, 0)]
        for name, row in report.models.items()
    ]
    header = ["model", *(["mean ms"] if means else []), "p50 ms", "p90 ms", "p99 ms", "init ms", "peak MiB"]
    _print(f"measured on {report.device}: {report.summary}", header, rows)
    for row in report.ratios:
        interval = f" ({row['ci95'][0]:.2f} to {row['ci95'][1]:.2f})" if row["ci95"] else ""
        click.echo(f"{row['model']} / {row['baseline']}: {row['ratio']:.2f}{interval}, {row['verdict']}")
    for message in report.warnings:
        click.echo(f"note: {message}", err=True)
