"""Paired bootstrap intervals: what the same images, drawn anew, would have said (Efron and Tibshirani 1993).

They stand beside the intervals by formula and assume less: no normal distribution and no variance. They have no width
where the images show no difference, so that verdicts rest on the others. The seed is fixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_DRAWS = 2000
_SEED = 0
_MAX_ELEMENTS = 4_000_000

Ends = tuple[float, float]


def mean_interval(differences: NDArray[np.floating] | NDArray[np.integer]) -> Ends:
    """95 % percentile interval of a mean of paired differences, one an image, shape ``(n,)``.

    Images with equal differences are alike, so that a draw is a multinomial count of the differences there are.
    """
    values, counts = np.unique(differences, return_counts=True)
    count = len(differences)
    drawn = np.random.default_rng(_SEED).multinomial(count, counts / count, NUM_DRAWS)
    return _ends(drawn @ values / count)


def auc_interval(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    labels: NDArray[np.integer],
    strata: NDArray[np.integer],
) -> Ends:
    """95 % percentile interval of the difference of two AUCs, averaged over the labels, on the same images.

    Args:
        first, second: scores, shape ``(n, K)``.
        labels: 0 or 1, shape ``(n, K)``.
        strata: shape ``(n,)``; each stratum keeps its number of images. A draw without a label, or with nothing else,
            has no AUC and is left out.
    """
    generator, found = np.random.default_rng(_SEED), []
    rows = max(1, min(NUM_DRAWS, _MAX_ELEMENTS // len(labels)))
    for start in range(0, NUM_DRAWS, rows):
        weights = _redrawn(generator, min(rows, NUM_DRAWS - start), strata)
        pairs = [
            _areas(one, there == 1, weights) - _areas(other, there == 1, weights)
            for one, other, there in zip(first.T, second.T, labels.T, strict=True)
        ]
        found.append(np.mean(pairs, axis=0))
    differences = np.concatenate(found)
    return _ends(differences[np.isfinite(differences)])


def _redrawn(generator: np.random.Generator, rows: int, strata: NDArray[np.integer]) -> NDArray[np.float64]:
    """How often each image is drawn, ``(rows, n)``."""
    weights = np.empty((rows, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        count = len(members)
        drawn = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        weights[:, members] = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
    return weights


def _areas(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AUC of weighted images, a row of weights each: pairs that are won, and half of those that tie."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))
    sorted_weights, there = weights[:, order], positive[order]
    won = np.add.reduceat(sorted_weights * there, starts, axis=1)
    lost = np.add.reduceat(sorted_weights * ~there, starts, axis=1)
    below = np.cumsum(lost, axis=1) - lost / 2
    pairs = won.sum(axis=1) * lost.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        areas: NDArray[np.float64] = np.sum(won * below, axis=1) / pairs
    return areas


def _ends(values: NDArray[np.float64]) -> Ends:
    low, high = np.quantile(values, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)
