"""One chain in a process of its own: ``python -m edgekd.chain_child``, which :mod:`edgekd.chains` starts.

It talks as :mod:`edgekd.child` says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekd.child import answer_one
from edgekd.progress import LineProgress, Task


class _Counted(Task):
    """A task that remembers how much was done here, and how much an earlier process had done."""

    def __init__(self, shown: Task):
        self.shown, self.done = shown, 0

    def advance(self, count: int, **figures: float) -> None:
        self.done += count
        self.shown.advance(count, **figures)

    def skip(self, count: int) -> None:
        self.shown.skip(count)

    def end_epoch(self, record: Mapping[str, float]) -> None:
        self.shown.end_epoch(record)


class TimedLines(LineProgress):
    """Lines in the log, and the seconds that each task takes from end to end.

    ``seconds`` by title: those measured, times the share of the task that was done in this process, inverted. A
    training that goes on from a checkpoint is so given its full time; one of which nothing was left is not there.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Open a task that is shown and timed."""
        started = time.monotonic()
        with super().task(title, total, unit) as shown:
            counted = _Counted(shown)
            yield counted
        if counted.done:
            self.seconds[title] = (time.monotonic() - started) * total / counted.done


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run a chain.

    Args:
        request: ``recipe`` (a table), ``until`` (a stage), ``cache`` (a folder).

    Returns:
        ``{"seconds": {title: seconds of the whole training}}``.
    """
    from edgekd import pipeline, recipe
    from edgekd.cache import Cache

    progress = TimedLines()
    cache = Cache(Path(request["cache"]))
    pipeline.artifacts(recipe.from_table(request["recipe"]), cache=cache, progress=progress, until=request["until"])
    return {"seconds": progress.seconds}


if __name__ == "__main__":
    answer_one(run)
