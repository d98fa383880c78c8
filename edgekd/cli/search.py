"""``edgekd search``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.options import CACHE_DIR, DATA, SETTINGS, verbosity
from edgekd.cli.output import start_output

EXIT_BUDGET = 1


@click.command()
@click.argument("recipe")
@DATA
@click.option("--trials", type=click.IntRange(1, 1_000_000), help="Trials that the study is to have in the end.")
@click.option("--budget-minutes", type=click.FloatRange(0, min_open=True), help="Stop after so long.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Trials at a time on this machine."
)
@click.option("--resume", is_flag=True, help="Go on with the study that is there, or join it from another machine.")
@click.option(
    "--storage", metavar="FILE|URL", help="Where trials meet: a file, or an Optuna storage URL. Default: in --out."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Seed of the sampler.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the results. Default: edgekd-out/<recipe>-search."
)
@SETTINGS
@CACHE_DIR
@verbosity
def search(
    recipe: str,
    data: str | None,
    trials: int | None,
    budget_minutes: float | None,
    workers: int,
    resume: bool,
    storage: str | None,
    seed: int,
    out: Path | None,
    settings: tuple[str, ...],
    cache_dir: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Search the space of RECIPE ([search] in the recipe) for students that are better, smaller and faster.

    Every trial is a whole chain up to its .tflite, measured on val and on this machine; equal stages come from the
    cache. The winner is written to best.toml, for edgekd build. Ends with 1 where no trial keeps the recipe's budget.
    """
    from edgekd import api
    from edgekd.cache import Cache, default_root
    from edgekd.search import result
    from edgekd.search import search as run_search
    from edgekd.search.outcome import BEST_FILE

    start_output(quiet, verbose)
    resolved = api.load_recipe(recipe, data=data, overrides=api.parse_overrides(settings))
    folder = out or Path("edgekd-out") / f"{resolved.name}-search"
    found = run_search(
        resolved,
        folder,
        cache=Cache(cache_dir or default_root()),
        storage=storage,
        num_trials=trials,
        budget_minutes=budget_minutes,
        num_workers=workers,
        resume=resume,
        seed=seed,
    )
    click.echo(result.markdown(found.document))
    click.echo(f"results: {folder / 'search.md'}, with the plot; every figure: {folder / 'search.json'}")
    if found.document["chosen"] is not None:
        click.echo(f"build the chosen one: edgekd build {folder / BEST_FILE}")
    if not found.held:
        raise click.exceptions.Exit(EXIT_BUDGET)
