"""Train the teacher, or each of the networks that it is the mean of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd import _keras, losses, tflite
from edgekd.artifact import Artifact
from edgekd.config.teacher import Teacher
from edgekd.config.training import Training
from edgekd.data import Dataset
from edgekd.models import build_ensemble, build_teacher
from edgekd.progress import Progress
from edgekd.step import Batch, Learner, gathered
from edgekd.training import evaluate, fit, make_predict
from edgekd.workers import ALONE, Workers


def teacher(
    data: Artifact,
    config: Teacher,
    out_dir: Path,
    *,
    seed: int,
    work: Path,
    progress: Progress,
    workers: Workers = ALONE,
) -> Artifact:
    """Train one network on the labels and keep the epoch with the best val AUC.

    With ``frozen_epochs``, its head learns first: the rest is run as at inference, the averages of its batch
    normalization included, and is not moved. Then everything is trained, and the weights at that start are a candidate.

    Writes ``model/`` (Keras), ``teacher_fp32.tflite`` (what the student is compared with) and, in the facts, the
    learning curve and the model's entry.

    Raises:
        ModelError: unknown architecture, or weights that cannot be had.
        TrainingError: the loss is not a number.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    model = build_teacher(
        config.model,
        image_size=dataset.image_size,
        num_classes=dataset.num_classes,
        weights=config.weights,
        width_multiplier=config.width_multiplier,
        seen_size=config.image_size,
    )

    def run(learner: Learner, training: Training, name: str, keep_initial: bool, seed: int) -> list[dict[str, float]]:
        return fit(
            learner,
            dataset,
            training=training,
            views=config.views,
            seed=seed,
            work=work / name,
            progress=progress,
            title=f"teacher {config.model}{', head' if name == 'head' else ''}",
            keep_initial=keep_initial,
            workers=workers,
        )

    def loss(batch: Batch, logits: Any) -> Any:
        return losses.on_labels(config.training, batch.targets, logits, batch.weights, dataset.task.head)

    keeps_start = bool(config.frozen_epochs) and config.training.keep == "best"
    history = []
    if config.frozen_epochs:
        history += run(_head_alone(model, loss), _of_the_head(config), "head", False, seed + 1)
    history += run(Learner.alone(model, loss), config.training, "all", keeps_start, seed)
    return _finish(model, dataset, {"history": history}, out_dir)


def ensemble(data: Artifact, members: Sequence[Artifact], config: Sequence[str], out_dir: Path) -> Artifact:
    """Make one network of trained ones, whose logits are the mean of theirs; writes what :func:`teacher` writes.

    Args:
        data: images, for the figures on val.
        members: of :func:`teacher`.
        config: their names, in the same order.
        out_dir: where it goes.
    """
    dataset = Dataset.open(data)
    _keras.reset(0)
    models = [_keras.load_model(member.path / "model") for member in members]
    figures = {name: member.facts["val"] for name, member in zip(config, members, strict=True)}
    return _finish(build_ensemble(dict(zip(config, models, strict=True))), dataset, {"members": figures}, out_dir)


def _head_alone(model: Any, loss: Any) -> Learner:
    head = model.get_layer("logits")
    return Learner(
        model,
        lambda pixels, batch: loss(batch, gathered(batch, model(pixels, training=False))),
        list(head.trainable_variables),
    )


def _of_the_head(config: Teacher) -> Training:
    return dataclasses.replace(
        config.training,
        epochs=config.frozen_epochs,
        learning_rate=config.frozen_learning_rate,
        schedule="cosine",
        warmup_epochs=0.0,
    )


def _finish(model: Any, dataset: Dataset, facts: Mapping[str, Any], out_dir: Path) -> Artifact:
    _keras.save_model(model, out_dir / "model")
    path = out_dir / "teacher_fp32.tflite"
    path.write_bytes(tflite.convert(tflite.freeze(model), "fp32", head=dataset.task.head))
    entry = tflite.describe(path, id="teacher_fp32", role="teacher", steps=[], shipped=False)
    return Artifact.seal(out_dir, {"models": [entry], **facts, "val": evaluate(make_predict(model), dataset.val)})
