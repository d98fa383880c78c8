"""Percentiles by the textbook, and what their intervals must and must not do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, wilcoxon

from edgekd import latency
from edgekd.statistics import Interval


# Worked examples of the article "Percentile" (nearest-rank method) in Wikipedia.
@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([15, 20, 35, 40, 50], 5, 15),
        ([15, 20, 35, 40, 50], 30, 20),
        ([15, 20, 35, 40, 50], 40, 20),
        ([15, 20, 35, 40, 50], 50, 35),
        ([15, 20, 35, 40, 50], 100, 50),
        ([3, 6, 7, 8, 8, 10, 13, 15, 16, 20], 25, 7),
        ([3, 6, 7, 8, 8, 10, 13, 15, 16, 20], 50, 8),
        ([3, 6, 7, 8, 8, 10, 13, 15, 16, 20], 75, 15),
        ([3, 6, 7, 8, 8, 10, 13, 15, 16, 20], 100, 20),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[int], percent: float, expected: int) -> None:
    shuffled = np.random.default_rng(0).permutation(np.array(values, float))
    before = shuffled.copy()
    assert latency.percentile(shuffled, percent) == expected
    np.testing.assert_array_equal(shuffled, before)


@pytest.mark.parametrize("percent", [50, 90, 99])
@pytest.mark.parametrize("count", [1, 2, 7, 10, 100, 101, 1000])
def test_percentile_is_the_smallest_value_that_enough_do_not_exceed(percent: int, count: int) -> None:
    values = np.random.default_rng(count).permutation(count).astype(float)
    enough = [value for value in range(count) if 100 * np.sum(values <= value) >= percent * count]
    assert latency.percentile(values, percent) == min(enough)


@pytest.mark.parametrize(("percent", "count"), [(90, 64), (95, 130), (99, 662)])
def test_runs_needed_are_those_of_mlperf(percent: float, count: int) -> None:
    """Published minimum query counts of early stopping; and the binomial tail that they come from."""
    assert latency.runs_needed(percent) == count
    beyond = 1 - percent / 100
    assert binom.cdf(1, count, beyond) <= 0.01 < binom.cdf(1, count - 1, beyond)


def test_percentile_is_certified_from_the_needed_runs_on() -> None:
    assert latency.certified(np.arange(63.0), 90) is None
    assert latency.certified(np.arange(64.0), 90) == 57  # rank ceil(57.6) = 58
    assert latency.certified(np.arange(661.0), 99) is None
    assert latency.certified(np.arange(662.0), 99) == 655  # rank ceil(655.38) = 656


def test_interval_of_a_median_is_between_the_order_statistics_of_the_sign_test() -> None:
    """Of 99 independent runs, as one of 100 is lost to the variance that is estimated.

    Binomial(99, 1/2): 39 or less with 2.2 %, 40 or less with 3.5 %, so the 40th and, as it is symmetric, the 60th of
    99: of 100 the 41st and the 61st.
    """
    values = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))
    found = latency.percentile_interval([np.array([value]) for value in values], 50)
    assert (found.estimate, found.low, found.high) == (50, 41, 61)


def apart(count: int) -> list[np.ndarray]:
    """Processes that lie apart: all 100 runs of the k-th take k."""
    return [np.full(100, float(number)) for number in range(1, count + 1)]


def test_runs_of_processes_that_lie_apart_are_not_independent() -> None:
    """Ten processes, by hand.

    Up to the median, 5, lie all runs of five and none of five: variance 10/36, of the mean 1/36, so 0.25 * 36 = 9
    independent runs; times (1.9623 / 2.2622)**2 that is 6.77. Of six, the first and the sixth (P(0) = 1/64 is less
    than 2.5 %, P(1 or less) = 7/64 is not): of 1000 pooled runs the 167th and the 1000th.
    """
    found = latency.percentile_interval(apart(10), 50)
    assert (found.estimate, found.low, found.high) == (5, 2, 10)
    # p90 is 9: shares 1 (nine times) and 0, variance 0.1, of the mean 0.01; 0.09 / 0.01 = 9 again. All six lie below
    # p90 with 0.9**6 = 53 %, so that none bounds it from above; the fourth does from below (three or less: 1.6 %).
    assert latency.percentile_interval(apart(10), 90) == Interval(9, 7, math.inf)


def test_processes_that_agree_count_every_run() -> None:
    """Ten times 1..100: all 1000 runs, but for the degrees of freedom: 1000 * (1.9623 / 2.2622)**2 = 752.

    Binomial(752, 1/2): 376 -+ 1.96 * 13.71, so the 349th and the 404th of 752, in 1000 the 465th and the 538th.
    """
    found = latency.percentile_interval([np.arange(1.0, 101.0)] * 10, 50)
    assert found.estimate == 50
    assert (found.low, found.high) == (47, 54)


def test_one_process_says_nothing_of_others() -> None:
    assert latency.percentile_interval([np.array([1.0, 2.0, 3.0])], 50) == Interval(2.0, 0.0, math.inf)
    ratio = latency.ratio_of_medians([np.array([1.0])], [np.array([2.0])])
    assert ratio == Interval(0.5, 0.0, math.inf)
    assert latency.verdict(ratio) == "within noise"


def test_interval_scales_with_the_times() -> None:
    processes = make_processes(np.random.default_rng(0), 10, spread=0.2)
    found = latency.percentile_interval(processes, 50)
    scaled = latency.percentile_interval([1000 * runs for runs in processes], 50)
    expected = [1000 * value for value in (found.estimate, found.low, found.high)]
    assert [scaled.estimate, scaled.low, scaled.high] == pytest.approx(expected)
    assert found.low < found.estimate < found.high


def make_processes(generator: np.random.Generator, count: int, spread: float, runs: int = 100) -> list[np.ndarray]:
    """Times about 1, with a tail, of processes that differ by ``spread`` (standard deviation of the logarithm)."""
    return [np.exp(shift + generator.exponential(0.05, runs)) for shift in generator.normal(0, spread, count)]


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("percent", [50, 90])
def test_the_interval_of_a_percentile_covers(percent: int, spread: float) -> None:
    """In at least 92 % of 400 made benchmarks of ten processes: three standard deviations below 95 % is 91.7 %."""
    generator = np.random.default_rng(0)
    truth = np.quantile(np.concatenate(make_processes(generator, 10_000, spread)), percent / 100)
    intervals = [latency.percentile_interval(make_processes(generator, 10, spread), percent) for _ in range(400)]
    assert sum(found.low <= truth <= found.high for found in intervals) >= 0.92 * 400


def test_the_interval_of_p99_covers_and_is_bounded_where_processes_agree() -> None:
    generator = np.random.default_rng(0)
    truth = math.exp(0.05 * math.log(100))  # of the exponential tail
    intervals = [latency.percentile_interval(make_processes(generator, 10, 0.0), 99) for _ in range(400)]
    assert sum(found.low <= truth <= found.high for found in intervals) >= 0.92 * 400
    assert sum(math.isfinite(found.high) for found in intervals) >= 0.95 * 400


# Depression scores of nine patients at two visits: Hollander and Wolfe 1999, table 3.1.
FIRST_VISIT = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
SECOND_VISIT = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]


def test_ratio_is_the_published_estimate_of_hodges_and_lehmann() -> None:
    """Hollander and Wolfe 1999: estimate 0.46 (example 3.3), 96.1 % interval 0.010 to 0.786 (example 3.4)."""
    first, second = ([np.exp([value]) for value in visit] for visit in (FIRST_VISIT, SECOND_VISIT))
    found = latency.ratio_of_medians(first, second)
    logs = [math.log(value) for value in (found.estimate, found.low, found.high)]
    assert logs == pytest.approx([0.46, 0.010, 0.786], abs=6e-4)
    assert latency.verdict(found) == "slower"
    assert latency.verdict(latency.ratio_of_medians(first, second, level=0.01)) == "within noise"


@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("count", [8, 10, 16, 25])
def test_ratio_interval_holds_what_the_signed_rank_test_does_not_reject(count: int, level: float) -> None:
    generator = np.random.default_rng(count)
    first, second = (list(generator.lognormal(0, 0.1, (count, 1))) for _ in range(2))
    found = latency.ratio_of_medians(first, second, level)
    logs = np.log(np.concatenate(first) / np.concatenate(second))
    for end, inwards in ((math.log(found.low), 1), (math.log(found.high), -1)):
        assert wilcoxon(logs - end - inwards * 1e-9, method="exact").pvalue > level
        assert wilcoxon(logs - end + inwards * 1e-9, method="exact").pvalue <= level


@pytest.mark.parametrize(("level", "rounds"), [(0.05, 6), (0.01, 8), (0.5, 2)])
def test_fewer_rounds_show_nothing(level: float, rounds: int) -> None:
    """All of 6 rounds on one side: 2 / 64 = 3.1 %; of 8: 2 / 256 = 0.8 %."""
    assert latency.rounds_needed(level) == rounds
    half, whole = [np.array([1.0])] * rounds, [np.array([2.0])] * rounds
    assert latency.verdict(latency.ratio_of_medians(half, whole, level)) == "faster"
    assert latency.ratio_of_medians(half[1:], whole[1:], level) == Interval(0.5, 0.0, math.inf)


def test_slow_round_that_both_met_cancels_out() -> None:
    base = np.array([1.0, 1.1, 1.3])
    slowness = [1.0, 7.0, 1.5, 30.0, 2.0, 1.1]
    found = latency.ratio_of_medians([2 * slow * base for slow in slowness], [slow * base for slow in slowness])
    assert (found.estimate, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    assert latency.verdict(found) == "slower"


def test_one_round_that_one_model_met_alone_does_not_hide_a_difference() -> None:
    """Ten rounds, nine at 1.05 and one at a tenth: the mean would say nothing."""
    second = [np.array([1.0])] * 10
    found = latency.ratio_of_medians([np.array([1.05])] * 9 + [np.array([0.1])], second)
    assert found.estimate == pytest.approx(1.05)
    found = latency.ratio_of_medians([np.array([1.05])] * 19 + [np.array([0.1])], second * 2)
    assert latency.verdict(found) == "slower"


def test_ratio_turns_into_its_inverse() -> None:
    generator = np.random.default_rng(0)
    first, second = (make_processes(generator, 10, 0.1) for _ in range(2))
    found, turned = latency.ratio_of_medians(first, second), latency.ratio_of_medians(second, first)
    assert found.low < found.estimate < found.high
    expected = (1 / found.estimate, 1 / found.high, 1 / found.low)
    assert (turned.estimate, turned.low, turned.high) == pytest.approx(expected)


def test_another_session_may_differ_by_two_and_a_half_hundredths() -> None:
    """Ten rounds all at 1.024 are no evidence of a difference, all at 1.026 are."""
    base = [np.array([1.0])] * 10
    for factor, expected in ((1.024, "within noise"), (1.026, "slower"), (1 / 1.026, "faster")):
        found = latency.repeatable_ratio([np.array([factor])] * 10, base)
        ends = (found.low, found.estimate, found.high)
        assert ends == pytest.approx((factor / 1.025, factor, factor * 1.025))
        assert latency.verdict(found) == expected
    assert latency.repeatable_ratio(base[:1], base[:1]) == Interval(1.0, 0.0, math.inf)


def test_rounds_must_pair_up() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        latency.ratio_of_medians([np.ones(3)] * 3, [np.ones(3)] * 2)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 0.99, "faster"),
        (0.5, 1.0, "within noise"),
        (0.9, 1.1, "within noise"),
        (1.0, 1.1, "within noise"),
        (1.01, 1.1, "slower"),
    ],
)
def test_verdict_on_a_ratio(low: float, high: float, expected: str) -> None:
    assert latency.verdict(Interval((low + high) / 2, low, high)) == expected


@pytest.mark.parametrize(("level", "rounds", "exact"), [(0.05, 10, 50 / 1024), (0.01, 10, 10 / 1024)])
def test_equal_models_are_told_apart_as_often_as_the_level_says(level: float, rounds: int, exact: float) -> None:
    """Under drift, bursts and processes that differ by half: 4000 comparisons.

    Of the 1024 subsets of 1..10, 25 have a sum of at most 8 and 5 one of at most 3; each counts on both sides.
    """
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(4000):
        minutes = np.exp(np.cumsum(generator.normal(0, 0.2, rounds)))
        bursts = np.where(generator.random((2, rounds)) < 0.2, 5.0, 1.0)
        times = minutes * bursts * np.exp(generator.normal(0, 0.4, (2, rounds)))
        wrong += (
            latency.verdict(latency.ratio_of_medians(*(list(row[:, None]) for row in times), level)) != "within noise"
        )
    assert abs(wrong - 4000 * exact) <= 3 * math.sqrt(4000 * exact)


def test_drift_is_the_last_third_against_the_first() -> None:
    """Two models, nine rounds; one is twice the other, and both are 10 % slower in the end. One outlier a third."""
    slowness = np.array([1.0, 1.0, 9.0, 1.05, 1.05, 1.05, 1.1, 0.2, 1.1])
    assert latency.drift([slowness, 2 * slowness]) == pytest.approx(0.1)
    assert latency.drift([slowness[::-1]]) == pytest.approx(1 / 1.1 - 1)
    assert latency.drift([np.ones(5)]) is None


def test_a_round_of_turns_is_compared_turn_by_turn() -> None:
    """The pace doubles after the first of three turns for both: 5 % remain 5 %, though the medians of all runs differ.

    In the second pair one turn of one model alone was slow: the median of 1.05, 1.05 and 2.1.
    """
    base = np.array([[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]])
    burst = 1.05 * base * np.array([[1.0], [1.0], [2.0]])
    found = latency.ratio_of_medians([1.05 * base, burst] * 5, [base] * 10)
    assert (found.estimate, found.low, found.high) == pytest.approx((1.05, 1.05, 1.05))


def test_percentiles_are_of_all_turns() -> None:
    turns = np.arange(1.0, 101.0).reshape(10, 10)
    assert latency.percentile_interval([turns] * 10, 90) == latency.percentile_interval([turns.ravel()] * 10, 90)
