"""Train the student: on the teacher's stored answers, beside the teacher, or alone for comparison."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from edgekd import _keras, losses, tflite
from edgekd.artifact import Artifact
from edgekd.data import Dataset
from edgekd.errors import ModelError
from edgekd.logits_store import LogitsStore
from edgekd.losses import Pair
from edgekd.models import build_student, channels, layer_pairs, with_features
from edgekd.progress import Progress
from edgekd.recipe import Distill
from edgekd.step import Batch, Learner
from edgekd.training import evaluate, fit, make_predict

logger = logging.getLogger("edgekd")


def distill(
    data: Artifact,
    teacher: Artifact | None,
    logits: Artifact | None,
    config: Distill,
    out_dir: Path,
    *,
    seed: int,
    work: Path,
    progress: Progress,
) -> Artifact:
    """Train a student and keep the epoch with the best val AUC.

    Args:
        data: images.
        teacher: for the modes that run it in every step; else None.
        logits: the teacher's, stored for the same views; else None. With neither, the student learns from the labels.
        config: architecture, losses, schedule.
        out_dir: where ``model/`` (Keras) and, for a student trained alone, ``student_alone_fp32.tflite`` go.
        seed: of weights, order and views.
        work: folder of the checkpoint.
        progress: where the task is shown.

    Raises:
        ModelError: unknown architecture, layers that cannot be compared.
        TrainingError: the loss is not a number.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    model = build_student(
        config.student,
        image_size=dataset.image_size,
        num_classes=dataset.num_classes,
        width_multiplier=config.width_multiplier,
    )
    alone = teacher is None and logits is None
    soft_targets = None if logits is None else LogitsStore.open(logits.path)
    title = "student alone" if alone else "student"
    pairs: list[Pair] = []
    if teacher is not None:
        learner, pairs = beside_teacher(model, _keras.load_model(teacher.path / "model"), config)
    elif alone:
        learner = on_labels(model, config)
    else:
        learner = on_stored_logits(model, config)
    history = fit(
        learner,
        dataset,
        training=config.training,
        views=config.views,
        seed=seed,
        work=work / "distill",
        progress=progress,
        title=title,
        soft_targets=soft_targets,
    )
    if config.finetune_epochs:
        history += _finetune(model, dataset, config, seed, work / "finetune", progress, title)
    _keras.save_model(model, out_dir / "model")
    entries = []
    if alone:
        path = out_dir / "student_alone_fp32.tflite"
        path.write_bytes(tflite.convert(tflite.freeze(model), "fp32"))
        entries.append(tflite.describe(path, id="student_alone_fp32", role="student", steps=[], shipped=False))
    facts = {
        "models": entries,
        "history": history,
        "layer_pairs": [[pair.student, pair.teacher] for pair in pairs],
        "val": evaluate(make_predict(model), dataset.val),
    }
    return Artifact.seal(out_dir, facts)


def on_labels(model: Any, config: Distill) -> Learner:
    """The student alone."""
    return Learner.alone(
        model, lambda batch, logits: losses.on_labels(config.training, batch.labels, logits, batch.weights)
    )


def on_stored_logits(model: Any, config: Distill) -> Learner:
    """The teacher's answers come with the batch."""
    total = losses.objective(config).function
    return Learner.alone(
        model,
        lambda batch, logits: total(
            losses.Signals(batch.labels, logits, batch.soft_targets, *_course(config, batch), batch.weights)
        ),
    )


def _course(config: Distill, batch: Batch) -> tuple[Any, Any]:
    """Temperature and weight of the loss on the labels, at this step."""
    return (
        losses.scheduled(config.temperature, config.temperature_end, batch.elapsed),
        losses.scheduled(config.hard_loss_weight, config.hard_loss_weight_end, batch.elapsed),
    )


def beside_teacher(model: Any, teacher: Any, config: Distill) -> tuple[Learner, list[Pair]]:
    """The teacher in every step: fixed (live), or learning from the labels and the student (mutual)."""
    pairs = _pairs(model, teacher, config) if losses.feature_losses(config) else []
    student_view = with_features(model, [pair.student for pair in pairs])
    teacher_view = with_features(teacher, [pair.teacher for pair in pairs])
    term = losses.objective(config, pairs)
    mutual = config.mode == "mutual"

    def loss(pixels: Any, batch: Batch) -> Any:
        logits, features = student_view(pixels, True)
        teacher_logits, teacher_features = teacher_view(pixels, mutual)
        temperature, weight = _course(config, batch)
        see = losses.Signals(
            batch.labels, logits, teacher_logits, temperature, weight, batch.weights, features, teacher_features
        )
        value = term.function(see)
        if not mutual:
            return value
        # Each learns from the labels and from the other's answer (Zhang et al. 2018, eq. 7); the losses stop the
        # gradient at whoever is the teacher, so that one sum moves both.
        hard = losses.on_labels(config.training, batch.labels, teacher_logits, batch.weights)
        return value + hard + losses.kd(logits, teacher_logits, temperature)

    adapters = [variable for adapter in term.adapters for variable in adapter.trainable_variables]
    variables = [*model.trainable_variables, *adapters, *(teacher.trainable_variables if mutual else [])]
    companions = [*term.adapters, *([teacher] if mutual else [])]
    return Learner(model, loss, variables, companions), pairs


def _pairs(model: Any, teacher: Any, config: Distill) -> list[Pair]:
    names = layer_pairs(model, teacher, config.layer_pairs)
    if not names:
        raise ModelError(
            "student and teacher have no feature maps of equal size; name pairs of layers in distill.layer_pairs"
        )
    for ours, theirs in names:
        logger.info(f"compares student {ours} with teacher {theirs}")
    return [Pair(ours, theirs, channels(model, ours), channels(teacher, theirs)) for ours, theirs in names]


def _finetune(
    model: Any, dataset: Dataset, config: Distill, seed: int, work: Path, progress: Progress, title: str
) -> list[dict[str, float]]:
    """Go on with the labels alone; weights are kept only where val improves on what distillation reached."""
    training = dataclasses.replace(
        config.training,
        epochs=config.finetune_epochs,
        learning_rate=config.finetune_learning_rate,
        schedule="cosine",
        warmup_epochs=0.0,
    )
    return fit(
        on_labels(model, config),
        dataset,
        training=training,
        views=config.views,
        seed=seed + 1,
        work=work,
        progress=progress,
        title=f"{title}, fine-tuning",
        keep_initial=True,
    )
