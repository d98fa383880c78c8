"""What lies in a cache, what may go, and what is damaged. Nothing outside of a folder that is a cache is touched.

A cache has no lock, so that a build may be at work in it: what it has just used or written is young, and what is
removed is renamed first, so that no other process reads half of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.artifact import digest_folder, read_json
from edgekd.cache import DIGEST_FILE, ORIGIN_FILE, WORK
from edgekd.errors import UserError

DOWNLOADS = "data"
"""Where data sets are downloaded to, beside the stages; listed, and never removed here."""
SECONDS_AT_WORK = 3600.0
"""A work folder in which nothing was written for this long is no running build's: those save every minute."""
_TRASH = "removed-"
_PREFIX, _KEY = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One thing that lies in a cache.

    Attributes:
        path: its folder.
        key: of the stage; of a temporary folder its name.
        stage: that made it; empty where that is not known.
        recipe: that asked for it first; empty where that is not known.
        size: bytes of its files.
        made: seconds since the epoch.
        used: when it was last read or written, seconds since the epoch.
        finished: whether it is an artifact; else a work folder.
        origin: all that is remembered of how it came about.
    """

    path: Path
    key: str
    stage: str
    recipe: str
    size: int
    made: float
    used: float
    finished: bool
    origin: dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """What is to go; rules that are set add up.

    Attributes:
        everything: all of it.
        unfinished: work folders that no build has written to for an hour.
        older_than: seconds since the last use.
        max_size: bytes that may stay; what was not used for longest goes first.
    """

    everything: bool = False
    unfinished: bool = False
    older_than: float | None = None
    max_size: int | None = None


def entries(root: Path) -> list[Entry]:
    """Everything that stages left in a cache, the stage that was used last first.

    Raises:
        UserError: the folder is not there, or is no cache.
    """
    check(root)
    found = [_finished(path) for prefix in _folders(root, _PREFIX) for path in _folders(prefix, _KEY)]
    found += [_unfinished(path) for path in _folders(root / WORK)]
    return sorted(found, key=lambda entry: (entry.used, entry.key), reverse=True)


def check(root: Path) -> None:
    """Raise UserError unless a folder is a cache, or empty: it holds nothing that a cache does not."""
    if not root.is_dir():
        raise UserError(f'there is no cache at "{root}"; name one with --cache-dir or EDGEKD_CACHE_DIR')
    for path in sorted(root.iterdir()):
        if path.name in (WORK, DOWNLOADS) and path.is_dir() and not path.is_symlink():
            continue
        strangers = [path]
        if _PREFIX.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            strangers = [inner for inner in path.iterdir() if not _is_entry(inner, path.name)]
        if strangers:
            shown = strangers[0].relative_to(root).as_posix()
            raise UserError(f'"{root}" is no edgekd cache, it holds "{shown}"; nothing in it is touched')


def downloads(root: Path) -> int:
    """Bytes of downloaded data sets."""
    return _size(root / DOWNLOADS)


def chosen(found: Sequence[Entry], rules: Rules, now: float | None = None) -> list[Entry]:
    """Those that the rules take, the one that was not used for longest first.

    Unfinished work that is younger than an hour stays, whatever the rules: a build may be at it.
    """
    moment = time.time() if now is None else now
    free = [entry for entry in found if entry.finished or moment - entry.used >= SECONDS_AT_WORK]
    free.sort(key=lambda entry: (entry.used, entry.key))
    taken = {
        entry.path
        for entry in free
        if rules.everything
        or (rules.unfinished and not entry.finished)
        or (rules.older_than is not None and moment - entry.used > rules.older_than)
    }
    if rules.max_size is not None:
        left = sum(entry.size for entry in found if entry.path not in taken)
        for entry in free:
            if left > rules.max_size and entry.path not in taken:
                taken.add(entry.path)
                left -= entry.size
    return [entry for entry in free if entry.path in taken]


def remove(root: Path, found: Sequence[Entry]) -> int:
    """Remove entries of a cache; returns the bytes that are free now.

    Raises:
        UserError: an entry that lies elsewhere, or that cannot be removed.
    """
    check(root)
    freed = 0
    for entry in found:
        inside = entry.path.parent == root / WORK or entry.path.parent.parent == root
        if not inside or entry.path.is_symlink():
            raise UserError(f'"{entry.path}" is no folder of the cache "{root}"; nothing more is removed')
        trash = root / WORK / f"{_TRASH}{uuid.uuid4().hex}"
        try:
            trash.parent.mkdir(exist_ok=True)
            entry.path.rename(trash)
            shutil.rmtree(trash)
        except FileNotFoundError:  # a build or another prune was first
            continue
        except OSError as error:
            raise UserError(f'"{entry.path}" cannot be removed ({error.strerror or error})') from error
        freed += entry.size
        if entry.finished and not any(entry.path.parent.iterdir()):
            entry.path.parent.rmdir()
    return freed


def damaged(found: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """Hash every finished entry anew; yields each with what is wrong with it, or an empty text, as it goes."""
    for entry in found:
        if entry.finished:
            yield entry, _damage(entry.path)


def _damage(path: Path) -> str:
    try:
        told = str(read_json(path / DIGEST_FILE)["digest"])
        read_json(path / "artifact" / "facts.json")
        if digest_folder(path / "artifact") != told:
            return "its files are not those that were written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it cannot be read ({error})"
    return ""


def _finished(path: Path) -> Entry:
    origin = origin_of(path)
    stamp = path.stat().st_mtime
    made = float(origin.get("time", stamp))
    stage, recipe = str(origin.get("stage", "")), str(origin.get("recipe", ""))
    return Entry(path, path.name, stage, recipe, _size(path), made, stamp, True, origin)


def _unfinished(path: Path) -> Entry:
    made = path.stat().st_mtime
    used = max([made, *(state.st_mtime for state in _files(path))])
    return Entry(path, path.name, "", "", _size(path), made, used, False, {})


def origin_of(path: Path) -> dict[str, Any]:
    """What is remembered of how an entry came about; nothing of one that was made before it was kept, or is broken."""
    try:
        origin = read_json(path / ORIGIN_FILE)
    except (OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def _is_entry(path: Path, prefix: str) -> bool:
    return bool(_KEY.fullmatch(path.name)) and path.name.startswith(prefix) and path.is_dir() and not path.is_symlink()


def _folders(folder: Path, name: re.Pattern[str] | None = None) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.is_symlink() and (name is None or name.fullmatch(path.name))
    ]


def _size(folder: Path) -> int:
    return sum(state.st_size for state in _files(folder))


def _files(folder: Path) -> Iterator[os.stat_result]:
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a build at work has just moved it
                yield (Path(place) / name).lstat()
