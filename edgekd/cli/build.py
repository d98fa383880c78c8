"""``edgekd build``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.options import CACHE_DIR, DATA, SEED, SETTINGS, verbosity
from edgekd.cli.output import start_output
from edgekd.cli.plan import print_plan, print_plans
from edgekd.cli.run import print_run, print_targets, run_document, targets_document
from edgekd.cluster import SECONDS_TO_MEET, of_process
from edgekd.errors import UserError

if TYPE_CHECKING:
    from edgekd.pipeline import Run

EXIT_GATE = 1


@click.command()
@click.argument("recipe", required=False)
@DATA
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. Default: edgekd-out/<recipe>.")
@SETTINGS
@SEED
@click.option(
    "--target",
    "targets",
    metavar="NAME",
    multiple=True,
    help="Device profile, in the place of benchmark.target. Given several times: a run for each, compared on a page.",
)
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
    targets: tuple[str, ...],
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

    With --target several times, --out gets a run folder for each and targets.html, and the exit code is 1 where for one
    of them nothing fits.
    """
    from edgekd import api

    progress = start_output(quiet, verbose)
    overrides, several = api.parse_overrides(settings), len(targets) > 1
    if targets and api.TARGET_KEY in overrides:
        raise UserError(f"--target and --set {api.TARGET_KEY}: one of the two")
    if len(targets) == 1:
        overrides[api.TARGET_KEY] = targets[0]
    cluster = of_process(workers)
    if several and until is not None:
        raise UserError(f'until "{until}": several targets are compared by their reports; leave it out')
    if several and cluster is not None:
        raise UserError(api.ONE_WORKER)
    if dry_run:
        loaded = api.load_recipe(recipe, data=data, overrides=overrides, seed=seed)
        measure = not no_measure
        if several:
            print_plans(loaded, targets, cache_dir, out, measure=measure, as_json=as_json)
        else:
            print_plan(loaded, cache_dir, out, until, measure=measure, as_json=as_json, cluster=cluster)
        return
    if mlflow is not None:
        from edgekd import mlflow_log

        mlflow_log.check(mlflow)
    if tensorboard is not None:
        from edgekd.tensorboard import TensorBoardProgress

        progress = TensorBoardProgress(progress, tensorboard)
    common: dict[str, Any] = {
        **{"data": data, "out": out, "overrides": overrides, "seed": seed},
        **{"cache_dir": cache_dir, "progress": progress},
    }
    if several:
        built = api.build_targets(recipe, targets, **common)
        _log(built.runs.values(), mlflow)
        click.echo(json.dumps(targets_document(built), indent=2)) if as_json else print_targets(built)
        held = built.held
    else:
        run = api.build(recipe, until=until, workers=workers, seconds_to_meet=seconds_to_meet, **common)
        if run.worker > 0:
            click.echo(f"worker {run.worker + 1}: everything is trained; the chief writes the run folder")
            return
        _log([run], mlflow)
        click.echo(json.dumps(run_document(run), indent=2)) if as_json else print_run(run)
        held = run.held
    if not held:
        raise click.exceptions.Exit(EXIT_GATE)


def _log(runs: Iterable[Run], mlflow: str | None) -> None:
    if mlflow is not None:
        from edgekd import mlflow_log

        for run in runs:
            mlflow_log.log(run, mlflow)
