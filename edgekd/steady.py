"""When a model is warm: its times are compared with the ones just before. Needs numpy alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

WINDOW = 10
# Of the 100 pairs of two windows, this many in which the later run is the faster have a chance of 5 % where nothing
# changes: 100 - 27, from the table of Mann and Whitney's U for 10 and 10, one-sided.
STILL_FASTER = 73
MAX_RUNS = 1000
MAX_SECONDS = 10.0


def is_steady(times: Sequence[float]) -> bool:
    """Whether the last :data:`WINDOW` runs are no faster than those before, by the rank-sum test at 5 %, one-sided.

    Mann and Whitney 1947, "On a test of whether one of two random variables is stochastically larger than the other".
    Ranks, because a run that was interrupted says nothing of warmth; one-sided, because what slows down later is no
    warm-up. Two windows are the least that can tell.
    """
    if len(times) < 2 * WINDOW:
        return False
    gains = np.subtract.outer(times[-2 * WINDOW : -WINDOW], times[-WINDOW:])
    return bool(np.sum(gains > 0) + 0.5 * np.sum(gains == 0) < STILL_FASTER)


def warm_up(
    run: Callable[[], float], minimum: int, clock: Callable[[], float] = time.monotonic
) -> tuple[list[float], bool]:
    """Run until the times are steady.

    Looked at after every :data:`WINDOW` runs from ``minimum`` on, up to :data:`MAX_RUNS` runs or :data:`MAX_SECONDS`;
    ``minimum`` is kept however long it takes.

    Args:
        run: one inference; returns its time.
        minimum: fewest runs.
        clock: seconds.

    Returns:
        The times, and whether they became steady.
    """
    times: list[float] = []
    ends = clock() + MAX_SECONDS
    while True:
        times.append(run())
        if len(times) < minimum:
            continue
        if len(times) % WINDOW == 0 and is_steady(times):
            return times, True
        if len(times) >= max(minimum, MAX_RUNS) or clock() > ends:
            return times, is_steady(times)
