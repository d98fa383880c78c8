"""Runs chains in child processes, some at a time. The cache is where they meet: who hands them out reads it after.

A child computes on the threads that its recipe names, so that nothing depends on how many run beside it. It ends when
its standard input closes, which is when this process stops it, fails, or is killed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from edgekd import children
from edgekd.children import Child, Events
from edgekd.errors import EdgekdError, MissingRequirementError, TrainingError, UserError
from edgekd.options import to_table
from edgekd.recipe import Recipe

logger = logging.getLogger("edgekd")

_ERRORS: Mapping[int, type[EdgekdError]] = {
    kind.exit_code: kind for kind in (TrainingError, UserError, MissingRequirementError)
}


@dataclass(frozen=True)
class Chain:
    """A recipe to be run up to a stage; ``title`` names it in the log."""

    title: str
    recipe: Recipe
    until: str


Finished = Callable[[Chain, Mapping[str, float]], None]
"""Called with a chain and the seconds that each of its trainings takes from end to end, by title (``"student"``)."""


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
    waiting, running, chain_of = deque(chains), list[Child](), dict[Child, Chain]()
    num_done, failures = 0, list[tuple[int, str]]()
    events: Events = SimpleQueue()
    warned: set[str] = set()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                chain = waiting.popleft()
                request = {"recipe": to_table(chain.recipe), "until": chain.until, "cache": str(cache_root)}
                running.append(children.start("edgekd.chain_child", chain.title, request, events))
                chain_of[running[-1]] = chain
            child, line = events.get()
            if line is not None:
                children.pass_on(child, line, warned)
                continue
            running.remove(child)
            answer = children.answer(child)
            if "error" in answer:
                failures.append((child.process.returncode, f"{child.title}: {answer['error']}"))
                logger.warning(f"{child.title} failed: {answer['error']}")
            else:
                num_done += 1
                finished(chain_of[child], answer["seconds"])  # noted before it is said to be done
                logger.info(f"{child.title}: done, {num_done} of {len(chains)}")
    finally:
        children.end(running)
    if failures:
        reasons = "; ".join(reason for _, reason in failures)
        kind = _ERRORS.get(failures[0][0], TrainingError)
        raise kind(f"{len(failures)} of {len(chains)} failed: {reasons}. What the others made is kept")
