"""``edgekd nas``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.options import CACHE_DIR, DATA, SETTINGS, verbosity
from edgekd.cli.output import start_output

EXIT_BUDGET = 1


@click.command()
@click.argument("recipe")
@DATA
@click.option(
    "--budget-minutes", type=click.FloatRange(0, min_open=True), help="Stop after so long; --resume goes on later."
)
@click.option("--resume", is_flag=True, help="Go on with the candidates that are there.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of everything that is drawn.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results. Default: edgekd-out/<recipe>-nas.")
@SETTINGS
@CACHE_DIR
@verbosity
def nas(
    recipe: str,
    data: str | None,
    budget_minutes: float | None,
    resume: bool,
    seed: int | None,
    out: Path | None,
    settings: tuple[str, ...],
    cache_dir: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Search networks around the student blocks of RECIPE ([nas] in the recipe) by one training with shared weights.

    Candidates are judged with the supernet's weights and a latency table of this machine, under the recipe's [budget];
    the best few are trained on and measured for real. The winner is written to best.toml, for edgekd build. Ends with
    1 where it does not keep the budget.
    """
    from edgekd import api
    from edgekd.cache import Cache, default_root
    from edgekd.nas import nas as run_search
    from edgekd.nas import result
    from edgekd.search.outcome import BEST_FILE

    progress = start_output(quiet, verbose)
    resolved = api.load_recipe(recipe, data=data, overrides=api.parse_overrides(settings), seed=seed)
    folder = out or Path("edgekd-out") / f"{resolved.name}-nas"
    found = run_search(
        resolved,
        folder,
        cache=Cache(cache_dir or default_root()),
        progress=progress,
        budget_minutes=budget_minutes,
        resume=resume,
    )
    click.echo(result.summary(found.document))
    click.echo(f"every candidate: {folder / 'nas.md'}, with the plot; every figure: {folder / 'nas.json'}")
    if found.document["chosen"] is not None:
        click.echo(f"build the chosen one: edgekd build {folder / BEST_FILE}")
    if not found.held:
        raise click.exceptions.Exit(EXIT_BUDGET)
