"""Keep a budget, and the limits of the target: whole chains are run from outside, up to their files, one by one.

Every candidate of the ladder is judged on val, its latency on this machine; test is looked at once, when the one that
is shipped is built. The cache is where candidates meet: they share the teacher and the distilled student.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import builder, limits, metrics, pipeline, target
from edgekd._litert import predict_probs
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.claims import DISTILLED, FLOAT, shipped_of
from edgekd.data import Dataset
from edgekd.errors import ConversionError, ModelError, RecipeError, TrainingError
from edgekd.ladder import AS_WRITTEN, Candidate, Trial, is_limited, nearest, search
from edgekd.pipeline import Run
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.report_format import settings
from edgekd.run_folder import RunFolder
from edgekd.timing import NUM_IMAGES

logger = logging.getLogger("edgekd")

BASELINE, CANDIDATE = "baseline", "candidate"


@dataclass(frozen=True)
class Baseline:
    """A model whose p50 is known, in milliseconds; others are timed beside it, and their p50 is their ratio to it.

    A machine may be slower for a minute than in the one before, by more than candidates differ.
    """

    path: Path
    p50_ms: float

    def latency(self, ratio: Mapping[str, Any]) -> dict[str, Any]:
        """``p50_ms`` and its interval, by a row of the benchmark's ``ratios``."""
        ends = ratio["ci95"]
        interval = ends and [self.p50_ms * end for end in ends]
        return {"p50_ms": self.p50_ms * ratio["ratio"], "p50_ci95_ms": interval}


def build(recipe_: Recipe, out: Path, *, cache: Cache, progress: Progress | None = None) -> Run:
    """Find the first candidate that keeps every limit, or else the nearest to it, and build that one.

    Args:
        recipe_: validated. Where neither its budget nor its target has limits, it is built as written.
        out: run folder.
        cache: store of finished stages, which is where candidates meet.
        progress: where long work is shown.

    Returns:
        The run of the candidate that is shipped; every other stands among the ``candidates`` of its report.

    Raises:
        EdgekdError: as :func:`edgekd.pipeline.build`, of the recipe as written. A further candidate that cannot be made
            is no error: it says why in the report.
    """
    if not is_limited(recipe_):
        return pipeline.build(recipe_, out, cache=cache, progress=progress)
    RunFolder(out).close()  # a folder that may not be written is refused before hours of training
    shown = progress or Progress()
    trials = search(recipe_, lambda candidate: _tried(candidate, cache, shown))
    best = nearest(trials)
    if not best.held:
        logger.warning(
            f"{_title(recipe_)}: none of {len(trials)} candidates keeps every limit; {best.candidate.id}, the nearest, "
            "is built"
        )
    found = {
        "shipped": {**entry(best), "place": trials.index(best)},
        "candidates": [{**entry(trial), "reason": trial.reason} for trial in trials if trial is not best],
    }
    return pipeline.build(best.candidate.recipe, out, cache=cache, progress=progress, budget=found)


def entry(trial: Trial) -> dict[str, Any]:
    """A trial as it stands in the report."""
    tried = {"candidate": trial.candidate.id, "changes": dict(trial.candidate.changes)}
    return {"model": trial.model, **tried, "measured": dict(trial.measured) or None, "limits": list(trial.limits)}


def _tried(candidate: Candidate, cache: Cache, progress: Progress) -> Trial:
    title = _title(candidate.recipe)
    logger.info(f"{title}: trying {candidate.id}: {settings(candidate.changes)}")
    try:
        made, _ = pipeline.artifacts(candidate.recipe, cache=cache, progress=progress, until="quantize")
        trial = judged(candidate, made, progress)
    except (RecipeError, ModelError, ConversionError, TrainingError) as error:
        if candidate.id == AS_WRITTEN:
            raise
        trial = Trial(candidate, {}, (), str(error))
    logger.info(f"{title}: {candidate.id} {'holds' if trial.held else f'falls short: {trial.reason}'}")
    return trial


def _title(recipe_: Recipe) -> str:
    return "budget" if recipe_.budget.is_set else f"target {target.load(recipe_.benchmark.target).name}"


def judged(
    candidate: Candidate, made: Mapping[str, Artifact], progress: Progress, baseline: Baseline | None = None
) -> Trial:
    """Measure what is shipped of a chain, on val and on this machine, and hold it against budget and target.

    Args:
        candidate: what was made.
        made: artifacts by stage, up to ``quantize``.
        progress: where the timing is shown.
        baseline: what it is timed beside; None: alone.
    """
    from edgekd.stages.fit import against

    dataset, recipe = Dataset.open(made["data"]), candidate.recipe
    stages = [made[name] for name in builder.MODEL_STAGES if name in made]
    entries = {entry["id"]: (stage.path / entry["file"], entry) for stage in stages for entry in stage.facts["models"]}

    def on_val(id: str) -> dict[str, Any]:
        probs = predict_probs(entries[id][0], dataset.val.images, head=dataset.task.head)
        return metrics.evaluate(probs, dataset.val.labels, dataset.class_names, dataset.task)

    shipped = str(shipped_of([made["quantize"]])["id"])
    path, entry = entries[shipped]
    after = on_val(shipped)
    before = next((on_val(id) for id in (DISTILLED, FLOAT) if id in entries), None)
    pictures = dataset.val.images[:NUM_IMAGES]
    profile = target.load(recipe.benchmark.target)
    latency = _timed(path, pictures, recipe, progress, baseline)
    measured = {
        "tflite_bytes": entry["tflite_bytes"],
        "gzip_bytes": entry["gzip_bytes"],
        "p50_ms": latency["p50_ms"],
        "p50_ci95_ms": latency["p50_ci95_ms"],
        "accuracy": after[dataset.task.accuracy],
        "auc": after["auc"],
        "accuracy_drop_pp": before and limits.accuracy_drop_pp(before, after, dataset.task),
        "recall": {row["name"]: row["recall"] for row in after["per_class"]},
        "n": after["n"],
    }
    rows = limits.of_budget(
        recipe.budget,
        tflite_bytes=entry["tflite_bytes"],
        p50_ms=latency["p50_ms"],
        before=before,
        after=after,
        task=dataset.task,
    )
    if profile.limited:
        rows += against(shipped, path, pictures, profile, p50_ms=latency["p50_ms"])["limits"]
    return Trial(candidate, measured, rows, model=shipped)


def _timed(
    path: Path, pictures: NDArray[np.uint8], recipe: Recipe, progress: Progress, baseline: Baseline | None
) -> Mapping[str, Any]:
    """``p50_ms`` and its interval on the target; None where the target has no latency on this machine."""
    from edgekd.stages.benchmark import benchmark

    if target.why_not_timed(target.load(recipe.benchmark.target)) is not None:
        return {"p50_ms": None, "p50_ci95_ms": None}
    files = {BASELINE: baseline.path} if baseline else {}
    files[CANDIDATE] = path
    with tempfile.TemporaryDirectory() as folder:
        facts = benchmark(files, pictures, recipe.benchmark, Path(folder), seed=recipe.seed, progress=progress).facts
    if baseline:
        return baseline.latency(facts["ratios"][0])
    latency: Mapping[str, Any] = facts["models"][CANDIDATE]["latency"][0]
    return latency
