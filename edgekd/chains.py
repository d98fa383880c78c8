"""Runs chains in child processes, some at a time. The cache is where they meet: who hands them out reads it after.

A child computes on the threads that its recipe names, so that nothing depends on how many run beside it. It ends when
its standard input closes, which is when this process stops it, fails, or is killed.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from edgekd.errors import EdgekdError, MissingRequirementError, TrainingError, UserError
from edgekd.options import to_table
from edgekd.recipe import Recipe

logger = logging.getLogger("edgekd")

SECONDS_TO_END = 30
_ERRORS: Mapping[int, type[EdgekdError]] = {
    kind.exit_code: kind for kind in (TrainingError, UserError, MissingRequirementError)
}
_LEVELS = {"INFO": logging.INFO, "WARNING": logging.WARNING}


@dataclass(frozen=True)
class Chain:
    """A recipe to be run up to a stage; ``title`` names it in the log."""

    title: str
    recipe: Recipe
    until: str


Finished = Callable[[Chain, Mapping[str, float]], None]
"""Called with a chain and the seconds that each of its trainings takes from end to end, by title (``"student"``)."""


@dataclass
class _Child:
    chain: Chain
    process: subprocess.Popen[str]
    last_line: str = "it said nothing"


def run_chains(chains: Sequence[Chain], cache_root: Path, *, jobs: int, finished: Finished = lambda *_: None) -> None:
    """Run every chain in a process of its own, at most ``jobs`` at a time; their log lines are passed on.

    A chain that fails does not stop the others. A warning that several of them give is passed on once.

    Args:
        chains: in the order in which they are started.
        cache_root: folder of the store of finished stages.
        jobs: at least 1.
        finished: called for each chain as it ends well.

    Raises:
        EdgekdError: after the last has ended: those that failed, each with its reason. The class is that of the first.
    """
    waiting, running = deque(chains), list[_Child]()
    num_done, failures = 0, list[tuple[int, str]]()
    events: SimpleQueue[tuple[_Child, str | None]] = SimpleQueue()
    warned: set[str] = set()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.popleft(), cache_root, events))
            child, line = events.get()
            if line is not None:
                _pass_on(child, line, warned)
                continue
            running.remove(child)
            answer = _answer(child)
            if "error" in answer:
                failures.append((child.process.returncode, f"{child.chain.title}: {answer['error']}"))
                logger.warning(f"{child.chain.title} failed: {answer['error']}")
            else:
                num_done += 1
                finished(child.chain, answer["seconds"])  # noted before it is said to be done
                logger.info(f"{child.chain.title}: done, {num_done} of {len(chains)}")
    finally:
        _end(running)
    if failures:
        reasons = "; ".join(reason for _, reason in failures)
        kind = _ERRORS.get(failures[0][0], TrainingError)
        raise kind(f"{len(failures)} of {len(chains)} failed: {reasons}. What the others made is kept")


def _start(chain: Chain, cache_root: Path, events: SimpleQueue[tuple[_Child, str | None]]) -> _Child:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekd.chain_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    child = _Child(chain, process)

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            events.put((child, line))
        events.put((child, None))

    threading.Thread(target=read, daemon=True).start()
    request = {"recipe": to_table(chain.recipe), "until": chain.until, "cache": str(cache_root)}
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died at once, and the reason is on its way
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    return child


def _pass_on(child: _Child, line: str, warned: set[str]) -> None:
    """Log a line of a child under its title. Lines without a level are what libraries and Python itself print."""
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
    logger.log(level, f"{child.chain.title}: {text}")


def _answer(child: _Child) -> dict[str, Any]:
    """What an ended child says of itself, or what became of it."""
    assert child.process.stdout is not None
    output = child.process.stdout.read()
    _close(child)
    code = child.process.wait()
    if code < 0:
        return {"error": f"its process was ended by {signal.Signals(-code).name}"}
    try:
        answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": f"its process failed: {child.last_line}"}
    return answer


def _close(child: _Child) -> None:
    for stream in (child.process.stdin, child.process.stdout, child.process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()


def _end(children: Sequence[_Child]) -> None:
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
