"""A stage by several workers: the chief looks it up, makes and stores it; the others train along, and wait for it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekd.artifact import Artifact
from edgekd.cache import Cache, StageRecord
from edgekd.errors import WorkerError
from edgekd.workers import Workers

# A network file system may go on saying for a while that a new file is not there.
SECONDS_TO_APPEAR = 90


def run(
    cache: Cache,
    workers: Workers,
    name: str,
    make: Callable[[Path, Path], Artifact],
    ingredients: Mapping[str, Any],
    origin: Callable[[Artifact], Mapping[str, Any]],
    *,
    together: bool,
) -> tuple[Artifact, StageRecord]:
    """Return the artifact of a stage as :meth:`edgekd.cache.Cache.run` does, on every worker.

    Args:
        cache: shared by the workers.
        workers: all of whom call this, for the same stages in the same order.
        name, make, ingredients, origin: as of the cache.
        together: whether ``make`` is called on all of them; what it leaves on others than the chief is thrown away.

    Raises:
        WorkerError: another worker has ended; the cache is not shared.
    """
    if workers.is_chief:
        found = cache.find(name, ingredients)
        workers.from_chief(lambda: found is not None)
        found = found or cache.make(name, make, ingredients, origin)
        workers.meet()
        return found
    there = workers.from_chief(lambda: False)
    if together and not there:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), cache.work(name, ingredients))
    started = time.monotonic()
    workers.meet()
    while not cache.has(name, ingredients):
        if time.monotonic() - started > SECONDS_TO_APPEAR:
            raise WorkerError(
                f'the chief has made stage {name}, and it is not in "{cache.root}": the cache folder has to be on a '
                "disk that all workers share; name one with --cache-dir or EDGEKD_CACHE_DIR"
            )
        time.sleep(1)
    found = cache.find(name, ingredients)
    if found is None:
        raise WorkerError(f'stage {name}, which the chief has made, cannot be read from "{cache.root}"')
    return found
