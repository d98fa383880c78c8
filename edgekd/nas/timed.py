"""Ends long work when the time is up, wherever it is shown to advance."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from edgekd.errors import SearchError
from edgekd.progress import Progress, Task


class TimedProgress(Progress):
    """Shows tasks as another does, and ends the work when the time is up; checkpoints stay."""

    def __init__(self, shown: Progress, until: float):
        self.shown, self.until = shown, until

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Open a task."""
        with self.shown.task(title, total, unit) as shown:
            yield _TimedTask(shown, title, self.until)


class _TimedTask(Task):
    def __init__(self, shown: Task, title: str, until: float):
        self.shown, self.title, self.until = shown, title, until

    def advance(self, count: int, **figures: float) -> None:
        self.shown.advance(count, **figures)
        if time.monotonic() > self.until:
            raise SearchError(
                f"out of time in the task {self.title}. What is finished is kept, and so are checkpoints: --resume "
                "goes on"
            )

    def skip(self, count: int) -> None:
        self.shown.skip(count)

    def end_epoch(self, record: Mapping[str, float]) -> None:
        self.shown.end_epoch(record)
