"""Set weights of the student to zero while it goes on learning from the teacher."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, curves, objectives, sparsity_choice
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.prune import Prune
from edgekd.data import Dataset
from edgekd.errors import TrainingError
from edgekd.logits_store import LogitsStore
from edgekd.progress import Progress
from edgekd.step import Learner
from edgekd.training import Hooks, evaluate, fit, make_predict

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

    The sparsity follows tfmot's polynomial schedule from ``initial_sparsity`` to ``final_sparsity``, or to the layer's
    own (:func:`edgekd.sparsity_choice.layer_sparsities`), over the first ``end_fraction`` of the steps; the loss is
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
    dataset = Dataset.open(data)
    _keras.reset(seed)
    tfmot = _keras.tfmot()
    steps_per_epoch = max(1, len(dataset.train.labels) // config.training.batch_size)
    end_step = round(config.end_fraction * config.training.epochs * steps_per_epoch)
    unpruned = _keras.load_model(student.path / "model")
    found = None if analysis is None else curves.read(analysis.facts["layers"])
    sparsities = sparsity_choice.layer_sparsities(unpruned, config, found)
    schedules = {
        name: tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=min(config.initial_sparsity, sparsity),
            final_sparsity=sparsity,
            begin_step=0,
            end_step=max(1, end_step),
            frequency=min(config.frequency, max(1, end_step)),
        )
        for name, sparsity in sparsities.items()
    }
    model = _wrap(unpruned, tfmot, schedules)
    history = fit(
        Learner.alone(model, objectives.while_pruning(distillation, dataset.task.head)),
        dataset,
        training=config.training,
        views=distillation.views,
        seed=seed,
        work=work,
        progress=progress,
        title="student, pruning",
        soft_targets=None if logits is None else LogitsStore.open(logits.path),
        hooks=_pruning_hooks(model, tfmot),
        first_epoch_kept=-(-end_step // steps_per_epoch),
    )
    stripped = tfmot.sparsity.keras.strip_pruning(model)
    sparsity = measured_sparsity(stripped, sparsities)
    if abs(sparsity - config.final_sparsity) > TOLERANCE:
        raise TrainingError(
            f"pruning reached a sparsity of {sparsity:.3f}, not prune.final_sparsity = {config.final_sparsity}; "
            "raise prune.training.epochs or lower prune.frequency"
        )
    _keras.save_model(stripped, out_dir / "model")
    facts = {
        "history": history,
        "layer_sparsities": sparsities,
        "measured_sparsity": sparsity,
        "val": evaluate(make_predict(stripped), dataset.val),
    }
    return Artifact.seal(out_dir, facts)


def check(model: Any, config: Prune) -> None:
    """Raise where a student cannot be pruned as the recipe says; neither weights nor images matter.

    Raises:
        RecipeError: a protected layer that does not exist, or nothing that is left to prune.
    """
    sparsity_choice.prunable(model, config.protected_layers)


def _wrap(model: Any, tfmot: Any, schedules: Mapping[str, Any]) -> Any:
    """Put tfmot's wrapper around every layer that is pruned; the others stay as they are, weights and all."""

    def wrapped(layer: Any) -> Any:
        if layer.name not in schedules:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedules[layer.name])

    return _keras.tf_keras.models.clone_model(model, clone_function=wrapped)


def _pruning_hooks(model: Any, tfmot: Any) -> Hooks:
    callback = tfmot.sparsity.keras.UpdatePruningStep()
    callback.set_model(model)
    return Hooks(
        on_start=lambda optimizer: callback.on_train_begin(),
        before_step=lambda: callback.on_train_batch_begin(-1),
        # Without this call the masks are not applied to the weights, and a stripped model has no zeros.
        before_evaluation=lambda: callback.on_epoch_end(-1),
    )


def measured_sparsity(model: Any, layers: Iterable[str]) -> float:
    """Fraction of zeros among the weights that pruning touches: the kernels of these layers together."""
    kernels = [model.get_layer(name).kernel.numpy() for name in layers]
    return float(sum(np.sum(kernel == 0) for kernel in kernels) / sum(kernel.size for kernel in kernels))
