"""The near side of a stranger's model that runs in a process of its own (:mod:`edgekd.model_process`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import ModelError
from edgekd.model_process import OPENERS, receive, send

SECONDS = 600.0
"""Longest time that a model may take to open, or to answer one batch."""


class Foreign:
    """A running model. Made by :func:`open_foreign`.

    Attributes:
        inputs, outputs: ``(shape, dtype)`` of each.
    """

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], title: str, seconds: float):
        self._process, self._errors, self._title, self._seconds = process, errors, title, seconds
        self._timed_out = False
        description = json.loads(self._read(lambda stream: stream.readline()) or self._dead())
        if "error" in description:
            raise ModelError(f"{title} cannot be opened: {description['error']}")
        self.inputs: list[tuple[list[int | None], str]] = description["inputs"]
        self.outputs: list[tuple[list[int | None], str]] = description["outputs"]

    def run(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Outputs, float32, of inputs that are as the model wants them; both have one row a sample.

        Raises:
            ModelError: the model refuses them, crashes, or takes too long.
        """
        assert self._process.stdin is not None
        try:
            send(self._process.stdin, array)
        except BrokenPipeError:
            self._dead()

        def answer(stream: IO[bytes]) -> Any:
            mark = stream.read(1)
            if mark == b"-":
                raise ModelError(f"{self._title} cannot be run: {stream.readline().decode().strip()}")
            if mark != b"+":
                self._dead()
            return receive(stream)

        result: NDArray[np.float32] = self._read(answer)
        return result

    def _read(self, read: Any) -> Any:
        watch = threading.Timer(self._seconds, self._stop)
        watch.start()
        try:
            return read(self._process.stdout)
        except (ValueError, EOFError):  # an array that ends in the middle
            return self._dead()
        finally:
            watch.cancel()

    def _stop(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _dead(self) -> Any:
        code = self._process.wait()
        if self._timed_out:
            raise ModelError(f"{self._title} did not answer within {self._seconds:g} seconds and was stopped")
        if code < 0:
            raise ModelError(f"{self._title} crashed ({signal.Signals(-code).name}); the file is damaged or too large")
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        raise ModelError(f"{self._title} ended its process: {lines[-1] if lines else f'exit code {code}'}")


@contextmanager
def open_foreign(kind: str, path: Path, title: str, seconds: float = SECONDS) -> Iterator[Foreign]:
    """Start a process that holds the model, and end it.

    Args:
        kind: of ``edgekd.model_process.OPENERS``.
        path: of the file or folder.
        title: what messages call it.
        seconds: longest time to open it, or to run one batch.

    Raises:
        ModelError: it cannot be opened.
    """
    assert kind in OPENERS
    command = [sys.executable, "-m", "edgekd.model_process", kind, str(path)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
        ) as process,
    ):
        try:
            yield Foreign(process, errors, title, seconds)
        finally:
            process.kill()
