"""``edgekd doctor``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekd.cli.options import CACHE_DIR
from edgekd.cli.output import printable

EXIT_LACKING = 3
_WORDS = {"ok": "ok", "note": "note", "fail": "MISSING"}


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("edgekd-out"), show_default=True, help="Folder of runs."
)
@CACHE_DIR
@click.option("--json", "as_json", is_flag=True, help="Print every check as JSON.")
def doctor(out: Path, cache_dir: Path | None, as_json: bool) -> None:
    """What this machine has and lacks for edgekd, each with the remedy.

    Versions, mix-ups of Keras, cores, memory, disk, optional packages and programs. The exit code is 3 where something
    is missing without which builds do not work; a note is optional, or worth knowing.
    """
    import json
    from dataclasses import asdict

    from edgekd.doctor import default_cache, examine

    checks = examine(cache_dir or default_cache(), out)
    failed = [check for check in checks if check.state == "fail"]
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            click.echo(printable(f"{_WORDS[check.state]:8} {check.name:{width}}  {check.found}"))
            if check.remedy:
                click.echo(printable(f"{'':8} {'':{width}}  remedy: {check.remedy}"))
        click.echo(f"{len(failed)} missing" if failed else "nothing that a build needs is missing")
    if failed:
        raise click.exceptions.Exit(EXIT_LACKING)
