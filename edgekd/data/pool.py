"""Threads that work a few items ahead: Pillow, NumPy and hashlib let go of the interpreter while they work."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

T = TypeVar("T")


def ordered(function: Callable[[int], T], count: int, *, threads: int | None = None) -> Iterator[T]:
    """Yield ``function(0), function(1), ...``, in this order, whoever is done first.

    No more than two results a thread wait to be taken, so that memory does not grow with ``count``. Python's warnings
    are off meanwhile: what filters them belongs to the whole process, and threads that set it apart would undo each
    other's settings.

    Args:
        function: of a number; what it raises is raised here.
        count: how many.
        threads: by default one a processor that this process may use; 1: none but the caller's.
    """
    threads = threads or processors()
    if threads == 1:
        yield from map(function, range(count))
        return
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")
        waiting: deque[Future[T]] = deque()
        try:
            for index in range(count):
                waiting.append(pool.submit(function, index))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yield what an iterator gives; a thread computes the next item while this one is used."""
    with ThreadPoolExecutor(1) as pool:
        end = object()
        waiting = pool.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, items, end)
            yield cast(T, item)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
