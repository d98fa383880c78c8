"""``edgekd bundle``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--android-dir", metavar="DIR", type=click.Path(path_type=Path), help="Android project that gets the bundle."
)
def bundle(run: Path, android_dir: Path | None) -> None:
    """Check the bundle of RUN, and lay it into an Android project.

    RUN is the --out folder of edgekd build, or a bundle folder. Digests, tensors and labels are checked, and the golden
    inputs are run with all three kernels of LiteRT. With --android-dir the bundle goes to app/src/main/assets/edgekd/
    and replaces the one there.
    """
    from edgekd import android

    checked = android.check_bundle(android.find_bundle(run))
    click.echo(f"bundle {checked.path}: recipe {checked.manifest['recipe']}")
    for line in android.describe(checked):
        click.echo(f"  {line}")
    click.echo("check passed: digests, tensors, labels, and the goldens with all three kernels")
    if android_dir is None:
        click.echo("next: lay it into an Android project with --android-dir DIR, or load it: edgekd.load_bundle(path)")
        return
    laid = android.lay_into(checked, android_dir)
    for line in android.next_steps(checked, laid, android_dir):
        click.echo(line)
