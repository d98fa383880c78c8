"""Intervals, paired tests, and the verdict that a claim gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["shown", "not shown", "refuted"]

Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
Z70 = 0.5244005127080407  # 70 % quantile


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927), in [0, 1].

    Args:
        successes: 0 to ``count``.
        count: at least 1.
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Interval:
    """Difference of two accuracies on the same images, with its 95 % score interval (Tango 1998).

    ``estimate = mean(first) - mean(second)``. The ends are where the score test of "the difference is ``d``" gives
    1.96. Unlike a bootstrap, the interval has a width where no image, or images on one side alone, tell the two models
    apart: without any, it ends at ``+-3.84 / (n + 3.84)``.

    Args:
        first, second: whether each model was right, shape ``(n,)``.
    """
    count = len(first)
    gains, losses = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    return Interval(
        (gains - losses) / count, -_upper_score_limit(losses, gains, count), _upper_score_limit(gains, losses, count)
    )


def _upper_score_limit(gains: int, losses: int, count: int) -> float:
    """Tango 1998, "Equivalence test and confidence interval for the difference in proportions for paired samples"."""
    from scipy.optimize import brentq

    estimate = (gains - losses) / count
    if estimate == 1.0:
        return 1.0

    def excess(difference: float) -> float:
        # Maximum likelihood of the chance of a loss, where the chance of a gain is larger by the difference.
        linear = -gains - losses + (2 * count - gains + losses) * difference
        constant = -losses * difference * (1 - difference)
        loss = (math.sqrt(max(linear**2 - 8 * count * constant, 0.0)) - linear) / (4 * count)
        variance = count * (2 * loss + difference * (1 - difference))
        return gains - losses - count * difference + Z95 * math.sqrt(max(variance, 0.0))

    # The score is 0 at the estimate, grows from there, and has passed 1.96 before a difference of 1.
    return float(brentq(excess, estimate + 1e-9, 1.0, xtol=1e-9))


def mean_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean of paired differences ``first - second`` with its 95 % interval by Student's t.

    Args:
        first, second: one figure a run, paired by seed; at least two pairs.
    """
    from scipy.stats import t

    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    mean, count = float(differences.mean()), len(differences)
    half = float(t.ppf(0.975, count - 1) * differences.std(ddof=1) / math.sqrt(count))
    return Interval(mean, mean - half, mean + half)


def paired_mean_difference(first: NDArray[np.floating], second: NDArray[np.floating]) -> Interval:
    """Difference of two means of figures in [0, 1] on the same images, with its 95 % interval.

    ``estimate = mean(first - second)``. The interval is that of Agresti and Min 2005 ("Simple improved confidence
    intervals for comparing matched proportions"): a Wald interval after half an image with the difference 1, half a one
    with -1, and one with 0 were added. So it keeps a width where nothing tells the two apart, and is theirs where the
    figures are 0 or 1.

    Args:
        first, second: one figure an image, such as the share of its labels that are right; shape ``(n,)``.
    """
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    count = len(differences) + 2
    centre = float(differences.sum()) / count
    variance = (float(np.square(differences).sum()) + 1) / count - centre**2
    half = Z95 * math.sqrt(variance / count)
    return Interval(float(differences.mean()), max(-1.0, centre - half), min(1.0, centre + half))


def mcnemar_p(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Two-sided p of McNemar's exact test: discordant images fall either way with probability 1/2 (McNemar 1947)."""
    return sign_test_p(first.astype(int) - second)


def sign_test_p(differences: NDArray[np.integer] | NDArray[np.floating]) -> float:
    """Two-sided p of the exact sign test: those that are not 0 lie on either side with probability 1/2."""
    from scipy.stats import binomtest

    above, below = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    return 1.0 if above + below == 0 else float(binomtest(above, above + below).pvalue)


def normal_p(difference: Interval) -> float:
    """Two-sided p of "there is no difference", of an interval that is 1.96 standard errors wide on either side."""
    half = (difference.high - difference.low) / 2
    if half == 0:
        return 1.0 if difference.estimate == 0 else 0.0
    return math.erfc(abs(difference.estimate) * Z95 / half / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number by the step-down method of Holm 1979.

    The smallest is multiplied by ``m``, the next by ``m - 1``, and so on; none is below the one before, or above 1.
    Where all hypotheses are true, the chance that one of the adjusted values is below 5 % is at most 5 %.
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def smallest_margin(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The smallest margin that two equally good models would be shown to keep, in seven of ten such test sets.

    ``(1.96 + 0.52) * sqrt(d / n)`` with ``d`` the share of discordant images: then the 95 % interval of the paired
    difference lies above minus the margin with a chance of 70 %. Without a discordant image ``d`` counts as ``1 / n``.
    """
    discordant = max(float(np.mean(first != second)), 1 / len(first))
    return (Z95 + Z70) * math.sqrt(discordant / len(first))


def smallest_margin_of(difference: Interval) -> float:
    """The same, of a difference whose interval is 1.96 standard errors wide on either side: 2.48 of them."""
    return (Z95 + Z70) / Z95 * (difference.high - difference.low) / 2


def delong_difference(
    first: NDArray[np.floating], second: NDArray[np.floating], labels: NDArray[np.integer]
) -> Interval:
    """Difference of two AUCs on the same images, ``AUC(first) - AUC(second)``, with its 95 % interval.

    DeLong et al. 1988, "Comparing the areas under two or more correlated receiver operating characteristic curves",
    with the placement values of Sun and Xu 2014. Where no image tells the two apart its variance is 0; the interval is
    then that of :func:`paired_difference` for as many images without a difference as the smaller class has.

    Args:
        first, second: scores of class 1, shape ``(n,)``.
        labels: 0 or 1, at least two of each.
    """
    from scipy.stats import rankdata

    positive = labels == 1
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    of_positives, of_negatives, areas = [], [], []
    for scores in (first, second):
        overall = rankdata(scores)
        placement = (overall[positive] - rankdata(scores[positive])) / num_negative
        of_positives.append(placement)
        of_negatives.append(1 - (overall[~positive] - rankdata(scores[~positive])) / num_positive)
        areas.append(float(placement.mean()))
    covariance = np.cov(of_positives) / num_positive + np.cov(of_negatives) / num_negative
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    half_width = Z95 * math.sqrt(max(float(variance), 0.0))
    if all(np.ptp(first - second) == 0 for first, second in (of_positives, of_negatives)):
        half_width = _without_difference(min(num_positive, num_negative))
    difference = areas[0] - areas[1]
    return Interval(difference, difference - half_width, difference + half_width)


def _without_difference(count: int) -> float:
    """Where Tango's interval ends that ``count`` images without a difference leave."""
    return Z95**2 / (Z95**2 + count)


def macro_auc_difference(
    first: NDArray[np.floating], second: NDArray[np.floating], labels: NDArray[np.integer]
) -> Interval:
    """Difference of two AUCs, averaged over the labels, on the same images, with its 95 % interval.

    What DeLong's placement values say of each image is added up over the labels, so that labels which come together
    count as what they are: one image. With one label the variance is DeLong's, but for ``n`` in the place of ``n - 1``,
    and so is what holds where no image tells the two apart.

    Args:
        first, second: scores, shape ``(n, K)``.
        labels: 0 or 1, shape ``(n, K)``; every label is there and is not.
    """
    areas, influences = zip(*(_auc_influence(scores, labels) for scores in (first, second)), strict=True)
    difference = float(areas[0] - areas[1])
    influence = influences[0] - influences[1]
    half = Z95 * math.sqrt(float(np.mean(np.square(influence))) / len(labels))
    if not influence.any():
        counts = labels.sum(axis=0)
        half = _without_difference(int(min(counts.min(), len(labels) - counts.max())))
    return Interval(difference, difference - half, difference + half)


def _auc_influence(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> tuple[float, NDArray[np.float64]]:
    """The mean AUC over the labels, and how much each image moves it: its influence, ``(n,)``, of mean 0."""
    from scipy.stats import rankdata

    areas, influence = [], np.zeros(len(labels))
    for score, positive in zip(scores.T, labels.T == 1, strict=True):
        overall = rankdata(score)
        share = positive.mean()
        above = (overall[positive] - rankdata(score[positive])) / (~positive).sum()
        below = 1 - (overall[~positive] - rankdata(score[~positive])) / positive.sum()
        areas.append(float(above.mean()))
        influence[positive] += (above - areas[-1]) / share
        influence[~positive] += (below - areas[-1]) / (1 - share)
    return float(np.mean(areas)), influence / labels.shape[1]


def two_proportions_differ(first: int, first_count: int, second: int, second_count: int) -> bool:
    """Whether the 99 % interval of the difference of two independent proportions leaves out 0.

    Newcombe 1998, method 10: from the two Wilson intervals, here at 99 %.
    """
    from scipy.stats import binomtest

    bounds = []
    for successes, count in ((first, first_count), (second, second_count)):
        interval = binomtest(successes, count).proportion_ci(confidence_level=0.99, method="wilson")
        bounds.append((successes / count, interval.low, interval.high))
    (p1, low1, high1), (p2, low2, high2) = bounds
    low = p1 - p2 - math.hypot(p1 - low1, high2 - p2)
    high = p1 - p2 + math.hypot(high1 - p1, p2 - low2)
    return bool(low > 0 or high < 0)


def no_loss_verdict(difference: Interval, margin: float) -> Verdict:
    """Verdict on "nothing was lost" with a margin stated beforehand.

    ``difference`` is after minus before. Shown: its lower end is above ``-margin``. Refuted: its upper end is below
    ``-margin``. Else the data cannot tell.
    """
    if difference.low > -margin:
        return "shown"
    return "refuted" if difference.high < -margin else "not shown"


def gain_verdict(difference: Interval) -> Verdict:
    """Verdict on "something was gained": shown where the interval lies above 0, refuted where it lies below."""
    if difference.low > 0:
        return "shown"
    return "refuted" if difference.high < 0 else "not shown"
