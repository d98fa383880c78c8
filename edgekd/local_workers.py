"""Brings workers together: starts those of this machine as child processes, and says what became of them."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from edgekd import children, cluster
from edgekd.artifact import digest_json
from edgekd.cache import code_digest, versions
from edgekd.children import Child, Events
from edgekd.cluster import Cluster
from edgekd.errors import WorkerError
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.workers import Together

# Longest time in which a child that was lost is to be found ended, so that its reason can be told.
SECONDS_TO_BE_LOST = 10


@contextmanager
def start(
    cluster_: Cluster,
    resolved: Recipe,
    cache_root: Path,
    until: str | None,
    purpose_: Mapping[str, str],
    seconds_to_meet: float,
) -> Iterator[Together]:
    """Open the chief's side: the others are started where they are of this machine, and end with the block.

    Args:
        cluster_: this process is its chief.
        resolved: what is built, with the number of threads of each worker.
        cache_root: of the store that all share.
        until: last stage.
        purpose_: see :func:`edgekd.cluster.meet`.
        seconds_to_meet: longest time to wait for the others.

    Raises:
        WorkerError: somebody does not come, or ends before the training does; says why where it is known.
    """
    running: list[Child] = []
    if cluster_.local:
        request = {
            "recipe": to_table(resolved),
            "until": until,
            "cache": str(cache_root),
            "addresses": cluster_.addresses,
            "seconds_to_meet": seconds_to_meet,
        }
        running += _start_children(cluster_, request)

    def nobody_ended() -> None:
        if ended := [child for child in running if child.process.poll() is not None]:
            raise WorkerError(_reason(ended))

    try:
        yield meet(cluster_, purpose_, resolved.num_threads, seconds_to_meet, nobody_ended)
    except WorkerError as error:
        if ended := _ended(running):
            raise WorkerError(
                f"{_reason(ended)}, so that the others end too. Finished stages and the last checkpoint are kept: the "
                "same command goes on from there"
            ) from error
        raise
    else:
        for child in running:  # they have nothing left to do
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(children.SECONDS_TO_END)
    finally:
        children.end(running)


def purpose(resolved: Recipe, fingerprint: str, until: str | None) -> dict[str, str]:
    """What workers have to agree on, by the words that a message has for it."""
    return {
        "version of edgekd or of a library": digest_json([versions(), code_digest("edgekd.pipeline")]),
        "data set": fingerprint,
        "recipe": digest_json([to_table(dataclasses.replace(resolved, name="")), until]),
    }


def meet(
    cluster_: Cluster,
    purpose_: Mapping[str, str],
    num_threads: int,
    seconds: float,
    check: Callable[[], None] = lambda: None,
) -> Together:
    """Wait for all workers and connect this process with them; it has not computed anything with TensorFlow yet.

    Raises:
        UserError, WorkerError: as :func:`edgekd.cluster.meet` and :func:`edgekd.workers.join`.
    """
    from edgekd import _keras, workers

    cluster.meet(cluster_, purpose_, seconds, check)
    _keras.set_determinism(num_threads)
    return workers.join(cluster_)


def _start_children(cluster_: Cluster, request: Mapping[str, Any]) -> list[Child]:
    events: Events = SimpleQueue()
    started = [
        children.start("edgekd.worker_child", f"worker {index + 1}", {**request, "index": index}, events)
        for index in range(1, len(cluster_))
    ]

    def pass_on() -> None:
        warned: set[str] = set()
        left = len(started)
        while left:
            child, line = events.get()
            if line is None:
                left -= 1
            else:
                children.pass_on(child, line, warned)

    threading.Thread(target=pass_on, daemon=True).start()
    return started


def _ended(running: Sequence[Child]) -> list[Child]:
    """Children that ended by themselves and did not do what they were to do; their end may be a moment away."""
    deadline = time.monotonic() + SECONDS_TO_BE_LOST
    while running and time.monotonic() < deadline:
        if ended := [child for child in running if child.process.poll() not in (None, 0)]:
            return ended
        time.sleep(0.1)
    return []


def _reason(ended: Sequence[Child]) -> str:
    return "; ".join(f"{child.title}: {children.answer(child)['error']}" for child in ended)
