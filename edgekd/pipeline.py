"""Builds a recipe: into a run folder, up to a stage, or in plan alone."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import data, ensemble, limits, recipe
from edgekd.artifact import Artifact
from edgekd.builder import Builder, run_name
from edgekd.cache import Cache, StageRecord, versions
from edgekd.data.leak_check import near_picture
from edgekd.errors import OutputError
from edgekd.forms import on_the_way
from edgekd.logits_store import Part
from edgekd.models import check_size
from edgekd.preflight import STAGES, check_names, check_stage, check_task, skipped_stages
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.run_folder import FIRST_EVENT, RunFolder
from edgekd.run_report import Report
from edgekd.stage_runner import Stop
from edgekd.tasks import TASKS
from edgekd.verification import DISAGREEMENTS_FILE, SCORES_FILE


@dataclass(frozen=True)
class Run:
    """A finished build.

    Attributes:
        path: the run folder.
        report: what ``report.json`` holds, or None where the build stopped before (``until``).
        stages: what became of each stage.
    """

    path: Path
    report: Report | None
    stages: tuple[StageRecord, ...]

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
) -> Run:
    """Build a recipe: from images to a measured .tflite, its report and its bundle.

    Args:
        recipe_: validated; what it leaves to the data is filled in here.
        out: run folder.
        cache: store of finished stages.
        progress: where long work is shown.
        until: name of the last stage to run.
        budget: what was tried to keep the recipe's budget, for the report; see :mod:`edgekd.budget`.

    Raises:
        EdgekdError: see :mod:`edgekd.errors`.
    """
    check_stage(until, recipe_)
    check_names(recipe_)
    progress = progress or Progress()
    resolved, probe = resolve(recipe_)
    with RunFolder(out) as folder, folder.writing():
        folder.log(FIRST_EVENT, recipe=resolved.name, seed=resolved.seed, versions=versions())
        builder = Builder(resolved, probe.fingerprint, folder, cache, progress, until, budget=budget)
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
        if near := near_picture(builder.artifacts["data"], resolved.report.thumbnails):
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


def plan(recipe_: Recipe, *, cache: Cache, until: str | None = None) -> Plan:
    """Say what a build would do, without doing it. Raises EdgekdError as the build does before its first stage."""
    check_stage(until, recipe_)
    check_names(recipe_)
    resolved, probe = resolve(recipe_)
    builder = Builder(resolved, probe.fingerprint, None, cache, Progress(), until, dry=True)
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


def resolve(recipe_: Recipe) -> tuple[Recipe, data.Probe]:
    """Look at the data and fill in what the recipe leaves to it; returns what was seen of the data too."""
    probe = data.probe(recipe_.data)
    check_task(recipe_, TASKS[probe.task])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    resolved = recipe.sized_to(recipe_, num_train=probe.num_train, median_side=probe.median_side, num_threads=cores)
    for key, table in ensemble.tables(resolved.teacher).items():
        check_size(table, key, resolved.data.image_size)
    return resolved, probe
