"""``edgekd cache``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekd.cli.options import CACHE_DIR
from edgekd.cli.output import print_table

if TYPE_CHECKING:
    from edgekd.cache_upkeep import Entry

EXIT_DAMAGED = 1
_KEY_SHOWN = 12
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")


@click.group()
def cache() -> None:
    """Look after the store of finished stages."""


@cache.command("list")
@CACHE_DIR
@_AS_JSON
def list_(cache_dir: Path | None, as_json: bool) -> None:
    """What lies in the cache: stage, recipe, size, age; last used first."""
    from edgekd import cache_upkeep
    from edgekd.units import format_bytes

    root = _root(cache_dir)
    found = cache_upkeep.entries(root)
    if as_json:
        _print_json(root, found)
        return
    if found:
        _print_entries(found)
    unfinished = sum(not entry.finished for entry in found)
    told = f"{root}: {len(found) - unfinished} finished, {unfinished} unfinished, "
    click.echo(told + format_bytes(sum(entry.size for entry in found)))
    if size := cache_upkeep.downloads(root):
        click.echo(f"downloads beside them, in {', '.join(cache_upkeep.DOWNLOADS)}: {format_bytes(size)}")


@cache.command()
@click.option("--older-than", metavar="AGE", help="What was not used for so long: 30d, 12h, 90m.")
@click.option("--max-size", metavar="SIZE", help="What was not used for longest, until this much is left: 5GiB, 500MB.")
@click.option("--unfinished", is_flag=True, help="Work of builds that were broken off, an hour ago or more.")
@click.option("--all", "everything", is_flag=True, help="Everything but downloads.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@CACHE_DIR
def prune(
    older_than: str | None,
    max_size: str | None,
    unfinished: bool,
    everything: bool,
    dry_run: bool,
    yes: bool,
    cache_dir: Path | None,
) -> None:
    """Remove finished stages by age or size, or unfinished work. A build makes anew what it then lacks.

    Unfinished work is a checkpoint from which a build would go on.
    """
    from edgekd import cache_upkeep
    from edgekd.errors import UserError
    from edgekd.units import format_bytes, parse_age, parse_bytes

    age = None if older_than is None else _read("--older-than", older_than, parse_age, "30d, 12h or 90m")
    size = None if max_size is None else int(_read("--max-size", max_size, parse_bytes, "5GiB, 500MB or 0"))
    if age is None and size is None and not unfinished and not everything:
        raise UserError("say what may go: --older-than 30d, --max-size 5GiB, --unfinished or --all")
    root = _root(cache_dir)
    rules = cache_upkeep.Rules(everything, unfinished, age, size)
    found = cache_upkeep.entries(root)
    going = cache_upkeep.chosen(found, rules)
    young = sum(not entry.finished for entry in found if entry not in going)
    if young and (everything or unfinished):
        click.echo(f"{young} unfinished, written to within the hour: a build may be at work, left alone", err=True)
    if not going:
        click.echo("nothing to remove")
        return
    total = format_bytes(sum(entry.size for entry in going))
    _print_entries(going)
    if dry_run:
        click.echo(f"would remove {len(going)} of {len(found)}, {total}")
        return
    if not yes:
        question = f"remove these {len(going)} of {len(found)} from {root}, {total}?"
        if not _confirmed(question):
            click.echo("nothing was removed")
            return
    freed = cache_upkeep.remove(root, going)
    click.echo(f"removed {len(going)} of {len(found)}, {format_bytes(freed)}")


@cache.command()
@click.option("--remove", is_flag=True, help="Remove what is damaged; a build makes it anew.")
@CACHE_DIR
@_AS_JSON
def verify(remove: bool, cache_dir: Path | None, as_json: bool) -> None:
    """Hash every finished stage anew and name what is damaged; the exit code is 1 where something is and stays."""
    import json

    from edgekd import cache_upkeep
    from edgekd.cli.output import start_output

    root = _root(cache_dir)
    found = [entry for entry in cache_upkeep.entries(root) if entry.finished]
    broken: list[tuple[Entry, str]] = []
    with start_output(quiet=False).task("verify", len(found), "entries") as task:
        for entry, problem in cache_upkeep.damaged(found):
            task.advance(1)
            if problem:
                broken.append((entry, problem))
    if remove:
        cache_upkeep.remove(root, [entry for entry, _ in broken])
    if as_json:
        rows = [{"key": entry.key, "stage": entry.stage, "problem": problem} for entry, problem in broken]
        click.echo(json.dumps({"root": str(root), "num_checked": len(found), "damaged": rows, "removed": remove}))
    else:
        for entry, problem in broken:
            click.echo(f"damaged: {entry.key[:_KEY_SHOWN]} (stage {entry.stage or 'unknown'}): {problem}")
        removed = ", removed" if remove and broken else ""
        click.echo(f"{root}: {len(found) - len(broken)} of {len(found)} are as they were written{removed}")
        if broken and not remove:
            click.echo("a build warns of them and makes them anew; edgekd cache verify --remove removes them now")
    if broken and not remove:
        raise click.exceptions.Exit(EXIT_DAMAGED)


def _root(cache_dir: Path | None) -> Path:
    from edgekd.cache import default_root

    return cache_dir or default_root()


def _confirmed(question: str) -> bool:
    from edgekd.errors import UserError

    try:
        return click.confirm(question, err=True)
    except click.Abort:
        raise UserError("nobody answered, and nothing was removed; --yes removes without asking") from None


def _read(option: str, text: str, parse: object, examples: str) -> float:
    from edgekd.errors import UserError

    assert callable(parse)
    try:
        return float(parse(text))
    except ValueError:
        raise UserError(f'{option} "{text}": a figure with its unit is wanted, like {examples}') from None


def _print_entries(found: Sequence[Entry]) -> None:
    from edgekd.units import format_age, format_bytes

    now = time.time()
    rows = [
        [
            entry.stage or ("(made before stages were noted)" if entry.finished else "(unfinished)"),
            entry.recipe or "–",
            format_bytes(entry.size),
            format_age(now - entry.made),
            format_age(now - entry.used),
            entry.key[:_KEY_SHOWN],
        ]
        for entry in found
    ]
    print_table(["stage", "recipe", "size", "made", "used", "key"], rows)


def _print_json(root: Path, found: Sequence[Entry]) -> None:
    import json

    names = ("key", "stage", "recipe", "size", "made", "used", "finished", "origin")
    rows = [{name: getattr(entry, name) for name in names} for entry in found]
    click.echo(json.dumps({"root": str(root), "entries": rows}, indent=2))
