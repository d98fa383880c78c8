"""Train the student: on the teacher's stored logits and the labels, or alone for comparison."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from edgekd import _keras, losses, tflite
from edgekd.artifact import Artifact
from edgekd.data import Dataset
from edgekd.models import build_student
from edgekd.progress import Progress
from edgekd.recipe import Distill
from edgekd.training import Objective, evaluate, fit, make_predict

LOGITS_FILE = "logits.npy"


def distill(
    data: Artifact,
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
        logits: the teacher's, for the same views; None trains the student alone, on the labels.
        config: architecture, loss, schedule.
        out_dir: where ``model/`` (Keras) and, for a student trained alone, ``student_alone_fp32.tflite`` go.
        seed: of weights, order and views.
        work: folder of the checkpoint.
        progress: where the task is shown.

    Raises:
        ModelError: unknown architecture.
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
    soft_targets = None if logits is None else np.load(logits.path / LOGITS_FILE, mmap_mode="r", allow_pickle=False)
    title = "student alone" if logits is None else "student"
    history = fit(
        model,
        dataset,
        training=config.training,
        views=config.views,
        objective=_objective(config, alone=logits is None),
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
    if logits is None:
        path = out_dir / "student_alone_fp32.tflite"
        path.write_bytes(tflite.convert(tflite.freeze(model), "fp32"))
        entries.append(tflite.describe(path, id="student_alone_fp32", role="student", steps=[], shipped=False))
    return Artifact.seal(
        out_dir, {"models": entries, "history": history, "val": evaluate(make_predict(model), dataset.val)}
    )


def _objective(config: Distill, *, alone: bool) -> Objective:
    smoothing = config.training.label_smoothing
    if alone:
        return lambda labels, student, _: losses.cross_entropy(labels, student, smoothing)
    return lambda labels, student, teacher: losses.distillation(
        labels,
        student,
        teacher,
        temperature=config.temperature,
        hard_loss_weight=config.hard_loss_weight,
        label_smoothing=smoothing,
    )


def _finetune(
    model: object, dataset: Dataset, config: Distill, seed: int, work: Path, progress: Progress, title: str
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
        model,
        dataset,
        training=training,
        views=config.views,
        objective=_objective(config, alone=True),
        seed=seed + 1,
        work=work,
        progress=progress,
        title=f"{title}, fine-tuning",
        keep_initial=True,
    )
