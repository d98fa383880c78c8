"""``edgekd verify``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.output import printable

EXIT_BROKEN = 1


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="BUNDLE_OR_RUN")
@click.option("--data", metavar="NAME|PATH", help="Data to compute the figures from. Default: the run's, if at hand.")
@click.option("--json", "as_json", is_flag=True, help="Print every check as JSON.")
def verify(path: Path, data: str | None, as_json: bool) -> None:
    """Check every promise of a bundle or a run from its files.

    Digests first, then types, labels, sizes, the goldens on all three kernels, the verdicts of gates and claims, and,
    where the data is at hand, every figure computed anew from the model files. All broken promises are listed; the exit
    code is 1 where there is one. A model that is not the file that was bundled is not opened.
    """
    import json
    from dataclasses import asdict

    from edgekd.recheck import recheck

    checks = recheck(path, data)
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
