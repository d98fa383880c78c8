"""Run a program whose output is not trusted: so many seconds, and so many bytes of its output, no more."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

MAX_ERROR_BYTES = 1 << 16


class Ended(NamedTuple):
    """How it ended; ``expired`` by the clock, ``overflowed`` by its output, each of which killed it."""

    code: int
    output: bytes
    errors: str
    expired: bool
    overflowed: bool


def run_bounded(command: Sequence[str], *, seconds: float, max_bytes: int, payload: Sequence[bytes] = ()) -> Ended:
    """Run a command, feed it the payload, and read what it says.

    Its stdin stays open until its output has ended: a program may take the end of stdin as a sign that we are gone.
    Messages come in English (``LC_ALL=C``).
    """
    expired = threading.Event()
    environment = {**os.environ, "LC_ALL": "C"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
        )
        assert process.stdin is not None
        assert process.stdout is not None

        def stop() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            with suppress(BrokenPipeError):  # it ended early; its exit code and its last words say why
                for part in payload:
                    process.stdin.write(part)
                process.stdin.flush()
            output = process.stdout.read(max_bytes + 1)
            if len(output) > max_bytes:
                process.kill()
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        errors.seek(0)
        said = errors.read(MAX_ERROR_BYTES).decode(errors="replace")
    return Ended(code, output[:max_bytes], said, expired.is_set(), len(output) > max_bytes)
