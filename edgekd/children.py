"""Processes that each do one piece of work, seen from the one that hands it out; :mod:`edgekd.child` is their side.

A child ends when its standard input closes, which is when this process ends it, fails, or is killed.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeAlias

logger = logging.getLogger("edgekd")

SECONDS_TO_END = 30
_LEVELS = {"INFO": logging.INFO, "WARNING": logging.WARNING}


@dataclass(eq=False)
class Child:
    """A process at work; ``title`` names it in the log."""

    title: str
    process: subprocess.Popen[str]
    last_line: str = "it said nothing"


Events: TypeAlias = "SimpleQueue[tuple[Child, str | None]]"
"""What children print, line by line; None when one has ended."""


def start(module: str, title: str, request: Mapping[str, Any], events: Events) -> Child:
    """Start ``python -m module`` on a request, which goes to it as JSON."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    child = Child(title, process)

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            events.put((child, line))
        events.put((child, None))

    threading.Thread(target=read, daemon=True).start()
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died at once, and the reason is on its way
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    return child


def pass_on(child: Child, line: str, warned: set[str]) -> None:
    """Log a line of a child under its title. Lines without a level are what libraries and Python itself print.

    Args:
        child: who printed it.
        line: what.
        warned: warnings that were passed on, by whichever child; each is passed on once.
    """
    line = line.rstrip()
    if not line:
        return
    name, _, text = line.partition(": ")
    level = _LEVELS.get(name, logging.INFO)
    if name not in _LEVELS:
        child.last_line = text = line
    if level == logging.WARNING:
        if text in warned:
            return
        warned.add(text)
    logger.log(level, f"{child.title}: {text}")


def answer(child: Child) -> dict[str, Any]:
    """What an ended child says of itself, or ``{"error": what became of it}``."""
    assert child.process.stdout is not None
    output = child.process.stdout.read()
    _close(child)
    code = child.process.wait()
    if code < 0:
        return {"error": f"its process was ended by {signal.Signals(-code).name}"}
    try:
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": f"its process failed: {child.last_line}"}
    return found


def end(children: Sequence[Child]) -> None:
    """Have children end in order, with their checkpoints kept; one that does not listen is killed."""
    for child in children:
        assert child.process.stdin is not None
        with suppress(BrokenPipeError):
            child.process.stdin.close()
    for child in children:
        try:
            child.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def _close(child: Child) -> None:
    for stream in (child.process.stdin, child.process.stdout, child.process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
