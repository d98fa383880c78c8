"""Builds a recipe: into a run folder, up to a stage, or in plan alone."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import data, ensemble, limits, local_workers, recipe
from edgekd.artifact import Artifact
from edgekd.builder import Builder
from edgekd.cache import Cache, StageRecord, versions
from edgekd.cluster import SECONDS_TO_MEET, Cluster
from edgekd.data.leak_check import near_picture
from edgekd.errors import OutputError
from edgekd.forms import on_the_way
from edgekd.logits_store import Part
from edgekd.models import check_size
from edgekd.preflight import STAGES, check_names, check_shared, check_stage, check_task, skipped_stages
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.run_folder import FIRST_EVENT, RunFolder
from edgekd.run_report import Report
from edgekd.stage_runner import Stop
from edgekd.tasks import TASKS
from edgekd.training_stages import run_name
from edgekd.verification import DISAGREEMENTS_FILE, SCORES_FILE
from edgekd.workers import ALONE, Workers


@dataclass(frozen=True)
class Run:
    """A finished build.

    Attributes:
        path: the run folder.
        report: what ``report.json`` holds, or None where the build stopped before (``until``), or where another worker
            wrote it.
        stages: what became of each stage.
        worker: number of this process among those that trained; the first, 0, alone writes the run folder.
    """

    path: Path
    report: Report | None
    stages: tuple[StageRecord, ...]
    worker: int = 0

    @property
    def held(self) -> bool:
        """Whether every gate held, and the budget where there is one."""
        return self.report is None or all(row["held"] for row in limits.of_report(self.report))


def build(
    recipe_: Recipe,
    out: Path,
    *,
    cache: Cache,
    progress: Progress | None = None,
    until: str | None = None,
    budget: Mapping[str, Any] | None = None,
    cluster: Cluster | None = None,
    seconds_to_meet: float = SECONDS_TO_MEET,
) -> Run:
    """Build a recipe: from images to a measured .tflite, its report and its bundle.

    Args:
        recipe_: validated; what it leaves to the data is filled in here.
        out: run folder.
        cache: store of finished stages.
        progress: where long work is shown.
        until: name of the last stage to run.
        budget: what was tried to keep the recipe's budget, for the report; see :mod:`edgekd.budget`.
        cluster: processes that train together, this one among them; those of this machine are started. All share the
            cache; the run folder is the chief's.
        seconds_to_meet: longest time that they wait for each other at the start.

    Raises:
        EdgekdError: see :mod:`edgekd.errors`.
    """
    check_stage(until, recipe_)
    check_names(recipe_)
    progress = progress or Progress()
    resolved, probe = resolve(recipe_, cluster)
    purpose = {} if cluster is None else local_workers.purpose(resolved, probe.fingerprint, until)
    if cluster is not None and cluster.index > 0:
        others = local_workers.meet(cluster, purpose, resolved.num_threads, seconds_to_meet)
        builder = Builder(resolved, probe.fingerprint, None, cache, progress, until, workers=others)
        with contextlib.suppress(Stop):
            builder.chain()
        return Run(out, None, tuple(builder.records), cluster.index)
    with RunFolder(out) as folder, folder.writing(), contextlib.ExitStack() as stack:
        folder.log(FIRST_EVENT, recipe=resolved.name, seed=resolved.seed, versions=versions())
        workers: Workers = ALONE
        if cluster is not None:
            started = local_workers.start(cluster, resolved, cache.root, until, purpose, seconds_to_meet)
            workers = stack.enter_context(started)
        builder = Builder(
            resolved,
            probe.fingerprint,
            folder,
            cache,
            progress,
            until,
            budget=budget,
            workers=workers,
            originals=probe.pictures,
        )
        try:
            builder.chain()
        except Stop:
            pass
        except BaseException as error:
            with contextlib.suppress(OutputError):
                folder.log("stopped", reason=f"{type(error).__name__}: {error}")
            raise
        builder.stage_models()
        if verified := builder.artifacts.get("verify"):
            for name in (SCORES_FILE, DISAGREEMENTS_FILE):
                shutil.copyfile(verified.path / name, folder.staging / name)
        if near := near_picture(builder.artifacts["data"], resolved.report):
            shutil.copyfile(near, folder.staging / near.name)
        (folder.staging / "recipe.toml").write_text(recipe.to_toml(resolved), encoding="utf-8")
        folder.publish()
    report = Report.read(out) if "report" in {record.name for record in builder.records} else None
    return Run(out, report, tuple(builder.records))


def artifacts(
    recipe_: Recipe,
    *,
    cache: Cache,
    progress: Progress | None = None,
    until: str,
    dry: bool = False,
    part: Part | None = None,
) -> tuple[dict[str, Artifact], list[StageRecord]]:
    """Run the chain up to a stage and hand out what each stage made; no run folder is written.

    For those who try several ways and live off the cache.

    Args:
        recipe_: validated.
        cache: store of finished stages.
        progress: where long work is shown.
        until: name of the last stage to run.
        dry: run nothing and say nothing; end at the first stage that is not in the cache.
        part: of the teacher's logits, the shards that are done here.

    Raises:
        PartDone: see :func:`edgekd.stages.teacher_logits.teacher_logits`.
        EdgekdError: see :mod:`edgekd.errors`.
    """
    check_stage(until, recipe_)
    check_names(recipe_)
    resolved, probe = resolve(recipe_)
    builder = Builder(resolved, probe.fingerprint, None, cache, progress or Progress(), until, dry, part=part)
    with contextlib.suppress(Stop):
        builder.chain()
    return builder.artifacts, builder.records


@dataclass(frozen=True)
class Plan:
    """What a build would do.

    Attributes:
        recipe: as resolved.
        probe: what was seen of the data.
        stages: for each, whether it is cached; None where that cannot be known before the stages ahead of it have run.
    """

    recipe: Recipe
    probe: data.Probe
    stages: tuple[tuple[str, bool | None], ...]


def plan(recipe_: Recipe, *, cache: Cache, until: str | None = None, cluster: Cluster | None = None) -> Plan:
    """Say what a build would do, without doing it. Raises EdgekdError as the build does before its first stage."""
    check_stage(until, recipe_)
    check_names(recipe_)
    resolved, probe = resolve(recipe_, cluster)
    workers = ALONE if cluster is None else Workers(len(cluster))
    builder = Builder(resolved, probe.fingerprint, None, cache, Progress(), until, dry=True, workers=workers)
    with contextlib.suppress(Stop):
        builder.chain()
    known: dict[str, bool | None] = {record.name: record.cached for record in builder.records}
    wanted = [name for name in STAGES if name not in skipped_stages(resolved)]
    if "teacher" in wanted:
        runs = [run_name(name) for name in ensemble.networks(resolved.teacher, resolved.seed)]
        wanted = list(dict.fromkeys([wanted[0], *runs, *wanted[1:]]))
    at = wanted.index("quantize")
    wanted[at:at] = [f"quantize.{name}" for name in on_the_way(resolved)]
    if until:
        wanted = wanted[: wanted.index(until) + 1]
    return Plan(resolved, probe, tuple((name, known.get(name)) for name in wanted))


def resolve(recipe_: Recipe, cluster: Cluster | None = None) -> tuple[Recipe, data.Probe]:
    """Look at the data and fill in what the recipe leaves to it; returns what was seen of the data too.

    Workers of one machine divide its cores.
    """
    probe = data.probe(recipe_.data)
    check_task(recipe_, TASKS[probe.task])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cluster is not None and cluster.local:
        cores = max(1, cores // len(cluster))
    resolved = recipe.sized_to(recipe_, num_train=probe.num_train, median_side=probe.median_side, num_threads=cores)
    if cluster is not None:
        check_shared(resolved, len(cluster))
    for key, table in ensemble.tables(resolved.teacher).items():
        check_size(table, key, resolved.data.image_size)
    return resolved, probe
