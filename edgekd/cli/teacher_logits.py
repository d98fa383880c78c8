"""``edgekd teacher-logits``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.options import DATA, SEED, SETTINGS, verbosity
from edgekd.cli.output import start_output


@click.command("teacher-logits")
@click.argument("recipe", required=False)
@click.option("--shard", default="1/1", show_default=True, metavar="I/N", help="Worker I of N.")
@DATA
@SETTINGS
@SEED
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Store of finished stages, shared by all workers.")
@verbosity
def teacher_logits(
    recipe: str | None,
    shard: str,
    data: str | None,
    settings: tuple[str, ...],
    seed: int | None,
    cache_dir: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Store the teacher's logits of RECIPE, one of several workers at a time; edgekd build then finds them.

    Workers meet in --cache-dir, on a disk that they share. Any worker may be killed and started again: finished shards
    are kept, and the bytes are the same whoever made them. All need the same num_threads (--set num_threads=4): it is
    part of the result. Train the teacher once before: edgekd build RECIPE --until teacher.
    """
    from edgekd import api
    from edgekd.cache import Cache, default_root
    from edgekd.teacher_logits import parse_part
    from edgekd.teacher_logits import teacher_logits as run

    progress = start_output(quiet, verbose)
    part = parse_part(shard)
    resolved = api.load_recipe(recipe, data=data, overrides=api.parse_overrides(settings), seed=seed)
    done = run(resolved, part, cache=Cache(cache_dir or default_root()), progress=progress)
    if done.complete:
        click.echo("the teacher's logits are complete; edgekd build goes on with them")
    else:
        click.echo(f"{done.num_finished} of {done.num_shards} shards are there; the store waits for the other workers")
