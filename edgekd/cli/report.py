"""``edgekd report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgekd.cli.output import print_table
from edgekd.report_format import number

DEFAULT_OUT = Path("edgekd-out/comparison")


@click.command()
@click.argument("runs", metavar="RUN...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--device",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Benchmark that the Android app saved, set into the report of one RUN; may be given more than once.",
)
@click.option("--out", type=click.Path(path_type=Path), help=f"Where a comparison goes. Default: {DEFAULT_OUT}.")
def report(runs: tuple[Path, ...], files: tuple[Path, ...], out: Path | None) -> None:
    """Compare the runs, or write the report of one RUN anew.

    Of several runs: the shipped models' figures, sizes and times, what their recipes do otherwise, and, where their
    test labels are equal, the paired difference of each to the first. Of one: its report is made again from
    report.json, with what --device adds.
    """
    from edgekd.errors import UserError

    if len(runs) > 1:
        if files:
            raise UserError("--device adds to the report of one run; name that run alone")
        _compare(runs, out or DEFAULT_OUT)
        return
    if out is not None:
        raise UserError("--out is for a comparison: name at least two runs, or leave it out")
    if files:
        _add(runs[0], files)
    else:
        from edgekd.rewrite import rewrite

        rewrite(runs[0])
    click.echo(f"report: {runs[0] / 'report.html'}")


def _add(run: Path, files: Sequence[Path]) -> None:
    from edgekd.device_rows import add_device_rows

    rows = []
    for row in add_device_rows(run, files):
        times = [number(row[key], 3) for key in ("p50_ms", "p90_ms", "preprocessing_p50_ms")]
        rows.append([row["target"], row["kernel"], str(row["num_threads"]), *times])
    print_table(["device", "kernel", "threads", "p50 ms", "p90 ms", "preprocessing ms"], rows)


def _compare(runs: Sequence[Path], out: Path) -> None:
    from edgekd.comparison import NAME, compare

    document = compare(runs, out)
    paired: dict[str, Any] = {pair["run"]: pair for pair in document["paired"]}
    rows = []
    for row in document["runs"]:
        figures = [number(row["accuracy"], 3), number(row["auc"], 3), number(row["tflite_bytes"] / 1024, 0)]
        rows.append([row["name"], *figures, number(row["p50_ms"], 3), _difference(paired.get(row["name"]))])
    print_table(["run", "accuracy", "AUC", "KiB", "p50 ms", "points against the first"], rows, title="Shipped, on test")
    for pair in document["paired"]:
        if "reason" in pair:
            click.echo(f"{pair['run']} is not compared by image: {pair['reason']}")
    for caution in document["cautions"]:
        click.echo(f"caution: {caution}")
    click.echo(f"comparison: {out / f'{NAME}.html'}")


def _difference(pair: dict[str, Any] | None) -> str:
    if pair is None or "reason" in pair:
        return "–"
    low, high = (100 * end for end in pair["ci95"])
    return f"{100 * pair['estimate']:+.1f} ({low:+.1f} to {high:+.1f})"
