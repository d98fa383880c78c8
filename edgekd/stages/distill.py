"""Train the student: on the teacher's stored answers, beside the teacher, or alone for comparison."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from edgekd import _keras, losses, meta, objectives, tflite
from edgekd.artifact import Artifact
from edgekd.config.distill import META, Distill
from edgekd.data import Dataset
from edgekd.errors import ModelError
from edgekd.logits_store import LogitsStore
from edgekd.losses import Pair
from edgekd.models import build_student, channels, layer_pairs, with_features
from edgekd.progress import Progress
from edgekd.step import Batch, Learner, gathered
from edgekd.tasks import SOFTMAX
from edgekd.training import evaluate, fit, make_predict, rank
from edgekd.workers import ALONE, Workers

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
    workers: Workers = ALONE,
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
        workers: who share each step.

    Raises:
        ModelError: unknown architecture, weights that cannot be had, layers that cannot be compared.
        RecipeError: training images of which none can be held out for a schedule that is learned.
        TrainingError: the loss is not a number.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    model = build_student(
        config.student,
        image_size=dataset.image_size,
        num_classes=dataset.num_classes,
        width_multiplier=config.width_multiplier,
        weights=config.weights,
        blocks=config.blocks,
    )
    head = dataset.task.head
    alone = teacher is None and logits is None
    soft_targets = None if logits is None else LogitsStore.open(logits.path)
    title = "student alone" if alone else "student"
    pairs: list[Pair] = []
    learned: dict[str, Any] = {}
    if teacher is not None:
        knowing = _keras.load_model(teacher.path / "model")
        learner, pairs = beside_teacher(
            model, knowing, config, num_train=len(dataset.train.labels), seed=seed, head=head
        )
    elif alone:
        learner = on_labels(model, config, head)
    elif config.schedule == META:
        plan = meta.plan(model, dataset, config, seed=seed, head=head)
        learner, learned = plan.learner, {"hooks": plan.hooks, "members": plan.members}
    else:
        learner = on_stored_logits(model, config, head)
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
        workers=workers,
        **learned,
    )
    schedule = {name: history[-1][name] for name in ("temperature", "hard_loss_weight")} if learned else None
    finetuning = None
    if config.finetune_epochs:
        epochs, finetuning = finetune(
            model, dataset, config, seed=seed, work=work / "finetune", progress=progress, workers=workers
        )
        history += epochs
    _keras.save_model(model, out_dir / "model")
    entries = []
    if alone:
        path = out_dir / "student_alone_fp32.tflite"
        steps = ["finetuned"] if finetuning and finetuning["kept"] else []
        path.write_bytes(tflite.convert(tflite.freeze(model), "fp32", head=head))
        entries.append(tflite.describe(path, id="student_alone_fp32", role="student", steps=steps, shipped=False))
    facts = {
        "models": entries,
        "history": history,
        "layer_pairs": [[pair.student, pair.teacher] for pair in pairs],
        "finetuning": finetuning,
        "schedule": schedule,
        "val": evaluate(make_predict(model), dataset.val),
    }
    return Artifact.seal(out_dir, facts)


def on_labels(model: Any, config: Distill, head: str = SOFTMAX) -> Learner:
    """The student alone."""
    return Learner.alone(
        model, lambda batch, logits: losses.on_labels(config.training, batch.targets, logits, batch.weights, head)
    )


def on_stored_logits(model: Any, config: Distill, head: str = SOFTMAX) -> Learner:
    """The teacher's answers come with the batch."""
    return Learner.alone(model, objectives.on_stored_logits(config, head))


def beside_teacher(
    model: Any, teacher: Any, config: Distill, *, num_train: int, seed: int = 0, head: str = SOFTMAX
) -> tuple[Learner, list[Pair]]:
    """The teacher in every step: fixed (live), or learning from the labels and the student (mutual)."""
    pairs = _pairs(model, teacher, config) if losses.feature_losses(config) else []
    student_view = with_features(model, [pair.student for pair in pairs])
    teacher_view = with_features(teacher, [pair.teacher for pair in pairs])
    term = losses.objective(config, losses.Setting(pairs, num_train, seed))
    mutual = config.mode == "mutual"

    def loss(pixels: Any, batch: Batch) -> Any:
        logits, features = gathered(batch, student_view(pixels, True))
        teacher_logits, teacher_features = gathered(batch, teacher_view(pixels, mutual))
        temperature, weight = objectives.course(config, batch)
        see = losses.Signals(
            batch.targets,
            logits,
            teacher_logits,
            temperature,
            weight,
            batch.weights,
            features,
            teacher_features,
            batch.indices,
            batch.step,
            head,
        )
        value = term.function(see)
        if not mutual:
            return value
        # Each learns from the labels and from the other's answer (Zhang et al. 2018, eq. 7); the losses stop the
        # gradient at whoever is the teacher, so that one sum moves both.
        hard = losses.on_labels(config.training, batch.targets, teacher_logits, batch.weights, head)
        return value + hard + losses.on_soft_targets(logits, teacher_logits, temperature, head)

    adapters = [variable for adapter in term.adapters for variable in adapter.trainable_variables]
    variables = [*model.trainable_variables, *adapters, *(teacher.trainable_variables if mutual else [])]
    companions = [*term.adapters, *([teacher] if mutual else [])]
    return Learner(model, loss, variables, companions), pairs


def _pairs(model: Any, teacher: Any, config: Distill) -> list[Pair]:
    names = layer_pairs(model, teacher, config.layer_pairs)
    if not names:
        raise ModelError(
            "student or teacher has no feature maps below the size of its input, so that there is nothing to compare"
        )
    for ours, theirs in names:
        logger.info(f"compares student {ours} with teacher {theirs}")
    return [Pair(ours, theirs, channels(model, ours), channels(teacher, theirs)) for ours, theirs in names]


def finetune(
    model: Any,
    dataset: Dataset,
    config: Distill,
    *,
    seed: int,
    work: Path,
    progress: Progress,
    workers: Workers = ALONE,
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Go on with the labels alone, from ``finetune_learning_rate`` down; kept only where val improves.

    Returns:
        One record per epoch, and what came of it: ``{"kept", "before": {"loss", "top1", "auc"}, "after"}``, on val;
        ``after`` is the best epoch, kept or not.
    """
    before = evaluate(make_predict(model), dataset.val)
    training = dataclasses.replace(
        config.training,
        epochs=config.finetune_epochs,
        learning_rate=config.finetune_learning_rate,
        schedule="cosine",
        warmup_epochs=0.0,
    )
    history = fit(
        on_labels(model, config, dataset.task.head),
        dataset,
        training=training,
        views=config.views,
        seed=seed + 1,
        work=work,
        progress=progress,
        title="student, fine-tuning",
        keep_initial=True,
        workers=workers,
    )
    after = max(({name: row[f"val_{name}"] for name in before} for row in history), key=rank)
    kept = rank(after) > rank(before)
    task = dataset.task
    logger.info(
        f"fine-tuning, on val: AUC {before['auc']:.4f} to {after['auc']:.4f}, {task.accuracy_title} "
        f"{before[task.accuracy]:.4f} to {after[task.accuracy]:.4f}, "
        f"cross-entropy {before['loss']:.4f} to {after['loss']:.4f}: "
        f"{'kept' if kept else 'not kept, the student stays as it was'}"
    )
    return history, {"kept": kept, "before": before, "after": after}
