"""Curves for TensorBoard: loss and val figures of every epoch of every training, a folder a stage.

TensorBoard itself need not be installed. What is written is that of ``tf.summary.scalar``, which asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekd.errors import writing_to
from edgekd.progress import Progress, Task

SUFFIX = ".edgekd"
"""Ends the names of our event files; a later build replaces these and leaves others alone."""
_REMEDY = "name another folder with --tensorboard"
_NO_FIGURES = ("epoch", "round")
_SCALAR = 1  # DATA_CLASS_SCALAR in tensorflow/core/framework/summary.proto


class TensorBoardProgress(Progress):
    """Shows what ``inner`` shows, and writes ``<folder>/<stage>/events.out.tfevents...``.

    A step is an epoch, counted through the stage: where a stage trains several times, one goes on from the other. Of a
    stage that is in the cache, the curves are those of the time when it was trained.

    Args:
        inner: where tasks are shown.
        folder: made where it is not there.
    """

    def __init__(self, inner: Progress, folder: Path):
        self.inner, self.folder = inner, folder
        self._stage, self._step = "", 0
        self._writer: Any = None
        with writing_to(folder, _REMEDY):
            folder.mkdir(parents=True, exist_ok=True)

    def stage(self, name: str) -> None:
        """Begin a folder of curves; what an earlier build wrote into it goes."""
        self.close()
        self._stage, self._step = name, 0
        with writing_to(self.folder, _REMEDY):
            for path in (self.folder / name).glob(f"events.out.tfevents.*{SUFFIX}"):
                path.unlink(missing_ok=True)
        self.inner.stage(name)

    def replay(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the epochs that a stage had when it was trained."""
        for figures in history:
            self.write(figures)
        self.inner.replay(history)

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Open a task that is shown by ``inner`` and writes its epochs."""
        with self.inner.task(title, total, unit) as shown:
            yield _Task(shown, self)

    def write(self, figures: Mapping[str, float]) -> None:
        """Write one epoch, so that a running TensorBoard shows it at once."""
        from edgekd._keras import tf

        with writing_to(self.folder, _REMEDY):
            if self._writer is None:
                place = self.folder / self._stage
                self._writer = tf.summary.create_file_writer(str(place), filename_suffix=SUFFIX)
            metadata = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"}, data_class=_SCALAR)
            with self._writer.as_default():
                for name, value in figures.items():
                    if name not in _NO_FIGURES:
                        tf.summary.write(name, tf.constant(value, tf.float32), step=self._step, metadata=metadata)
            self._writer.flush()
        self._step += 1

    def close(self) -> None:
        """Close the file of the stage."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _Task(Task):
    def __init__(self, shown: Task, curves: TensorBoardProgress):
        self.shown, self.curves = shown, curves

    def advance(self, count: int, **figures: float) -> None:
        self.shown.advance(count, **figures)

    def skip(self, count: int) -> None:
        self.shown.skip(count)

    def end_epoch(self, record: Mapping[str, float]) -> None:
        self.curves.write(record)
        self.shown.end_epoch(record)

    def resume(self, history: Sequence[Mapping[str, float]]) -> None:
        for record in history:
            self.curves.write(record)
        self.shown.resume(history)
