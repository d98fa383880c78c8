"""Set weights of the student to zero while it goes on learning from the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, curves, sparsity_choice, zeros
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.prune import Prune
from edgekd.errors import TrainingError
from edgekd.lesson import Lesson
from edgekd.progress import Progress
from edgekd.training import Hooks, evaluate, make_predict

TOLERANCE = 0.01


def prune_weights(
    data: Artifact,
    logits: Artifact | None,
    student: Artifact,
    config: Prune,
    out_dir: Path,
    *,
    distillation: Distill,
    seed: int,
    work: Path,
    progress: Progress,
    analysis: Artifact | None = None,
) -> Artifact:
    """Set the smallest weights of convolutions and dense layers to zero, step by step (Zhu and Gupta 2017).

    The sparsity follows the schedule from ``initial_sparsity`` to ``final_sparsity``, or to the layer's own
    (:func:`edgekd.sparsity_choice.layer_sparsities`), over the first ``end_fraction`` of the steps; the loss is
    that of the distillation, on the teacher's stored logits. Of the epochs at full sparsity, the one with the best val
    AUC is kept.

    Args:
        data: images.
        logits: the teacher's, stored for the views of the distillation; None where its whole weight is on the labels.
        student: to be pruned.
        config: how far and how fast.
        out_dir: where ``model/`` (Keras) goes.
        distillation: losses and views; see :func:`edgekd.objectives.while_pruning`.
        seed: of order and views.
        work: folder of the checkpoint.
        progress: where the task is shown.
        analysis: of the student's sensitivity to zeros, where zeros are shared out by it.

    Raises:
        RecipeError: as :func:`check`.
        TrainingError: the loss is not a number, or the sparsity reached is not the one asked for.
    """
    lesson = Lesson.of(data, logits, distillation, seed=seed, work=work, progress=progress)
    dataset = lesson.dataset
    _keras.reset(seed)
    steps_per_epoch = max(1, len(dataset.train.labels) // config.training.batch_size)
    end_step = max(1, round(config.end_fraction * config.training.epochs * steps_per_epoch))
    unpruned = _keras.load_model(student.path / "model")
    found = None if analysis is None else curves.read(analysis.facts["layers"])
    sparsities = sparsity_choice.layer_sparsities(unpruned, config, found)
    model = zeros.wrap(unpruned, sparsities, config, end_step)
    gradual = config.schedule == "polynomial" and config.pattern == "unstructured"
    history = lesson.give(
        model,
        config.training,
        "student, pruning",
        hooks=_pruning_hooks(model),
        first_epoch_kept=-(-end_step // steps_per_epoch) if gradual else 0,
    )
    stripped = _keras.tfmot().sparsity.keras.strip_pruning(model)
    _check_reached(stripped, sparsities)
    _keras.save_model(stripped, out_dir / "model")
    reached = zeros.measured(stripped, sparsity_choice.prunable(stripped))
    facts = {
        "history": history,
        "layer_sparsities": sparsities,
        "measured_sparsity": zeros.measured_sparsity(stripped, sparsities),
        "layers": {name: {"target": sparsities.get(name, 0.0), "measured": reached[name]} for name in reached},
        "val": evaluate(make_predict(stripped), dataset.val),
    }
    return Artifact.seal(out_dir, facts)


def check(model: Any, config: Prune) -> None:
    """Raise where a student cannot be pruned as the recipe says; neither weights nor images matter.

    Raises:
        RecipeError: as :func:`edgekd.sparsity_choice.layer_sparsities`.
    """
    sparsity_choice.layer_sparsities(model, config)


def _check_reached(model: Any, sparsities: Mapping[str, float]) -> None:
    for name, reached in zeros.measured(model, sparsities).items():
        # Of a small layer a fraction may lie between two numbers of weights.
        tolerance = max(TOLERANCE, 1 / int(np.prod(model.get_layer(name).kernel.shape)))
        if reached < sparsities[name] - tolerance:
            raise TrainingError(
                f'pruning reached a sparsity of {reached:.3f} in layer "{name}", where {sparsities[name]:g} was asked '
                "for; raise prune.training.epochs or lower prune.frequency"
            )


def _pruning_hooks(model: Any) -> Hooks:
    callback = _keras.tfmot().sparsity.keras.UpdatePruningStep()
    callback.set_model(model)
    return Hooks(
        on_start=lambda optimizer: callback.on_train_begin(),
        before_step=lambda: callback.on_train_batch_begin(-1),
        # Without this call the masks are not applied to the weights, and a stripped model has no zeros.
        before_evaluation=lambda: callback.on_epoch_end(-1),
    )
