"""``edgekd verify``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.output import printable

EXIT_BROKEN = 1


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="BUNDLE_OR_RUN")
@click.option("--data", metavar="NAME|PATH", help="Data to compute the figures from. Default: the run's, if at hand.")
@click.option("--target", metavar="NAME", help="Run the models on this target too: arm64-emulated, microcontroller.")
@click.option(
    "--images", default=64, show_default=True, type=click.IntRange(1), help="Images of the test split to run there."
)
@click.option(
    "--cpu", metavar="NAME", help="Processor of arm64-emulated: cortex-a53, cortex-a72, cortex-a76 (default)."
)
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Where edgekd target install laid arm64-emulated.")
@click.option("--json", "as_json", is_flag=True, help="Print every check as JSON.")
def verify(
    path: Path,
    data: str | None,
    target: str | None,
    images: int,
    cpu: str | None,
    cache_dir: Path | None,
    as_json: bool,
) -> None:
    """Check every promise of a bundle or a run from its files.

    Digests first, then types, labels, sizes, the goldens on all three kernels, the verdicts of gates and claims, every
    figure computed anew from the run's raw scores and, where the data is at hand, from the model files. All broken
    promises are listed; the exit code is 1 where there is one. A model that is not the file that was bundled is not
    opened.

    With --target the models are held against the limits of that profile, and run there: on arm64-emulated XNNPACK must
    answer as XNNPACK does here, and the reference kernels as the reference kernels; on microcontroller TensorFlow Lite
    Micro as the reference kernels. Images are those of the test split where the data is at hand, else the goldens.
    """
    import json
    from dataclasses import asdict

    from edgekd.recheck import OnTarget, recheck

    checks = recheck(path, data, OnTarget.named(target, images, cpu, cache_dir) if target else None)
    broken = [check for check in checks if check.held is False]
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        words = {True: "held", False: "BROKEN", None: "not checked"}
        for check in checks:
            click.echo(printable(f"{words[check.held]:11}  {check.about}: {check.text}"))
        held = sum(check.held is True for check in checks)
        click.echo(f"{path}: {len(broken)} broken, {held} held, {len(checks) - held - len(broken)} not checked")
    if broken:
        raise click.exceptions.Exit(EXIT_BROKEN)
