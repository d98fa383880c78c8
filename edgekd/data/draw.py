"""Draw splits: each class in its shares, no group in two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import DataError


def draw(
    strata: NDArray[np.int64],
    units: NDArray[np.int64],
    fractions: Mapping[str, float],
    seed: int,
    names: Sequence[str],
    *,
    where: str,
    unit: str = "images",
) -> list[str]:
    """Divide samples into ``train`` and the splits of ``fractions``; samples of one unit stay together.

    The wanted number of samples of stratum ``c`` in split ``s`` is ``t[s, c] = max(1, rint(f[s] * n[c]))``, and train
    has the rest. Units are shuffled and sorted: those of the rarest stratum first, then large ones first (Sechidis et
    al. 2011, "On the stratification of multi-label data", take the rarest first, too). Each goes where it lowers
    ``sum((count - t)**2 / t)`` most, unless a split that lacks one of its strata needs it. Where every unit is one
    sample of one stratum, the counts are exactly ``t``; larger units come as near as they can.

    Args:
        strata: 0 or 1, shape ``(n, C)``: which strata a sample belongs to (its class, or each of its labels).
        units: number of each sample's unit, ``0..U-1``, shape ``(n,)``. Units that are numbered in another order are
            drawn otherwise: number them by something that does not depend on the order of files.
        fractions: share of each further split; together below 1.
        seed: of the shuffle.
        names: of the strata, for messages.
        where: what messages begin with.
        unit: what messages call a unit, in the plural.

    Returns:
        The split of each sample.

    Raises:
        DataError: a stratum with fewer units than splits, or one that could not be brought into every split.
    """
    splits = ["train", *fractions]
    size = strata.sum(axis=0)
    counts = np.zeros((int(units.max()) + 1, strata.shape[1]), np.int64)
    np.add.at(counts, units, strata)
    spread = (counts > 0).sum(axis=0)
    for name, having in zip(names, spread, strict=True):
        if having < len(splits):
            wrong = "; where they are known wrongly, data.patient_column or data.patient_pattern says otherwise"
            raise DataError(
                f'{where}: class "{name}" has too few {unit} for {", ".join(splits)}: {having}; at least {len(splits)} '
                f"are wanted{wrong if unit == 'patients' else ''}"
            )
    wanted = np.array([np.maximum(1, np.rint(share * size)) for share in fractions.values()])
    targets = np.vstack([np.maximum(1, size - wanted.sum(axis=0)), wanted]).astype(np.float64)
    chosen = _assign(counts, spread, targets, seed)
    reached = np.zeros(targets.shape, np.int64)
    np.add.at(reached, chosen, counts)
    for split, row in zip(splits, reached, strict=True):
        if not row.all():
            raise DataError(
                f'{where}: no {split} with class "{names[int(np.argmin(row))]}" was found that keeps {unit} whole; '
                "try another data.split_seed, or give the splits"
            )
    return [splits[index] for index in chosen[units]]


def _assign(
    counts: NDArray[np.int64], spread: NDArray[np.int64], targets: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """Index of the split of each unit."""
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    chosen = np.zeros(len(counts), np.int64)
    if (counts.sum(axis=1) == 1).all():  # then the targets are met exactly, and without a look at each unit
        edges = np.cumsum(targets, axis=0)
        for column, edge in zip(counts.T, edges.T, strict=True):
            members = shuffled[column[shuffled] == 1]
            chosen[members] = np.searchsorted(edge, np.arange(len(members)), side="right")
        return chosen
    rarest = np.where(counts[shuffled] > 0, spread, np.iinfo(np.int64).max).min(axis=1)
    order = shuffled[np.lexsort((-counts[shuffled].sum(axis=1), rarest))]
    reached = np.zeros_like(targets)
    left = spread.copy()
    for index in order:
        added = counts[index]
        has = added > 0
        # (r + a - t)^2 - (r - t)^2 = a (2 (r - t) + a)
        cost = (added * (2 * (reached - targets) + added) / targets)[:, has].sum(axis=1)
        lacking = reached[:, has] == 0
        urgent = lacking & (lacking.sum(axis=0) >= left[has])
        if urgent.any():
            cost[~urgent.any(axis=1)] = np.inf
        best = int(np.argmin(cost))
        chosen[index] = best
        reached[best] += added
        left -= has
    return chosen
