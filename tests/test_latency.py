"""Percentiles by the textbook, and what their intervals must and must not do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

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


def test_median_is_that_of_all_runs_pooled() -> None:
    processes = [np.array([1.0, 2.0, 9.0]), np.array([3.0, 4.0])]
    assert latency.median_of_processes(processes).estimate == 3.0


def test_median_of_two_processes_by_hand() -> None:
    """Medians 2 and 6: standard deviation 2 sqrt(2), over sqrt(2) is 2; t(0.975, 1) = 12.706.

    The pooled median is 2 (of 1, 2, 2, 3, 6, 6); no time is below 0.
    """
    processes = [np.array([1.0, 2.0, 2.0, 3.0]), np.array([6.0, 6.0])]
    found = latency.median_of_processes(processes)
    assert (found.estimate, found.low) == (2.0, 0.0)
    assert found.high == pytest.approx(2 + 2 * 12.706, abs=1e-3)


def test_processes_that_agree_leave_no_width() -> None:
    runs = np.array([5.0, 1.0, 2.0, 3.0, 9.0])
    assert latency.median_of_processes([runs] * 4) == Interval(3.0, 3.0, 3.0)


def test_one_process_says_nothing_of_others() -> None:
    assert latency.median_of_processes([np.array([1.0, 2.0, 3.0])]) == Interval(2.0, 0.0, math.inf)
    ratio = latency.ratio_of_medians([np.array([1.0])], [np.array([2.0])])
    assert ratio == Interval(0.5, 0.0, math.inf)
    assert latency.verdict(ratio) == "within noise"


def make_processes(seed: int, count: int, spread: float) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [10 + shift + generator.exponential(0.2, 101) for shift in generator.normal(0, spread, count)]


@pytest.mark.parametrize("seed", range(5))
def test_interval_holds_the_median(seed: int) -> None:
    processes = make_processes(seed, 5, spread=1.0)
    found = latency.median_of_processes(processes)
    assert found.low <= found.estimate <= found.high
    assert found.low < found.high


def test_interval_scales_with_the_times() -> None:
    processes = make_processes(0, 5, spread=1.0)
    found = latency.median_of_processes(processes)
    scaled = latency.median_of_processes([1000 * runs for runs in processes])
    expected = [1000 * value for value in (found.estimate, found.low, found.high)]
    assert [scaled.estimate, scaled.low, scaled.high] == pytest.approx(expected)


def test_width_follows_the_processes_and_not_the_runs() -> None:
    def width(processes: list[np.ndarray]) -> float:
        found = latency.median_of_processes(processes)
        return found.high - found.low

    processes = make_processes(0, 6, spread=1.0)
    repeated = [np.tile(runs, 50) for runs in processes]  # fifty times the runs and nothing new
    assert width(repeated) == pytest.approx(width(processes), rel=0.05)
    assert width(make_processes(0, 6, spread=0.01)) < 0.1 * width(processes)
    # Six and 96 processes: a quarter from the root of their number; t(0.975) falls from 2.571 to 1.985, and the
    # standard deviation from that of n - 1 = 5 of 6 to that of 95 of 96.
    expected = width(processes) / 4 * (1.985 / 2.571) * np.sqrt(5 / 6 * 96 / 95)
    assert width(16 * processes) == pytest.approx(expected, rel=0.01)


def test_interval_is_that_of_the_mean_of_medians() -> None:
    """Sixty processes: t(0.975, 59) = 2.001 standard errors either way (table of Student's t)."""
    processes = make_processes(1, 60, spread=1.0)
    medians = [float(np.median(runs)) for runs in processes]
    found = latency.median_of_processes(processes)
    assert found.high - found.low == pytest.approx(2 * 2.001 * np.std(medians, ddof=1) / np.sqrt(60), rel=1e-3)


def test_ratio_by_hand() -> None:
    """Medians 2, 4 against 1, 1: log-ratios 1 and 2 times log 2, mean 1.5, standard error 0.5, t(0.975, 1) = 12.706."""
    first = [np.array([1.0, 2.0, 9.0]), np.array([4.0])]
    second = [np.array([1.0]), np.array([0.5, 1.0, 3.0])]
    found = latency.ratio_of_medians(first, second)
    expected = (2**1.5, 2 ** (1.5 - 0.5 * 12.7062), 2 ** (1.5 + 0.5 * 12.7062))
    assert (found.estimate, found.low, found.high) == pytest.approx(expected, rel=1e-4)


def test_slow_round_that_both_met_cancels_out() -> None:
    base = np.array([1.0, 1.1, 1.3])
    slowness = [1.0, 7.0, 1.5, 30.0, 2.0]
    found = latency.ratio_of_medians([2 * slow * base for slow in slowness], [slow * base for slow in slowness])
    assert (found.estimate, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    assert latency.verdict(found) == "slower"


def test_ratio_turns_into_its_inverse() -> None:
    first, second = make_processes(0, 5, 1.0), make_processes(1, 5, 1.0)
    found, turned = latency.ratio_of_medians(first, second), latency.ratio_of_medians(second, first)
    assert found.low < found.estimate < found.high
    assert (turned.estimate, turned.low, turned.high) == pytest.approx(
        (1 / found.estimate, 1 / found.high, 1 / found.low)
    )


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


@pytest.mark.parametrize("rounds", [2, 3, 5, 10])
def test_models_that_are_equally_fast_are_told_apart_once_in_twenty(rounds: int) -> None:
    verdicts = [
        latency.verdict(
            latency.ratio_of_medians(make_processes(seed, rounds, 0.5), make_processes(seed + 1000, rounds, 0.5))
        )
        for seed in range(300)
    ]
    assert 270 <= verdicts.count("within noise") <= 297  # 285 expected; two standard deviations are 7.5
