"""Progress of long work: a bar on a terminal, and a plain line now and then elsewhere. Both go to stderr."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from edgekd.units import format_seconds

logger = logging.getLogger("edgekd")

SECONDS_BETWEEN_LINES = 10.0


class Task:
    """One piece of work with a known number of units. This base class shows nothing."""

    def advance(self, count: int, **figures: float) -> None:
        """Count ``count`` more units as done; ``figures`` (a loss, say) are shown beside."""

    def skip(self, count: int) -> None:
        """Count ``count`` units that an earlier run had done; they are no part of the rate."""

    def end_epoch(self, record: Mapping[str, float]) -> None:
        """Look at an epoch that has ended: its figures, as they stand in the history of the training."""

    def resume(self, history: Sequence[Mapping[str, float]]) -> None:
        """Take note of the epochs that an earlier process had done."""


class Progress:
    """Where tasks are shown. This base class shows nothing; see :class:`BarProgress` and :class:`LineProgress`."""

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Open a task of ``total`` units."""
        yield Task()

    def stage(self, name: str) -> None:
        """A stage begins; the tasks that follow are its own."""

    def replay(self, history: Sequence[Mapping[str, float]]) -> None:
        """The stage was done before; these were its epochs."""


class _LoggedTask(Task):
    """Tells of each epoch, to those who asked to hear more."""

    def __init__(self, title: str):
        self.title = title

    def end_epoch(self, record: Mapping[str, float]) -> None:
        shown = [f"{name} {value:.4f}" for name, value in record.items() if name not in ("epoch", "round")]
        logger.debug(f"{self.title}, epoch {record['epoch'] + 1:.0f}: {', '.join(shown)}")


class _LineTask(_LoggedTask):
    def __init__(self, title: str, total: int, unit: str):
        super().__init__(title)
        self.total, self.unit = total, unit
        self.done = self.skipped = 0
        self.started = self.last_line = time.monotonic()

    def skip(self, count: int) -> None:
        self.done += count
        self.skipped += count

    def advance(self, count: int, **figures: float) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            rate = (self.done - self.skipped) / (now - self.started)
            parts = [f"{self.title}: {self.done}/{self.total} {self.unit}", f"{rate:.0f} {self.unit}/s"]
            parts += [f"{name} {value:.4f}" for name, value in figures.items()]
            if rate > 0:
                parts.append(f"{format_seconds((self.total - self.done) / rate)} left")
            logger.info(", ".join(parts))


class LineProgress(Progress):
    """A log line every ten seconds: for files and pipes."""

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Open a task that logs a line now and then, and one at the end."""
        task = _LineTask(title, total, unit)
        yield task
        seconds = time.monotonic() - task.started
        if seconds >= 2:
            logger.info(f"{title}: {task.done - task.skipped} {unit} in {format_seconds(seconds)}")


class BarProgress(Progress):
    """A bar with rate, figures and time left: for terminals."""

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Open a task shown as a bar; the bar goes when it ends."""
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
        )
        started = time.monotonic()
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            identity = bars.add_task(title, total=total, figures="")
            done = skipped = 0

            class BarTask(_LoggedTask):
                def skip(self, count: int) -> None:
                    nonlocal skipped
                    skipped += count
                    bars.reset(identity, completed=done + skipped)

                def advance(self, count: int, **figures: float) -> None:
                    nonlocal done
                    done += count
                    shown = [f"{name} {value:.4f}" for name, value in figures.items()]
                    shown.append(f"{done / max(time.monotonic() - started, 1e-9):.0f} {unit}/s")
                    bars.update(identity, advance=count, figures=", ".join(shown))

            yield BarTask(title)
        seconds = time.monotonic() - started
        if seconds >= 2:
            logger.info(f"{title}: {done} {unit} in {format_seconds(seconds)}")
