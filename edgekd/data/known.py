"""The data sets that are known by name: what they are, and how to have them here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekd.artifact import sha256_file
from edgekd.config.data import Data
from edgekd.data import cifar100, medmnist, synthetic_cells
from edgekd.data.sources import DATASETS, load_source
from edgekd.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Known:
    """A data set by name.

    Attributes:
        name: in ``data.name``.
        task: a name in :data:`edgekd.tasks.TASKS`; empty where only loading would tell.
        num_classes: classes, or labels of a multi-label task.
        counts: images in train, val and test; empty where only loading would tell.
        licence: of the images.
        source: where they come from.
    """

    name: str
    task: str = ""
    num_classes: int | None = None
    counts: tuple[int, ...] = ()
    licence: str = ""
    source: str = "a plug-in"


@dataclass(frozen=True)
class Fetched:
    """A data set that is here now.

    Attributes:
        path: of its file; None where it has none of its own.
        sha256: of the file, or of the images.
    """

    path: Path | None
    sha256: str


def known() -> list[Known]:
    """Every data set of the registry; those of plug-ins by their name alone."""
    rows = {
        "synthetic_cells": Known(
            "synthetic_cells",
            "multi-class",
            len(synthetic_cells.CLASS_NAMES),
            tuple(synthetic_cells.COUNTS.values()),
            "Apache-2.0",
            "drawn by edgekd, no download",
        ),
        "cifar100": Known(
            "cifar100",
            "multi-class",
            len(cifar100.CLASS_NAMES),
            (50_000 - 100 * cifar100.VAL_PER_CLASS, 100 * cifar100.VAL_PER_CLASS, 10_000),
            "none stated",
            "cs.toronto.edu, not medical",
        ),
        **{
            name: Known(name, row.task, len(row.class_names), row.counts, row.licence, "MedMNIST v2, 28 pixels")
            for name, row in medmnist.TABLE.items()
        },
    }
    return [rows.get(name, Known(name)) for name in sorted(DATASETS)]


def fetch(name: str) -> Fetched:
    """Download a data set unless it is here, and check what came.

    Raises:
        DataError: an unknown name, no network, or bytes that are not the official ones.
    """
    if name not in DATASETS:
        raise DataError(f'no data set "{name}"{did_you_mean(name, DATASETS)}')
    if name in medmnist.TABLE:
        path = medmnist.fetch(name, medmnist.cache_folder())
        return Fetched(path, sha256_file(path))
    return Fetched(None, load_source(Data(name=name)).sha256)
