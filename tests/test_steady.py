"""When a model counts as warm: made series, and what the table of the rank-sum test says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from edgekd import steady


def after(times: Iterator[float] | list[float], minimum: int = 20) -> tuple[int, bool]:
    """How many runs a series warms up for, and whether it became steady."""
    source = iter(times)
    found, is_steady = steady.warm_up(lambda: next(source), minimum)
    return len(found), is_steady


def test_two_windows_are_the_least() -> None:
    assert after([1.0] * 100) == (20, True)
    assert after([1.0] * 100, minimum=1) == (20, True)
    assert after([1.0] * 100, minimum=35) == (40, True)
    assert not steady.is_steady([1.0] * 19)


def test_what_still_gets_faster_is_not_steady() -> None:
    """A tenth less every ten runs, until the sixtieth; the window from there to the seventieth is like the next one."""
    falling = [0.9 ** (number // 10) for number in range(60)]
    assert after(falling + [0.9**6] * 100) == (80, True)


def test_what_gets_slower_is_no_warm_up() -> None:
    assert after([1.0 + number / 10 for number in range(100)]) == (20, True)


def test_one_interrupted_run_says_nothing() -> None:
    times = [1.0, 1.1] * 10
    times[3] = 500.0
    assert after(times) == (20, True)


def test_exponential_warm_up_is_over_when_its_rest_is_lost_in_the_noise() -> None:
    """Twice as slow at first, over a time of 15 runs, with 2 % noise: what is left after n runs is exp(-n / 15)."""
    generator = np.random.default_rng(0)
    runs = [after(exponential(generator))[0] for _ in range(50)]
    assert all(np.exp(-count / 15) < 0.10 for count in runs)
    assert np.median(runs) <= 100


def exponential(generator: np.random.Generator) -> Iterator[float]:
    number = 0
    while True:
        yield (1 + np.exp(-number / 15)) * np.exp(generator.normal(0, 0.02))
        number += 1


def test_steady_times_go_on_once_in_twenty() -> None:
    generator = np.random.default_rng(0)
    steady_at_once = sum(steady.is_steady(list(generator.lognormal(size=20))) for _ in range(2000))
    assert 0.94 <= steady_at_once / 2000 <= 0.97


def windows(faster: int) -> tuple[np.ndarray, np.ndarray]:
    """Two windows of ten, without ties, with so many pairs in which the later run is the faster."""
    earlier, (all_of, more) = np.arange(10.0), divmod(faster, 10)
    beaten = np.array([all_of + (number < more) for number in range(10)])
    return earlier, 9.5 - beaten - np.arange(10) / 1000


@pytest.mark.parametrize("faster", [50, 71, 72, 73, 74, 90])
def test_the_limit_is_that_of_the_exact_test(faster: int) -> None:
    earlier, later = windows(faster)
    assert np.sum(earlier[:, None] > later) == faster
    chance = mannwhitneyu(earlier, later, alternative="greater", method="exact").pvalue
    assert steady.is_steady([*earlier, *later]) == (chance > 0.05) == (faster < 73)


def test_a_series_that_never_settles_ends_at_the_most_runs() -> None:
    assert after(1 / (1 + number) for number in range(2000)) == (steady.MAX_RUNS, False)
    assert after((1 / (1 + number) for number in range(3000)), minimum=1500) == (1500, False)


def test_a_slow_model_ends_at_the_most_seconds() -> None:
    """One second a run: looked at after 20 runs at the earliest, as the minimum is kept however long it takes."""
    now = [0.0]

    def run() -> float:
        now[0] += 1.0
        return 1 / now[0]

    times, is_steady = steady.warm_up(run, 3, clock=lambda: now[0])
    assert (len(times), is_steady) == (11, False)
    now[0] = 0.0
    times, is_steady = steady.warm_up(run, 40, clock=lambda: now[0])
    assert (len(times), is_steady) == (40, False)


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_ties_count_half(value: float) -> None:
    assert steady.is_steady([value] * 20)
