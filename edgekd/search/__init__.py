"""Search for the student: whole chains as trials of an Optuna study, measured on val and on this machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from edgekd.cache import Cache
from edgekd.errors import UserError, writing_to
from edgekd.recipe import Recipe
from edgekd.search import outcome, plot, result, space, study, workers
from edgekd.search.outcome import Found

logger = logging.getLogger("edgekd")

STUDY_FILE = "study.jsonl"


def search(
    recipe_: Recipe,
    out: Path,
    *,
    cache: Cache,
    storage: str | None = None,
    num_trials: int | None = None,
    budget_minutes: float | None = None,
    num_workers: int = 1,
    resume: bool = False,
    seed: int = 0,
) -> Found:
    """Draw recipes from ``search.space``, build and measure each, and write out the best.

    Args:
        recipe_: validated, with a space. It is measured first, as written.
        out: folder of the results.
        cache: store of finished stages: trials that share a stage share its work.
        storage: a file or an Optuna storage URL where any number of processes and machines work on one study;
            ``study.jsonl`` in ``out`` by default.
        num_trials: that the study is to have in the end, those that are there included.
        budget_minutes: from now on.
        num_workers: processes at a time on this machine, each on ``num_threads`` of the recipe.
        resume: go on with the study that is there.
        seed: of the sampler.

    Raises:
        UserError: a space that cannot be; no limit at all; a study that is there without ``resume``, or is of another
            recipe; a storage that cannot be reached.
        SearchError: the recipe as written cannot be made, or process after process dies.
    """
    space.check(recipe_)
    exhausted = recipe_.search.sampler == "grid" and space.grid(recipe_.search.space)
    if num_trials is None and budget_minutes is None and not exhausted:
        raise UserError("edgekd search without an end: give --trials N or --budget-minutes N, or both")
    with writing_to(out, outcome.REMEDY):
        out.mkdir(parents=True, exist_ok=True)
    where = storage or str(out / STUDY_FILE)
    opened = study.open_study(recipe_, where, create=not resume, seed=seed)
    there = study.trials(opened)
    if there and not resume:
        raise UserError(
            f'"{where}" holds {len(there)} trials of this recipe: --resume goes on with them, also beside another '
            "machine; another --out starts anew"
        )
    study.give_up_dead(opened)
    seconds = None if budget_minutes is None else 60 * budget_minutes
    try:
        workers.run_trials(
            recipe_,
            opened,
            where,
            cache.root,
            workers=num_workers,
            num_trials=num_trials,
            seconds=seconds,
            seed=seed,
        )
    finally:
        found = _written(recipe_, opened, out)
    return found


def _written(recipe_: Recipe, opened: Any, out: Path) -> Found:
    found = result.document(recipe_, opened)
    with writing_to(out, outcome.REMEDY):
        plot.plot(found, out)
    return outcome.write(recipe_, found, found["trials"], result.markdown(found), out, "search")
