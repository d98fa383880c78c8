"""Keep the start-up chatter of native libraries off the terminal."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# What TensorFlow, its converter and LiteRT print each time and nobody can act on; any other line is passed on.
_CHATTER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|I0000 00:00:"
    rb"|[WE]0000 00:00:\d+\.\d+ +\d+ (cuda_platform|gpu_device|tf_tfl_flatbuffer_helpers)\.cc:"
    rb"|INFO: Created TensorFlow Lite XNNPACK delegate"
    rb"|fully_quantize: "
)


@contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Hold back file descriptor 2 while the block runs, then pass on every line that is not known chatter.

    Native code writes past ``sys.stderr``, so the descriptor itself is diverted, into a temporary file. Also when the
    block raises, what it had printed is passed on.
    """
    try:
        saved = os.dup(2)
    except OSError:  # a process without stderr has nothing to keep quiet
        yield
        return
    with tempfile.TemporaryFile() as held:
        _flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            kept = b"".join(line for line in held if not _CHATTER.match(line))
            if kept:
                os.write(2, kept)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
