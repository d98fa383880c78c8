"""Runs stages one after the other: each looked up in the cache first, each in the log, up to the one asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgekd import joint, measure, workload
from edgekd.artifact import Artifact
from edgekd.cache import Cache, StageRecord, code_digest, versions
from edgekd.options import to_table
from edgekd.progress import Progress
from edgekd.run_folder import RunFolder
from edgekd.units import format_seconds
from edgekd.workers import ALONE, Workers

logger = logging.getLogger("edgekd")

Sharing: TypeAlias = Literal["steps", "parts", "nothing"]


class Stop(Exception):
    """The stage named by ``until`` is done, or a dry run met the first stage that is not in the cache."""


class StageRunner:
    """What became of the stages so far.

    Args:
        seed: of the stages that train.
        num_threads: that they train on.
        folder: whose log is kept, or None.
        cache: store of finished stages.
        progress: where long work is shown.
        until: name of the last stage to run, or None.
        dry: run nothing; end where the cache does.
        workers: who do the work.
    """

    def __init__(
        self,
        seed: int,
        num_threads: int,
        folder: RunFolder | None,
        cache: Cache,
        progress: Progress,
        until: str | None,
        dry: bool = False,
        workers: Workers = ALONE,
    ):
        self.dry, self.workers = dry, workers
        self.seed, self.num_threads = seed, num_threads
        self.folder, self.cache, self.progress, self.until = folder, cache, progress, until
        self.records: list[StageRecord] = []
        self.artifacts: dict[str, Artifact] = {}

    def cached(
        self,
        name: str,
        function: Callable[..., Artifact],
        *inputs: Any,
        config: Any,
        ingredients: Mapping[str, Any] | None = None,
        shown: bool = False,
        **options: Any,
    ) -> Artifact:
        """Run ``function(*inputs, config, out_dir, **options)``, or take what it made before.

        The key is made of all of these and of ``ingredients``, which go before a ``config`` of the same name. A stage
        that is ``shown`` is given the progress too.
        """
        extra = {"progress": self.progress} if shown else {}
        return self._stage(
            name,
            function,
            inputs,
            {"config": config, **options, **(ingredients or {})},
            lambda out_dir, work: function(*inputs, config, out_dir, **options, **extra),
        )

    def trained(
        self,
        name: str,
        function: Callable[..., Artifact],
        *inputs: Any,
        config: Any,
        ingredients: Mapping[str, Any] | None = None,
        seed: int | None = None,
        unkeyed: Mapping[str, Any] | None = None,
        shared: Sharing = "steps",
        **options: Any,
    ) -> Artifact:
        """The same for a stage that trains: it has a seed, a thread count, checkpoints and progress.

        ``unkeyed`` are options that what it makes does not depend on. Of several workers, ``shared`` says what they do:
        each its samples of every step, so that the last digits depend on their number, which is then in the key; each
        its part of what comes out the same; or nothing, where the chief does it alone.
        """
        seed = self.seed if seed is None else seed
        keyed, workers = dict(ingredients or {}), self.workers if shared != "nothing" else ALONE
        if shared == "steps" and workers.count > 1:
            keyed["num_workers"] = workers.count
        if workers.count > 1:
            unkeyed = {**(unkeyed or {}), "workers": workers}
        elif self.workers.count > 1 and not self.dry:
            logger.info(f"{name}: by the chief alone, as its steps cannot be shared")
        return self._stage(
            name,
            function,
            inputs,
            {"config": config, **options, "seed": seed, "num_threads": self.num_threads, **keyed},
            lambda out_dir, work: function(
                *inputs,
                config,
                out_dir,
                **options,
                **(unkeyed or {}),
                seed=seed,
                work=work,
                progress=self.progress,
            ),
            together=workers.count > 1,
        )

    def _stage(
        self,
        name: str,
        function: Callable[..., Artifact],
        inputs: Sequence[Any],
        ingredients: Mapping[str, Any],
        make: Callable[[Path, Path], Artifact],
        together: bool = False,
    ) -> Artifact:
        key = {
            **{item: _plain(value) for item, value in ingredients.items()},
            "inputs": _digests(inputs),
            "code": code_digest(function.__module__),
            "versions": versions(),
        }
        stage = name.partition(".")[0]  # what follows tells several runs of a stage apart, and is not in its key
        if self.dry and not self.cache.has(stage, key):
            raise Stop
        self._announce(name)
        with self._told_where(name):
            origin = functools.partial(self.origin, name)
            artifact, record = joint.run(self.cache, self.workers, stage, make, key, origin, together=together)
        record = dataclasses.replace(record, name=name)
        self.artifacts[name] = artifact
        if record.cached:
            self.progress.replay(artifact.facts.get("history", []))
        self._tell(artifact.facts.get("summary"))
        self._warn(artifact.facts.get("warnings", []))
        self._finish(record)
        return artifact

    def fresh(self, name: str, function: Callable[..., Artifact | None], *inputs: Artifact | None) -> Any:
        """Run a stage that is never taken from the cache, because it reads the clock or is made in no time."""
        if self.dry:
            raise Stop
        self._announce(name)
        started = time.monotonic()
        with self._told_where(name):
            result = function(*inputs)
        if isinstance(result, Artifact):
            self._warn(result.facts.get("warnings", []))
        self._finish(StageRecord(name, "", False, time.monotonic() - started))
        return result

    def origin(self, name: str, made: Artifact) -> dict[str, Any]:
        """What the cache remembers of how a stage's artifact came about."""
        return {"peak_rss_bytes": measure.peak_rss_bytes(), "host": workload.this_host()}

    @contextlib.contextmanager
    def _told_where(self, name: str) -> Iterator[None]:
        """Let an interrupt say in which stage it fell and what is kept."""
        try:
            yield
        except KeyboardInterrupt as error:
            done = [record.name for record in self.records if record.key]
            kept = f"Kept: {', '.join(done)}" if done else "No stage was finished"
            error.add_note(f"in stage {name}. {kept}; where it trains, its last checkpoint too (a minute old at most)")
            raise

    def _announce(self, name: str) -> None:
        if not self.dry:
            self.progress.stage(name)
        if self.folder is not None:
            self.folder.log("stage started", stage=name)

    def _finish(self, record: StageRecord) -> None:
        self.records.append(record)
        if self.folder is not None:
            self.folder.log("stage finished", **asdict(record))
        if not self.dry:
            logger.info(f"{record.name}: {'cached' if record.cached else format_seconds(record.seconds)}")
            if record.key:
                logger.debug(f"{record.name}: key {record.key}")
        if record.name == self.until:
            raise Stop

    def _tell(self, summary: str | None) -> None:
        """Say what a stage found, whether it was run now or before."""
        if summary and not self.dry:
            logger.info(summary)
            if self.folder is not None:
                self.folder.log("summary", message=summary)

    def _warn(self, messages: Sequence[str]) -> None:
        for message in messages:
            if not self.dry:
                logger.warning(message)
            if self.folder is not None:
                self.folder.log("warning", message=message)


def _plain(value: Any) -> Any:
    if isinstance(value, Artifact):
        return value.digest
    return to_table(value) if dataclasses.is_dataclass(value) else value


def _digests(inputs: Sequence[Any]) -> list[Any]:
    return [_digests(part) if isinstance(part, Sequence) else part and part.digest for part in inputs]
