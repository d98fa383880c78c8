"""``edgekd sensitivity``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.options import CACHE_DIR, DATA, SEED, SETTINGS, verbosity
from edgekd.cli.output import print_table, start_output


@click.command()
@click.argument("recipe", required=False)
@DATA
@click.option(
    "--of",
    "kinds",
    metavar="KIND,...",
    default="weights,channels",
    show_default=True,
    help="What is taken from a layer: zeros among its weights, whole channels, or both in turn.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the results. Default: edgekd-out/<recipe>-sensitivity."
)
@SETTINGS
@SEED
@CACHE_DIR
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@verbosity
def sensitivity(
    recipe: str | None,
    data: str | None,
    kinds: str,
    out: Path | None,
    settings: tuple[str, ...],
    seed: int | None,
    cache_dir: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """How much can each layer lose? Prune every layer of RECIPE's student alone, and see what val says.

    The student is trained first, or comes from the cache. Nothing is trained after pruning: the figures rank layers.
    A build uses them with prune.allocation = "sensitivity" (weights) or prune.criterion = "sensitivity" (channels).
    What is tried, and on how many images, stands in the recipe's table sensitivity.
    """
    import json

    from edgekd import api
    from edgekd.cache import Cache, default_root
    from edgekd.sensitivity import analyse
    from edgekd.sensitivity_table import TITLES, sentence, table

    progress = start_output(quiet, verbose)
    resolved = api.load_recipe(recipe, data=data, overrides=api.parse_overrides(settings), seed=seed)
    folder = out or Path("edgekd-out") / f"{resolved.name}-sensitivity"
    wanted = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    document = analyse(resolved, wanted, folder, cache=Cache(cache_dir or default_root()), progress=progress)
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    for kind, analysis in document["analyses"].items():
        header, rows = table(analysis)
        print_table(header, rows, title=TITLES[kind])
        click.echo(f"{sentence(analysis, document['dataset']['name'])}.")
        click.echo(f"most sensitive: {', '.join(row[0] for row in rows[:3])}")
    click.echo(f"results: {folder / 'sensitivity.md'}, with the plots; every figure: {folder / 'sensitivity.json'}")
