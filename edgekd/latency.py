"""From timed runs to figures: percentiles by nearest rank, their intervals, and ratios between models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.statistics import Interval

Verdict = Literal["faster", "slower", "within noise"]

NUM_BOOTSTRAP = 2000


def percentile(values: NDArray[np.floating], percent: float) -> float:
    """Nearest-rank percentile: the smallest value that at least ``percent`` % of the values do not exceed."""
    return float(np.sort(values)[max(1, math.ceil(percent / 100 * len(values))) - 1])


def runs_needed(percent: float) -> int:
    """How many runs certify a percentile: 64 for p90, 130 for p95, 662 for p99 (MLPerf Inference, early stopping).

    The smallest ``n`` for which fewer than two of ``n`` runs beyond the percentile have a chance of at most 1 %:
    ``p**n + n (1 - p) p**(n - 1) <= 0.01``.
    """
    p = percent / 100
    n = 2
    while p**n + n * (1 - p) * p ** (n - 1) > 0.01:
        n += 1
    return n


def certified(values: NDArray[np.floating], percent: float) -> float | None:
    """The percentile, or None where there are fewer runs than :func:`runs_needed`."""
    return percentile(values, percent) if len(values) >= runs_needed(percent) else None


def median_of_processes(processes: Sequence[NDArray[np.floating]], seed: int) -> Interval:
    """Median over all runs, with a 95 % interval over processes.

    Runs of one process share its memory layout and its moment, so that processes and not runs are resampled
    (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time").
    """
    pooled = np.concatenate(processes)
    medians = np.array([np.median(runs) for runs in processes])
    generator = np.random.default_rng(seed)
    draws = generator.choice(medians, (NUM_BOOTSTRAP, len(medians))).mean(axis=1)
    centre = percentile(pooled, 50)
    # The interval is that of the mean of the processes' medians, moved to the pooled median it stands for.
    low, high = np.quantile(draws, (0.025, 0.975)) - medians.mean() + centre
    return Interval(centre, float(min(low, centre)), float(max(high, centre)))


def ratio_of_medians(
    first: Sequence[NDArray[np.floating]], second: Sequence[NDArray[np.floating]], seed: int
) -> Interval:
    """``median(first) / median(second)`` with a 95 % interval.

    The processes of the two models were interleaved round by round; rounds are resampled, so that a slow minute that
    both met cancels out.
    """
    logs = np.log([np.median(a) / np.median(b) for a, b in zip(first, second, strict=True)])
    draws = np.random.default_rng(seed).choice(logs, (NUM_BOOTSTRAP, len(logs))).mean(axis=1)
    low, high = np.exp(np.quantile(draws, (0.025, 0.975)))
    return Interval(float(np.exp(logs.mean())), float(low), float(high))


def verdict(ratio: Interval) -> Verdict:
    """What the interval of a ratio of times says of the first model."""
    if ratio.high < 1:
        return "faster"
    return "slower" if ratio.low > 1 else "within noise"
