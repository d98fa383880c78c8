"""The near side of a measuring process that takes turns with others; :mod:`edgekd.measure` is the far side."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from edgekd.benchmark_input import SECONDS_PER_PROCESS, read_answer, too_long

COMMAND = (sys.executable, "-m", "edgekd.measure")


class MeasuringProcess:
    """A process that has warmed its model up and waits for its turns; the end of the ``with`` block ends it.

    Args:
        name: of the model, for messages.
        request: of :func:`edgekd.measure.measure`.
        command: that is run.

    Raises:
        ModelError: from any call: the process crashed, or says what is wrong with the model.
        BenchmarkError: from any call: a turn took too long, or the process failed in another way.
    """

    def __init__(self, name: str, request: Mapping[str, Any], command: Sequence[str] = COMMAND):
        self._name, self._late = name, False
        # A file and no pipe: one that nobody reads would fill up, and stop the process.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, encoding="utf-8"
        )
        try:
            self._exchange(json.dumps(request))
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> MeasuringProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(BrokenPipeError):
                stream and stream.close()

    def take_turn(self) -> None:
        """Have it run its next turn, and return when it has."""
        self._exchange("")

    def answer(self) -> dict[str, Any]:
        """What it measured, after the last turn."""
        try:
            code = self._process.wait(SECONDS_PER_PROCESS)
        except subprocess.TimeoutExpired:
            raise too_long(self._name) from None
        self._errors.seek(0)
        return read_answer(self._name, code, self._said, self._errors.read())

    def _exchange(self, line: str) -> None:
        """Say a line and wait for the next one of the process; what it says last is its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(SECONDS_PER_PROCESS, self._end_late)
        timer.start()
        try:
            with suppress(BrokenPipeError):  # it died, and why is told below
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            self._said = self._process.stdout.readline()
        finally:
            timer.cancel()
        if self._late:
            raise too_long(self._name)
        if not self._said or self._said.startswith('{"error"'):
            self.answer()  # which says what became of it

    def _end_late(self) -> None:
        self._late = True
        self._process.kill()
