"""Hands out trials to processes of this machine until the study has enough, or the time is up."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from edgekd import children
from edgekd.children import Child, Events
from edgekd.errors import SearchError
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.search import space, study
from edgekd.units import format_seconds

logger = logging.getLogger("edgekd")

# Processes that ended without a trial of theirs in the study: something is wrong with all of them.
MAX_LOST_IN_A_ROW = 3
FINISHED = ("COMPLETE", "PRUNED", "FAIL")


def run_trials(
    recipe_: Recipe,
    opened: Any,
    storage: str,
    cache_root: Path,
    *,
    workers: int,
    num_trials: int | None,
    seconds: float | None,
    seed: int,
) -> None:
    """Run trials, each in a process of its own, at most ``workers`` at a time; the recipe as written comes first.

    A trial whose process dies is given up and the next is drawn. What runs when the time is up is ended; its
    checkpoints stay in the cache.

    Args:
        recipe_: with a space.
        opened: the study.
        storage: where it lies, for the processes.
        cache_root: store of finished stages.
        workers: at least 1.
        num_trials: that the study is to have in the end, those of other machines included; None: no limit.
        seconds: from now; None: no limit.
        seed: of the sampler.

    Raises:
        SearchError: the recipe as written cannot be made, or process after process ended without a trial.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    limit = space.size(recipe_.search.space) if recipe_.search.sampler == "grid" else None
    wanted = min((count for count in (num_trials, limit) if count is not None), default=None)
    request = {"recipe": to_table(recipe_), "storage": storage, "cache": str(cache_root)}
    events: Events = SimpleQueue()
    running: dict[Child, int] = {}  # with the place of each, from 1 on
    warned: set[str] = set()
    lost, there = 0, len(study.trials(opened))

    def start(place: int) -> None:
        # Two that start before either has drawn differ by their places; those of a machine that joined, by how many
        # trials it found.
        drawn = np.random.SeedSequence([seed, there, place, len(study.trials(opened))])
        more = {"seed": int(drawn.generate_state(1)[0]), "as_written": place == 0}
        title = f"worker {place}" if place else "as written"
        running[children.start("edgekd.search.child", title, {**request, **more}, events)] = place

    def next_ended() -> Child | None:
        """The next that ends; None where the time is up before."""
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                child, line = events.get(timeout=left)
            except Empty:
                return None
            if line is None:
                del running[child]
                return child
            children.pass_on(child, line, warned)

    try:
        if study.AS_WRITTEN not in opened.user_attrs:
            logger.info("search: the recipe as written first, which the trials are set against")
            start(0)
            first = next_ended()
            if first is not None and "error" in (answer := children.answer(first)):
                raise SearchError(f"the recipe as written cannot be made: {answer['error']}")
        while deadline is None or time.monotonic() < deadline:
            open_trials = 0 if wanted is None else wanted - len(study.trials(opened, *FINISHED)) - len(running)
            while len(running) < workers and (wanted is None or open_trials > 0):
                start(min(set(range(1, workers + 1)) - set(running.values())))
                open_trials -= 1
            if not running:
                break
            before = len(study.trials(opened, *FINISHED))
            child = next_ended()
            if child is None:
                break
            answer = children.answer(child)
            study.give_up_dead(opened)
            finished = study.trials(opened, *FINISHED)
            lost = 0 if len(finished) > before else lost + 1
            if "error" in answer:
                logger.warning(f"search: a trial was lost: {answer['error']}")
            if lost >= MAX_LOST_IN_A_ROW:
                raise SearchError(
                    f"{lost} processes in a row ended without a trial: {answer.get('error', 'no reason was given')}. "
                    "The trials so far are kept; --resume goes on"
                )
            logger.info(f"search: {len(finished)} trials{_left(deadline)}")
    finally:
        children.end(list(running))
        study.give_up_dead(opened, study.OUT_OF_TIME)


def _left(deadline: float | None) -> str:
    return "" if deadline is None else f", {format_seconds(max(0.0, deadline - time.monotonic()))} left"
