"""A worker of this machine that is not the chief: ``python -m edgekd.worker_child``.

:mod:`edgekd.local_workers` starts it; it talks as :mod:`edgekd.child` says.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from edgekd.child import answer_one


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Train along.

    Args:
        request: ``recipe`` (a table), ``until`` (a stage or None), ``cache`` (a folder), ``addresses`` and ``index`` of
            the cluster, ``seconds_to_meet``.

    Returns:
        ``{"stages": number of stages gone through}``.
    """
    from edgekd import pipeline, recipe
    from edgekd.cache import Cache
    from edgekd.cluster import Cluster

    logging.getLogger("edgekd").setLevel(logging.ERROR)  # the chief says the same
    done = pipeline.build(
        recipe.from_table(request["recipe"]),
        Path(request["cache"]),  # no run folder is written
        cache=Cache(Path(request["cache"])),
        until=request["until"],
        cluster=Cluster(tuple(request["addresses"]), request["index"], local=True),
        seconds_to_meet=request["seconds_to_meet"],
    )
    return {"stages": len(done.stages)}


if __name__ == "__main__":
    answer_one(run)
