"""Pictures to time models on, as the command line names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekd import api
from edgekd.data.source import FileRef, Pictures
from edgekd.data.sources import load_source
from edgekd.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MOST = 64
"""More pictures than this tell nothing more of latency."""


def of_data(text: str) -> Pictures:
    """The first pictures of the test split of a data set, by name or path. Raises DataError."""
    config = api.load_recipe("default", data=text).data
    return load_source(config).splits["test"].pictures[:MOST]


def of_files(paths: Sequence[Path]) -> list[FileRef]:
    """Image files, and those below folders, in the order of their names. Raises DataError where there are none."""
    found: list[FileRef] = []
    for path in paths:
        if not path.exists():
            raise DataError(f'--images "{path}": no such file or folder')
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            if not inside:
                raise DataError(f'--images "{path}": no image below this folder; {", ".join(SUFFIXES)} are read')
            found += [FileRef(file, str(file.relative_to(path))) for file in inside]
        else:
            found.append(FileRef(path, str(path)))
    return found[:MOST]
