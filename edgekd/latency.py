"""From timed runs to figures: percentiles by nearest rank, their intervals, and ratios between models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.statistics import Interval

Verdict = Literal["faster", "slower", "within noise"]


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


def median_of_processes(processes: Sequence[NDArray[np.floating]]) -> Interval:
    """Median over all runs, with a 95 % interval over processes.

    Runs of one process share its memory layout and its moment, so that processes and not runs are the sample
    (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time"): Student's t of the processes' medians, moved
    to the pooled median that their mean stands for. One process says nothing of others: the interval is open.
    """
    centre = percentile(np.concatenate(processes), 50)
    half = _half_width([float(np.median(runs)) for runs in processes])
    return Interval(centre, max(0.0, centre - half), centre + half)


def ratio_of_medians(first: Sequence[NDArray[np.floating]], second: Sequence[NDArray[np.floating]]) -> Interval:
    """``median(first) / median(second)`` with a 95 % interval; the geometric mean over rounds.

    The processes of the two models were interleaved round by round; the interval is Student's t of the rounds'
    log-ratios, so that a slow minute that both met cancels out. One round says nothing: the interval is open.
    """
    logs = [math.log(np.median(a) / np.median(b)) for a, b in zip(first, second, strict=True)]
    centre, half = math.fsum(logs) / len(logs), _half_width(logs)
    return Interval(math.exp(centre), math.exp(centre - half), math.exp(centre + half))


def _half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of a mean: ``t(0.975, k - 1) sd / sqrt(k)``."""
    from scipy.stats import t

    if len(values) < 2:
        return math.inf
    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def verdict(ratio: Interval) -> Verdict:
    """What the interval of a ratio of times says of the first model."""
    if ratio.high < 1:
        return "faster"
    return "slower" if ratio.low > 1 else "within noise"
