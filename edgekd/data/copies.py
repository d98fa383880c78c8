"""Copies of one image stay together where splits are drawn, as the images of one patient do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def joined(units: NDArray[np.int64], digests: Sequence[str]) -> NDArray[np.int64]:
    """Make one unit of those that share an image, and of those that these share one with.

    Args:
        units: a number for each sample's patient, or of its own, shape ``(n,)``.
        digests: what is equal of copies alone; empty: not known.

    Returns:
        Numbers of units, ``(n,)``; a joined one has the smallest of its numbers. Some numbers are then left out.
    """
    parent = list(range(int(units.max()) + 1))

    def root(unit: int) -> int:
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = parent[unit]
        return unit

    first: dict[str, int] = {}
    for unit, digest in zip(units.tolist(), digests, strict=True):
        if digest:
            low, high = sorted((root(first.setdefault(digest, unit)), root(unit)))
            parent[high] = low
    return np.array([root(unit) for unit in units.tolist()], np.int64)


def num_copies(digests: Sequence[str]) -> int:
    """How many images are copies of another that is counted once."""
    counts = Counter(filter(None, digests))
    return counts.total() - len(counts)
