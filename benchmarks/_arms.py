"""What benchmarks share that search a recipe's space several ways: an arm is a search from one seed, in its folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgekd import recipe
from edgekd.artifact import read_json, write_json
from edgekd.cache import Cache
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.search import STUDY_FILE, search


def changed(base: Recipe, **tables: Any) -> Recipe:
    """The recipe with keys of its tables set, ``search={"sampler": "random"}``; what is no table is set itself."""
    table = to_table(base)
    for name, value in tables.items():
        table[name] = {**table[name], **value} if isinstance(value, dict) else value
    return recipe.from_table(table)


def searched(
    arm: Recipe,
    folder: Path,
    cache: Cache,
    *,
    seed: int,
    jobs: int,
    minutes: float | None = None,
    trials: int | None = None,
) -> dict[str, Any]:
    """Search for what is left of the minutes or trials; a finished arm is read back.

    Returns:
        The document of the search, and the ``seconds`` that it took, over all calls.
    """
    done, result = folder / "seconds.json", folder / "search.json"
    spent = read_json(done)["seconds"] if done.exists() else 0.0
    left = None if minutes is None else 60 * minutes - spent
    enough = trials is not None and result.exists() and len(read_json(result)["trials"]) >= trials
    if not enough and (left is None or left > 1):
        started = time.monotonic()
        try:
            search(
                arm,
                folder,
                cache=cache,
                num_trials=trials,
                budget_minutes=None if left is None else left / 60,
                num_workers=jobs,
                resume=(folder / STUDY_FILE).exists(),
                seed=seed,
            )
        finally:
            folder.mkdir(parents=True, exist_ok=True)
            spent += time.monotonic() - started
            write_json(done, {"seconds": spent})
    return {**read_json(result), "seconds": spent}
