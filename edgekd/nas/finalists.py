"""The best candidates, for real: taken out of the supernet, trained on as any student, converted and timed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd import batchnorm
from edgekd._keras import tf_keras
from edgekd.cache import Cache
from edgekd.config.blocks import Blocks
from edgekd.errors import ConversionError, ModelError, RecipeError, TrainingError
from edgekd.ladder import Candidate
from edgekd.nas.candidates import Judge
from edgekd.options import to_table
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.search import space as keys
from edgekd.search import trial
from edgekd.supernet import elastic

logger = logging.getLogger("edgekd")


def inherited(judge: Judge, blocks: Blocks, file: Path) -> Path:
    """Write a candidate's weights but its last layer's, as it was judged, for ``distill.weights``."""
    student = elastic.extracted(judge.model, judge.space, blocks)
    batchnorm.reestimate(student, judge.images)
    tf_keras.Model(student.input, student.layers[-1].input).save_weights(file, save_format="h5")
    return file


def changes_of(recipe_: Recipe, blocks: Blocks, weights: Path) -> dict[str, Any]:
    """What makes the recipe one of a candidate, by dotted key."""
    nas, training = recipe_.nas, dict[str, Any]()
    if nas.finetune_epochs:
        training["epochs"] = nas.finetune_epochs
    if nas.finetune_learning_rate is not None:
        training["learning_rate"] = nas.finetune_learning_rate
    return {
        "distill.student": "blocks",
        "distill.width_multiplier": 1.0,
        "distill.weights": str(weights),
        **{f"distill.blocks.{name}": value for name, value in to_table(blocks).items()},
        **{f"distill.training.{name}": value for name, value in training.items()},
    }


def measured(
    number: int, recipe_: Recipe, changes: Mapping[str, Any], cache: Cache, progress: Progress
) -> dict[str, Any]:
    """Run the recipe's whole chain on a candidate.

    Returns:
        A row as of :func:`edgekd.search.result.document`; what cannot be made says why.
    """
    row: dict[str, Any] = {"number": number, "changes": dict(changes), "measured": None, "limits": [], "held": False}
    started = time.monotonic()
    try:
        found = trial.measure(Candidate(str(number), keys.changed(recipe_, changes), changes), cache, progress)
    except (RecipeError, ModelError, ConversionError, TrainingError) as error:
        logger.warning(f"finalist {number} cannot be made: {error}")
        return {**row, "state": "failed", "problem": str(error), "seconds": time.monotonic() - started}
    figures, limits = dict(found.measured), [dict(limit) for limit in found.limits]
    logger.info(
        f"finalist {number}: AUC {figures['auc']:.4f} on val, {figures['tflite_bytes']:,} bytes, "
        f"p50 {figures['p50_ms']:.4f} ms"
    )
    row |= {"state": "complete", "measured": figures, "limits": limits, "held": found.held, "problem": ""}
    return {**row, "seconds": time.monotonic() - started}
