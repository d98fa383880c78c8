"""``edgekd build``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.options import CACHE_DIR, DATA, SEED, SETTINGS, verbosity
from edgekd.cli.output import print_table, start_output
from edgekd.cli.plan import print_plan
from edgekd.cluster import SECONDS_TO_MEET, of_process
from edgekd.report_format import number, plain

if TYPE_CHECKING:
    from edgekd.pipeline import Run

EXIT_GATE = 1


@click.command()
@click.argument("recipe", required=False)
@DATA
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. Default: edgekd-out/<recipe>.")
@SETTINGS
@SEED
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@click.option("--dry-run", is_flag=True, help="Say what would run, what is cached and what it takes; write nothing.")
@click.option(
    "--no-measure", is_flag=True, help="With --dry-run: estimate from earlier builds alone, train no few steps."
)
@click.option("--tensorboard", metavar="DIR", type=click.Path(path_type=Path), help="Write curves for TensorBoard.")
@click.option("--mlflow", metavar="URI", help="Log the run to MLflow, by the address of a server or a store.")
@CACHE_DIR
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes of this machine that train together. A cluster is named by TF_CONFIG instead.",
)
@click.option(
    "--seconds-to-meet",
    default=SECONDS_TO_MEET,
    show_default=True,
    type=click.FloatRange(1),
    help="Longest time that workers wait for each other at the start.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result, or the plan, as JSON.")
@verbosity
def build(
    recipe: str | None,
    data: str | None,
    out: Path | None,
    settings: tuple[str, ...],
    seed: int | None,
    until: str | None,
    dry_run: bool,
    no_measure: bool,
    tensorboard: Path | None,
    mlflow: str | None,
    cache_dir: Path | None,
    workers: int,
    seconds_to_meet: float,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Build RECIPE: train, distil, prune, quantize, verify, measure, report.

    RECIPE is a built-in name (quickstart, default, pneumoniamnist, breastmnist, cifar100) or a TOML file. Without it:
    quickstart, on drawn blood cells; or default, where --data is given.
    """
    from edgekd import api

    progress = start_output(quiet, verbose)
    overrides = api.parse_overrides(settings)
    if dry_run:
        loaded = api.load_recipe(recipe, data=data, overrides=overrides, seed=seed)
        cluster = of_process(workers)
        print_plan(loaded, cache_dir, out, until, measure=not no_measure, as_json=as_json, cluster=cluster)
        return
    if mlflow is not None:
        from edgekd import mlflow_log

        mlflow_log.check(mlflow)
    if tensorboard is not None:
        from edgekd.tensorboard import TensorBoardProgress

        progress = TensorBoardProgress(progress, tensorboard)
    run = api.build(
        recipe,
        data=data,
        out=out,
        overrides=overrides,
        seed=seed,
        until=until,
        cache_dir=cache_dir,
        progress=progress,
        workers=workers,
        seconds_to_meet=seconds_to_meet,
    )
    if run.worker > 0:
        click.echo(f"worker {run.worker + 1}: everything is trained; the chief writes the run folder")
        return
    if mlflow is not None:
        mlflow_log.log(run, mlflow)
    if as_json:
        click.echo(json.dumps(_document(run), indent=2))
    else:
        _print_run(run)
    if not run.held:
        raise click.exceptions.Exit(EXIT_GATE)


def _document(run: Run) -> dict[str, Any]:
    stages = [asdict(record) for record in run.stages]
    return {"run": str(run.path), "held": run.held, "stages": stages, "report": run.report and dict(run.report)}


def _print_run(run: Run) -> None:
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
    if budget := run.report["budget"]:
        _print_budget(budget, run.report["candidates"])
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


def _print_budget(budget: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> None:
    from edgekd.report_format import settings

    for tried in candidates:
        if "candidate" in tried:
            click.echo(f"tried {tried['candidate']}: {tried['reason']}")
    for row in budget["limits"]:
        _print_limit("budget", row)
    held = all(row["held"] for row in budget["limits"])
    verdict = "keeps the budget" if held else "is the nearest to a budget that is NOT KEPT"
    click.echo(f"budget: {budget['candidate']} is shipped ({settings(budget['changes'])}); it {verdict}")


def _print_limit(title: str, row: Mapping[str, Any]) -> None:
    verdict = "held" if row["held"] else "FELL SHORT"
    click.echo(f"{title} {row['id']}: {verdict}, {plain(row['measured'])} against {plain(row['limit'])}")
