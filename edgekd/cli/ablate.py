"""``edgekd ablate``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.options import CACHE_DIR, DATA, SETTINGS, verbosity
from edgekd.cli.output import start_output


@click.command()
@click.argument("recipe", required=False)
@DATA
@click.option(
    "--methods",
    metavar="NAME[:N],...",
    default="none,kd",
    show_default=True,
    help="Methods, with commas; none is always run. mutual:3 takes the first three seeds alone.",
)
@click.option("--seeds", metavar="N,...", default="0,1,2", show_default=True, help="Seeds of the student, with commas.")
@click.option(
    "--choose-by",
    metavar="FIGURE",
    default="auc",
    show_default=True,
    help="Figure on val that chooses the method: auc, macro_recall, top1 (label_accuracy of several labels).",
)
@click.option(
    "--jobs",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Cells trained at a time, each on num_threads of the recipe.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the results. Default: edgekd-out/<recipe>-ablation."
)
@SETTINGS
@CACHE_DIR
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@verbosity
def ablate(
    recipe: str | None,
    data: str | None,
    methods: str,
    seeds: str,
    choose_by: str,
    jobs: int,
    out: Path | None,
    settings: tuple[str, ...],
    cache_dir: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Does distillation help? Train the student of RECIPE by several methods, from several seeds.

    Methods: none (the student alone), label_smoothing, kd, kd_standardized, dkd, dist, attention, fitnet, rkd, crd,
    mutual, self. All share one teacher. Differences to none are paired by seed; val chooses the method, test tells what
    it gained. A call that was broken off goes on where it was. Two jobs with --set num_threads=1 are faster than one of
    two threads where networks are small.
    """
    import json

    from edgekd import api
    from edgekd.ablate import ablate as run_ablation
    from edgekd.ablation_table import markdown
    from edgekd.cache import Cache, default_root
    from edgekd.errors import UserError

    start_output(quiet, verbose)
    resolved = api.load_recipe(recipe, data=data, overrides=api.parse_overrides(settings))
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise UserError(f'--seeds "{seeds}": whole numbers with commas between them, like 0,1,2') from None
    folder = out or Path("edgekd-out") / f"{resolved.name}-ablation"
    names = [name.strip() for name in methods.split(",")]
    cache = Cache(cache_dir or default_root())
    document = run_ablation(resolved, names, numbers, folder, cache=cache, jobs=jobs, choose_by=choose_by)
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(markdown(document))
    click.echo(f"results: {folder / 'ablation.md'}, with the plot; every figure: {folder / 'ablation.json'}")
