"""The near side of a process that does one piece of work: a request on stdin, a log on stderr, one JSON line on stdout.

:mod:`edgekd.children` is the far side. When stdin closes the process ends: that is how its parent ends it, also by
dying.
"""

from __future__ import annotations

import _thread
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from edgekd.errors import EdgekdError


def answer_one(run: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer the request on stdin and exit.

    An edgekd error is answered as ``{"error": message}``, with the exit code that it has.
    """
    # An interrupt from the terminal reaches parent and child at once; the parent is the one who ends the child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("edgekd")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    code = 0
    try:
        with redirect_stdout(sys.stderr):
            answer = run(request)
    except EdgekdError as error:
        answer, code = {"error": str(error)}, error.exit_code
    print(json.dumps(answer))
    sys.exit(code)


def _end_with_stdin() -> None:
    os.read(sys.stdin.fileno(), 1)  # past Python's buffer, whose lock would be held when the process exits
    _thread.interrupt_main(signal.SIGTERM)
