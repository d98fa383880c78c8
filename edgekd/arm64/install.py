"""Lay the arm64 user land into the cache: every file checked by its digest, in one step, and without root.

::

    <cache>/downloads/<sha256>                     pinned files that have arrived, from which an install goes on
    <cache>/targets/arm64-emulated/<pins>/root/    the user land: usr/, lib/, and site/ with the wheels
                                         /laid.json    digest of all files in root/
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from edgekd.arm64.fetch import fetch
from edgekd.arm64.pins import Pin, digest, pins
from edgekd.artifact import digest_folder, read_json, sha256_file, write_json
from edgekd.errors import DataError, MissingRequirementError, writing_to
from edgekd.target import ARM64_EMULATED

logger = logging.getLogger("edgekd")

Fetch = Callable[[Sequence[Pin], Path], None]

# Part of LiteRT's wheel and never loaded where there is no GPU: half of its size.
_UNUSED = "ai_edge_litert/libLiteRtWebGpuAccelerator.so"
_REMEDY = "free space or name another --cache-dir, then run the same command again"


def folder_of(cache: Path, wanted: tuple[Pin, ...] | None = None) -> Path:
    """Where the user land of these pins lies in a cache, or would lie."""
    return cache / "targets" / ARM64_EMULATED / digest(pins() if wanted is None else wanted)


def install(cache: Path, *, wanted: tuple[Pin, ...] | None = None, fetch_files: Fetch = fetch) -> Path:
    """Lay the user land, unless it lies there and is sound.

    Args:
        cache: root of the cache.
        wanted: what it is made of; None: the pins of this edgekd.
        fetch_files: downloads pinned files into a folder.

    Returns:
        Its folder.

    Raises:
        MissingRequirementError: a tool is absent, there is no network, or a version is served no longer.
        DataError: a file that arrived is not the one that was pinned.
        OutputError: the cache cannot be written.
    """
    wanted = pins() if wanted is None else wanted
    final = folder_of(cache, wanted)
    if _is_sound(final):
        logger.info(f"{ARM64_EMULATED}: is there already")
        return final
    with writing_to(cache, _REMEDY):
        files = _arrived(cache / "downloads", wanted, fetch_files)
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".laying-", dir=final.parent) as name:
            staging = Path(name) / "whole"
            staging.mkdir()
            for pin, file in files.items():
                _unpack(pin, file, staging / "root")
            (staging / "root" / "site" / _UNUSED).unlink(missing_ok=True)
            write_json(staging / "laid.json", {"digest": digest_folder(staging / "root")})
            shutil.rmtree(final, ignore_errors=True)  # a broken one
            _move(staging, final)
    return final


def installed(cache: Path) -> Path:
    """The root of the user land, its files checked; raise MissingRequirementError where there is none."""
    folder = folder_of(cache)
    if not _is_sound(folder):
        state = "is not what was laid there" if folder.exists() else "is not there"
        raise MissingRequirementError(
            f"the user land of {ARM64_EMULATED} {state}; edgekd target install {ARM64_EMULATED} lays it into the cache"
        )
    return folder / "root"


def _is_sound(folder: Path) -> bool:
    try:
        return bool(read_json(folder / "laid.json")["digest"] == digest_folder(folder / "root"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _arrived(store: Path, wanted: tuple[Pin, ...], fetch_files: Fetch) -> dict[Pin, Path]:
    """Every pinned file in the store, by its digest; what is not there is fetched."""
    store.mkdir(parents=True, exist_ok=True)
    absent = [pin for pin in wanted if not _is(store / pin.sha256, pin)]
    if absent:
        logger.info(f"{ARM64_EMULATED}: fetching {len(absent)} of {len(wanted)} files")
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=store) as name:
            try:
                fetch_files(absent, Path(name))
            finally:  # also of a fetch that broke off, what has arrived is kept
                for path in Path(name).iterdir():
                    found = sha256_file(path)
                    if any(found == pin.sha256 for pin in absent):
                        path.replace(store / found)
    for pin in absent:
        if not _is(store / pin.sha256, pin):
            raise DataError(
                f"{pin.title}: what arrived is not the file that was pinned (SHA-256 {pin.sha256[:12]}…); nothing was "
                "laid; try again, and should it stay so, report it"
            )
    return {pin: store / pin.sha256 for pin in wanted}


def _is(path: Path, pin: Pin) -> bool:
    return path.is_file() and sha256_file(path) == pin.sha256


def _unpack(pin: Pin, file: Path, root: Path) -> None:
    if pin.kind == "wheel":
        with zipfile.ZipFile(file) as archive:
            archive.extractall(root / "site")
        return
    done = subprocess.run(["dpkg-deb", "-x", str(file), str(root)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{pin.title} cannot be unpacked: {done.stderr.strip()}")


def _move(staging: Path, final: Path) -> None:
    try:
        staging.rename(final)
    except OSError:
        if not _is_sound(final):  # else another process was first
            raise
