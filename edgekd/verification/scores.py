"""The raw scores of a run, ``scores.npz``, from which anyone can compute the figures again.

Arrays: ``<model id>__<split>``, probabilities float32 ``(n, K)``, and ``labels__<split>``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import DataError

SPLITS = ("val", "test")
_LABELS = "labels"

Probs = NDArray[np.float32]
Scores = dict[str, dict[str, Probs]]
LabelsOf = dict[str, NDArray[np.int64]]


def write_scores(path: Path, scores: Mapping[str, Mapping[str, Probs]], labels: Mapping[str, NDArray[Any]]) -> None:
    """Write probabilities by model and split, and labels by split."""
    rows: Mapping[str, Mapping[str, NDArray[Any]]] = {**scores, _LABELS: labels}
    arrays = {f"{name}__{split}": values for name, parts in rows.items() for split, values in parts.items()}
    np.savez(path, allow_pickle=False, **arrays)


def read_scores(path: Path) -> tuple[Scores, LabelsOf]:
    """Read them back, of models that have both splits; nothing is unpickled.

    Raises:
        DataError: no such file, or not one that :func:`write_scores` wrote.
    """
    found: dict[str, dict[str, NDArray[Any]]] = {}
    try:
        # NumPy leaves a file open that it opened itself and cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in archive.files:
                name, _, split = key.rpartition("__")
                found.setdefault(name, {})[split] = archive[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f'scores "{path.name}" cannot be read ({error}); build the run again') from None
    labels = found.pop(_LABELS, {})
    for name, parts in found.items():
        for split in SPLITS:
            if split not in parts or split not in labels or len(parts[split]) != len(labels[split]):
                raise DataError(f'scores "{path.name}" lack {name} or its labels on {split}; build the run again')
    if not found:
        raise DataError(f'scores "{path.name}" hold no model; build the run again')
    return found, {split: labels[split] for split in SPLITS}
