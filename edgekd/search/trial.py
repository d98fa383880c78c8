"""One trial: a recipe drawn from the space, built as far as its .tflite, and measured on val and on this machine."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekd import budget, pipeline
from edgekd.artifact import Artifact, sha256_file
from edgekd.budget import Baseline
from edgekd.cache import Cache
from edgekd.claims import shipped_of
from edgekd.config.search import ACCURACIES
from edgekd.errors import ConversionError, ModelError, RecipeError, TrainingError
from edgekd.ladder import Candidate
from edgekd.ladder import Trial as Judged
from edgekd.progress import LineProgress, Progress, Task
from edgekd.recipe import Recipe
from edgekd.report_format import settings
from edgekd.search import space, study

logger = logging.getLogger("edgekd")

STUDENT = "student"  # the title of the task that trains it
WATCHED = "val_auc"
# Files beside the one that is meant. Of a very small student the converter makes no dynamic one.
BESIDE = ("fp16", "dynamic")


class _Watched(Task):
    def __init__(self, shown: Task, trial: Any, stopped: type[Exception]):
        self.shown, self.trial, self.stopped = shown, trial, stopped

    def advance(self, count: int, **figures: float) -> None:
        self.shown.advance(count, **figures)

    def skip(self, count: int) -> None:
        self.shown.skip(count)

    def end_epoch(self, record: Mapping[str, float]) -> None:
        self.trial.report(record[WATCHED], step=int(record["epoch"]))
        if self.trial.should_prune():
            raise self.stopped(f"val AUC {record[WATCHED]:.4f} after {int(record['epoch']) + 1} epochs")


class WatchedProgress(LineProgress):
    """Lines in the log, and the student's training ended where the study's rule of early stopping says so."""

    def __init__(self, trial: Any, stopped: type[Exception]):
        self.trial, self.stopped = trial, stopped

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Open a task; that of the student is watched."""
        with super().task(title, total, unit) as shown:
            yield _Watched(shown, self.trial, self.stopped) if title == STUDENT else shown


def objective(trial: Any, recipe_: Recipe, cache: Cache, baseline: Baseline) -> list[float]:
    """Make and measure one draw, beside the recipe as written; what was found stands in the attributes of the trial.

    Returns:
        A value for each of ``search.objectives``. Of a draw that makes no sense, or no model, the worst ones: a sampler
        learns nothing from a trial that failed, and draws the same again. Why stands in the attributes, and
        :func:`edgekd.search.study.feasible` tells the sampler.

    Raises:
        optuna.TrialPruned: ended early.
    """
    study.sign(trial)
    changes = space.suggest(trial, recipe_.search.space)
    trial.set_user_attr(study.CHANGES, changes)
    logger.info(f"trial {trial.number}: {settings(changes)}")
    stopped = study.optuna().TrialPruned
    watching = recipe_.search.early_stopping != "none"
    progress = WatchedProgress(trial, stopped) if watching else LineProgress()
    try:
        candidate = Candidate(str(trial.number), space.changed(recipe_, changes), changes)
        found = measure(candidate, cache, progress, baseline)
    except (RecipeError, ModelError, ConversionError, TrainingError) as error:
        trial.set_user_attr(study.PROBLEM, str(error))
        logger.info(f"trial {trial.number} cannot be made: {error}")
        return [0.0 if name in ACCURACIES else math.inf for name in recipe_.search.objectives]
    trial.set_user_attr(study.MEASURED, dict(found.measured))
    trial.set_user_attr(study.LIMITS, [dict(row) for row in found.limits])
    values = [float(found.measured[name]) for name in recipe_.search.objectives]
    logger.info(f"trial {trial.number}: " + ", ".join(map(_shown, recipe_.search.objectives, values)))
    return values


def measure(candidate: Candidate, cache: Cache, progress: Progress, baseline: Baseline | None = None) -> Judged:
    """Build a candidate up to its files, from the cache where it can, and measure what would be shipped.

    A student trained alone for comparison and further files are of the build's concern, and change nothing here.
    """
    return budget.judged(candidate, _made(candidate.recipe, cache, progress), progress, baseline)


def as_written(recipe_: Recipe, cache: Cache, progress: Progress) -> dict[str, Any]:
    """Measure the recipe as written.

    Returns:
        ``measured`` and ``limits`` as those of a trial; ``file``, what would be shipped, within the cache, and its
        ``sha256``.
    """
    found = measure(Candidate(study.AS_WRITTEN, recipe_, {}), cache, progress)
    file = _shipped(recipe_, cache, progress)
    return {
        study.MEASURED: dict(found.measured),
        study.LIMITS: [dict(row) for row in found.limits],
        "file": file.relative_to(cache.root).as_posix(),
        "sha256": sha256_file(file),
    }


def baseline_of(written: Mapping[str, Any], recipe_: Recipe, cache: Cache, progress: Progress) -> Baseline:
    """What :func:`as_written` found, to time others beside it. Another machine whose cache lacks the file makes it."""
    file = cache.root / written["file"]
    if not file.is_file() or sha256_file(file) != written["sha256"]:
        logger.info("the recipe as written is not in this cache; it is made first, as trials are timed beside it")
        file = _shipped(recipe_, cache, progress)
    return Baseline(file, written[study.MEASURED]["p50_ms"])


def _shipped(recipe_: Recipe, cache: Cache, progress: Progress) -> Path:
    stage = _made(recipe_, cache, progress)["quantize"]
    return stage.path / str(shipped_of([stage])["file"])


def _made(recipe_: Recipe, cache: Cache, progress: Progress) -> Mapping[str, Artifact]:
    return pipeline.artifacts(without_more(recipe_), cache=cache, progress=progress, until="quantize")[0]


def without_more(recipe_: Recipe) -> Recipe:
    """A recipe that makes what would be shipped, and nothing beside it."""
    variants = tuple(name for name in recipe_.quantize.variants if name not in BESIDE)
    distill = recipe_.distill if recipe_.distill.mode == "self" else replace(recipe_.distill, train_alone=False)
    return replace(recipe_, distill=distill, quantize=replace(recipe_.quantize, variants=variants))


def _shown(name: str, value: float) -> str:
    return f"{name} {value:,.0f}" if name.endswith("bytes") else f"{name} {value:.4f}"
