"""What ``edgekd build`` prints of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.output import print_table
from edgekd.report_format import number, plain

if TYPE_CHECKING:
    from edgekd.pipeline import Run
    from edgekd.targets_build import TargetRuns


def run_document(run: Run) -> dict[str, Any]:
    """A run as JSON."""
    stages = [asdict(record) for record in run.stages]
    return {"run": str(run.path), "held": run.held, "stages": stages, "report": run.report and dict(run.report)}


def print_run(run: Run) -> None:
    """What became of the models, the claims and the limits."""
    if run.report is None:
        models = ", ".join(sorted(path.name for path in (run.path / "models").iterdir())) or "none"
        click.echo(f"stopped after {run.stages[-1].name}; models so far in {run.path / 'models'}: {models}")
        return
    from edgekd.page import baseline_of, summary_rows, task_of

    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        ("model", "model", str),
        ("KiB", "kib", lambda value: number(value, 0)),
        ("gzip KiB", "gzip_kib", lambda value: number(value, 0)),
        (task_of(run.report).accuracy_title, "accuracy", lambda value: number(value, 3)),
        ("AUC", "auc", lambda value: number(value, 3)),
        ("p50 ms", "p50_ms", lambda value: number(value, 3)),
        ("times smaller", "times_smaller", lambda value: number(value, 1)),
        ("times faster", "times_faster", lambda value: number(value, 1)),
    ]
    rows = [[show(row[key]) for _, key, show in columns] for row in summary_rows(run.report)]
    dataset, seed, baseline = run.report["dataset"], run.report["seed"], baseline_of(run.report)["id"]
    print_table(
        [title for title, _, _ in columns],
        rows,
        title=f"{dataset['name']}, test split, n = {dataset['num_test']}, seed {seed}; against {baseline}",
    )
    for claim in run.report["claims"]:
        click.echo(f"{claim['verdict']}: {claim['text']}")
    for text in run.report["not_measured"]:
        click.echo(f"not measured: {text}")
    for gate in run.report["gates"]:
        _print_limit("gate", gate)
    for row in (run.report["target"] or {"limits": []})["limits"]:
        _print_limit("target", row)
    if npu := run.report["npu"]:
        click.echo(_of_npu(npu))
    if serving := run.report["serving"]:
        _print_serving(serving)
    if run.report["budget"]:
        _print_choice(run.report)
    click.echo(f"report: {run.path / 'report.html'}")
    click.echo(f"bundle: {run.path / 'bundle'}")


def _of_npu(npu: Mapping[str, Any]) -> str:
    from edgekd import vela

    return f"on the NPU: {vela.in_words(npu)}. {vela.estimates_in_words(npu)}"


def _print_serving(serving: Mapping[str, Any]) -> None:
    from edgekd.page.serving import in_words

    for row in serving["limits"]:
        _print_limit("serving", row)
    click.echo(f"on a server: {in_words(serving)}")


def _print_choice(report: Mapping[str, Any]) -> None:
    from edgekd.report_format import settings

    budget, fitted = report["budget"], report["target"] or {"limits": []}
    for tried in report["candidates"]:
        if "candidate" in tried:
            click.echo(f"tried {tried['candidate']}: {tried['reason']}")
    for row in budget["limits"]:
        _print_limit("budget", row)
    limits = {"a budget": budget["limits"], "a target": fitted["limits"]}
    broken = [name for name, rows in limits.items() if not all(row["held"] for row in rows)]
    title, kept = ("budget", "keeps the budget") if budget["limits"] else ("target", "keeps the target's limits")
    verdict = f"is the nearest to {' and '.join(broken)} that is NOT KEPT" if broken else kept
    click.echo(f"{title}: {budget['candidate']} is shipped ({settings(budget['changes'])}); it {verdict}")


def targets_document(built: TargetRuns) -> dict[str, Any]:
    """The runs of several targets as JSON."""
    runs = {name: run_document(run) for name, run in built.runs.items()}
    return {"folder": str(built.path), "held": built.held, **built.comparison, "builds": runs}


def print_targets(built: TargetRuns) -> None:
    """A row a target, what fell short, and where the page is."""
    from edgekd.targets_page import NAME

    rows = []
    for row in built.comparison["targets"]:
        run = row["run"]
        figures = ["–"] * 4
        if run:
            size, arena = (number(run[key] / 1024, 0) for key in ("tflite_bytes", "arena_bytes"))
            arena = arena if run["arena_measured"] else f"≥ {arena}"
            figures = [number(run["accuracy"], 3), size, number(run["p50_ms"], 3), arena]
        rows.append([row["name"], row["verdict"], run["candidate"] or "as_written" if run else "–", *figures])
    print_table(
        ["target", "verdict", "chain", "accuracy", "KiB", "p50 ms", "arena KiB"],
        rows,
        title=f"{built.comparison['recipe']} on {len(rows)} targets; shipped, accuracy on test",
    )
    for row in built.comparison["targets"]:
        _print_shortfall(row)
    click.echo(f"comparison: {built.path / f'{NAME}.html'}")


def _print_shortfall(row: Mapping[str, Any]) -> None:
    if row["problem"]:
        click.echo(f"{row['name']}: {row['verdict']}: {row['problem']}")
        return
    missed = [limit for limit in row["run"]["limits"] if not limit["held"]]
    for limit in missed:
        _print_limit(f"{row['name']}: {limit['of']}", limit)
    if any(limit["of"] != "gate" for limit in missed):
        tried = "" if row["run"]["num_tried"] == 1 else f" of {row['run']['num_tried']} chains"
        click.echo(f"{row['name']}: nothing fits; {row['run']['candidate']}{tried}, the nearest, is kept")


def _print_limit(title: str, row: Mapping[str, Any]) -> None:
    verdict = "held" if row["held"] else "FELL SHORT"
    click.echo(f"{title} {row['id']}: {verdict}, {plain(row['measured'])} against {plain(row['limit'])}")
