"""From timed runs to figures: percentiles by nearest rank, their intervals, and ratios between models.

Runs of one process share its memory layout and its moment, so that processes and not runs are the sample (Kalibera and
Jones 2013, "Rigorous benchmarking in reasonable time"). No interval here supposes a normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.statistics import Interval

Verdict = Literal["faster", "slower", "within noise"]
Runs = Sequence[NDArray[np.floating]]

LEVEL = 0.05
# What no number of rounds of one session tells: where pages and caches happen to lie meanwhile, what neighbours do to
# one model more than to another. Of ten ratios in four sessions, an hour to three apart, idle machine and busy
# (benchmarks/results/repeat_check.json), 57 of 60 lie within the interval of another session with this. Those of small
# INT8 models differ by 0.5 % at most, those with one of 224 pixels by up to 3.7 %, though rounds alone promise 0.5 %.
SESSION = 0.025


def percentile(values: NDArray[np.floating], percent: float) -> float:
    """Nearest-rank percentile: the smallest value that at least ``percent`` % of the values do not exceed."""
    return float(np.sort(values)[max(1, math.ceil(percent * len(values) / 100)) - 1])


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


def percentile_interval(processes: Runs, percent: float, level: float = LEVEL) -> Interval:
    """Nearest-rank percentile over all runs, with an interval that a share ``1 - level`` of repetitions would cover.

    The interval goes from one order statistic of the pooled runs to another (Woodruff 1952, "Confidence intervals for
    medians and other position measures"), at the binomial quantiles of ``n`` runs that were independent::

        n = min(N, p (1 - p) / v) * (t(1 - level / 2, N - 1) / t(1 - level / 2, k - 1))**2

    ``v`` is the variance of the share of runs up to the percentile, estimated from its ``k`` processes (effective
    sample size for clusters and few degrees of freedom: Korn and Graubard 1998, "Confidence intervals for proportions
    with small expected number of positive counts estimated from survey data"). Processes that differ among themselves
    leave few independent runs, and a wide interval; where even the largest run does not bound it, it is open.

    Args:
        processes: times of ``k`` processes, as many runs in each.
        percent: which percentile.
        level: 1 minus the coverage.
    """
    from scipy.stats import binom, t

    pooled = np.sort(np.concatenate([runs.ravel() for runs in processes]))
    total, count, p = len(pooled), len(processes), percent / 100
    estimate = percentile(pooled, percent)
    if count < 2:
        return Interval(estimate, 0.0, math.inf)
    variance = float(np.var([np.mean(runs <= estimate) for runs in processes], ddof=1)) / count
    independent = min(float(total), p * (1 - p) / variance) if variance > 0 else float(total)
    n = math.floor(1e-9 + independent * (t.ppf(1 - level / 2, total - 1) / t.ppf(1 - level / 2, count - 1)) ** 2)
    # Below the true percentile lie Binomial(n, p) runs: the low-th is above it, or the high-th below, in level / 2.
    low, high = (binom.ppf(level / 2, n, p), binom.ppf(1 - level / 2, n, p) + 1) if n else (0, 1)
    return Interval(
        estimate,
        float(pooled[math.ceil(low / n * total) - 1]) if low > 0 else 0.0,
        float(pooled[math.ceil(high / n * total) - 1]) if high <= n else math.inf,
    )


def ratio_of_medians(first: Runs, second: Runs, level: float = LEVEL) -> Interval:
    """``median(first) / median(second)``, paired by round, with its interval by signed ranks.

    A round's ratio is that of the medians of a turn, and of several turns their median: two processes that took turns
    met the same pace of the processor in the same turn. The logarithms of the rounds' ratios are averaged in pairs,
    each with itself too; the estimate is the median of these averages, and the interval ends at the ones that
    Wilcoxon's signed-rank test at ``level`` does not reject (Hodges and Lehmann 1963; Tukey 1949). Within a round the
    order of the models is random, so that of two equal models each round's ratio is as likely turned over: the test
    then errs in at most ``level`` of all comparisons, whatever drift, bursts or outliers the machine adds. A slow
    minute that both models met cancels out.

    Fewer rounds than :func:`rounds_needed` cannot show a difference: the interval is open.

    Args:
        first, second: times by round, ``(runs,)`` or ``(turns, runs)`` each.
        level: chance of an interval without 1 where the models are equal.
    """
    logs = np.array([_log_ratio(a, b) for a, b in zip(first, second, strict=True)])
    rows, columns = np.triu_indices(len(logs))
    averages = np.sort((logs[rows] + logs[columns]) / 2)
    centre, rank = float(np.median(averages)), _signed_rank(len(logs), level)
    if rank == 0:
        return Interval(math.exp(centre), 0.0, math.inf)
    return Interval(math.exp(centre), math.exp(averages[rank - 1]), math.exp(averages[-rank]))


def _log_ratio(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Of one round."""
    medians = (np.median(np.atleast_2d(runs), axis=1) for runs in (first, second))
    return float(np.median(np.log(next(medians)) - np.log(next(medians))))


def repeatable_ratio(first: Runs, second: Runs, level: float = LEVEL) -> Interval:
    """:func:`ratio_of_medians`, its interval longer by :data:`SESSION` on both sides: what another session may find.

    The second part is a bound and no quantile (an uncertainty of type B in JCGM 100:2008, the "GUM"), so that equal
    models are told apart more rarely than ``level`` says.
    """
    ratio = ratio_of_medians(first, second, level)
    return Interval(ratio.estimate, ratio.low / (1 + SESSION), ratio.high * (1 + SESSION))


def rounds_needed(level: float = LEVEL) -> int:
    """The fewest rounds that can show a difference: 6 at 5 %, 8 at 1 %; all on one side have a chance of 2**(1-n)."""
    return math.ceil(1 - math.log2(level))


def _signed_rank(count: int, level: float) -> int:
    """The largest ``k``, or 0, with ``2 P(W <= k - 1) <= level``; W sums the ranks of 1..count that a coin picks."""
    chances = np.ones(1)
    for rank in range(1, count + 1):
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    return int(np.sum(2 * np.cumsum(chances) <= level))


def drift(rounds: Runs) -> float | None:
    """How much slower the last third of the rounds was than the first, as a fraction; None below six rounds.

    Args:
        rounds: for each model its medians by round; a round's slowness is the mean over the models of their logarithms,
            and a third's the median over its rounds.
    """
    slowness = np.mean([np.log(medians) for medians in rounds], axis=0)
    third = len(slowness) // 3
    if third < 2:
        return None
    return math.expm1(float(np.median(slowness[-third:]) - np.median(slowness[:third])))


def verdict(ratio: Interval) -> Verdict:
    """What the interval of a ratio of times says of the first model."""
    if ratio.high < 1:
        return "faster"
    return "slower" if ratio.low > 1 else "within noise"
