"""One trial in a process of its own: ``python -m edgekd.search.child``, which :mod:`edgekd.search.workers` starts.

A process a trial: what one leaves behind in memory, or what kills it, is no matter of the next. It talks as
:mod:`edgekd.child` says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.child import answer_one


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run the next trial of a study, or measure the recipe as written.

    Args:
        request: ``recipe`` (a table), ``storage``, ``cache`` (a folder), ``seed`` of the sampler, ``as_written``.

    Returns:
        Nothing of interest: what was found stands in the study.
    """
    from edgekd import recipe
    from edgekd.cache import Cache
    from edgekd.progress import LineProgress
    from edgekd.search import space, study, trial

    recipe_, cache = recipe.from_table(request["recipe"]), Cache(Path(request["cache"]))
    opened = study.open_study(recipe_, request["storage"], create=False, seed=request["seed"])
    written, progress = space.changed(recipe_, {}), LineProgress()
    if request["as_written"]:
        opened.set_user_attr(study.AS_WRITTEN, trial.as_written(written, cache, progress))
    else:
        baseline = trial.baseline_of(opened.user_attrs[study.AS_WRITTEN], written, cache, progress)
        opened.optimize(lambda drawn: trial.objective(drawn, recipe_, cache, baseline), n_trials=1)
    return {}


if __name__ == "__main__":
    answer_one(run)
