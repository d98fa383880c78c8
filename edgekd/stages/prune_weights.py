"""Set weights of the student to zero while it goes on learning from the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, objectives
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
) -> Artifact:
    """Set the smallest weights of every convolution and dense layer to zero, step by step (Zhu and Gupta 2017).

    The sparsity follows tfmot's polynomial schedule from ``initial_sparsity`` to ``final_sparsity`` over the first
    ``end_fraction`` of the steps; the loss is that of the distillation, on the teacher's stored logits. Depthwise
    kernels stay dense: they are few, and tfmot leaves them alone. Of the epochs at full sparsity, the one with the best
    val AUC is kept.

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

    Raises:
        TrainingError: the loss is not a number, or the sparsity reached is not the one asked for.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    tfmot = _keras.tfmot()
    steps_per_epoch = max(1, len(dataset.train.labels) // config.training.batch_size)
    end_step = round(config.end_fraction * config.training.epochs * steps_per_epoch)
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=config.initial_sparsity,
        final_sparsity=config.final_sparsity,
        begin_step=0,
        end_step=max(1, end_step),
        frequency=min(config.frequency, max(1, end_step)),
    )
    model = _wrap(_keras.load_model(student.path / "model"), tfmot, schedule)
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
    sparsity = measured_sparsity(stripped)
    if abs(sparsity - config.final_sparsity) > TOLERANCE:
        raise TrainingError(
            f"pruning reached a sparsity of {sparsity:.3f}, not prune.final_sparsity = {config.final_sparsity}; "
            "raise prune.training.epochs or lower prune.frequency"
        )
    _keras.save_model(stripped, out_dir / "model")
    facts = {"history": history, "measured_sparsity": sparsity, "val": evaluate(make_predict(stripped), dataset.val)}
    return Artifact.seal(out_dir, facts)


def _wrap(model: Any, tfmot: Any, schedule: Any) -> Any:
    """Put tfmot's wrapper around every layer that is pruned; the others stay as they are, weights and all."""

    def wrapped(layer: Any) -> Any:
        return (
            tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule) if _is_pruned(layer) else layer
        )

    return _keras.tf_keras.models.clone_model(model, clone_function=wrapped)


def _is_pruned(layer: Any) -> bool:
    layers = _keras.tf_keras.layers
    return isinstance(layer, (layers.Conv2D, layers.Dense)) and not isinstance(layer, layers.DepthwiseConv2D)


def _pruning_hooks(model: Any, tfmot: Any) -> Hooks:
    callback = tfmot.sparsity.keras.UpdatePruningStep()
    callback.set_model(model)
    return Hooks(
        on_start=lambda optimizer: callback.on_train_begin(),
        before_step=lambda: callback.on_train_batch_begin(-1),
        # Without this call the masks are not applied to the weights, and a stripped model has no zeros.
        before_evaluation=lambda: callback.on_epoch_end(-1),
    )


def measured_sparsity(model: Any) -> float:
    """Fraction of zeros among the weights that pruning touches: kernels of convolutions and dense layers."""
    kernels = [layer.kernel.numpy() for layer in model.layers if _is_pruned(layer)]
    return float(sum(np.sum(kernel == 0) for kernel in kernels) / sum(kernel.size for kernel in kernels))
