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
    from edgekd.ladder import Candidate
    from edgekd.progress import LineProgress
    from edgekd.search import space, study, trial

    recipe_, cache = recipe.from_table(request["recipe"]), Cache(Path(request["cache"]))
    opened = study.open_study(recipe_, request["storage"], create=False, seed=request["seed"])
    if request["as_written"]:
        candidate = Candidate(study.AS_WRITTEN, space.changed(recipe_, {}), {})
        found = trial.measure(candidate, cache, LineProgress())
        figures = {study.MEASURED: dict(found.measured), study.LIMITS: [dict(row) for row in found.limits]}
        opened.set_user_attr(study.AS_WRITTEN, figures)
    else:
        opened.optimize(lambda drawn: trial.objective(drawn, recipe_, cache), n_trials=1)
    return {}


if __name__ == "__main__":
    answer_one(run)
