"""Quantization-aware training: the student learns on with the rounding of INT8 in every step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd import _keras, fake_quant, kernels, metrics, tflite
from edgekd._litert import predict_probs
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.training import Training
from edgekd.data import Dataset
from edgekd.fake_quant import Ranges
from edgekd.lesson import Lesson
from edgekd.progress import Progress
from edgekd.tasks import Task
from edgekd.training import Hooks, evaluate, make_predict


def qat(
    data: Artifact,
    logits: Artifact | None,
    student: Artifact,
    config: Training,
    out_dir: Path,
    *,
    preserve: str,
    distillation: Distill,
    seed: int,
    work: Path,
    progress: Progress,
) -> Artifact:
    """Train the student on as INT8 will compute it, and note the ranges that it was trained within.

    Every range starts at the extremes over the calibration images and follows the batches from there (tfmot's moving
    average, 0.999 a step); the input's stays at 0 and 255. The loss is that of the distillation, on the teacher's
    stored logits. Facts hold ``ranges`` by layer, and on val the figures of the INT8 file that the same student gives
    without this training (``ptq``) and with it (``qat``).

    Args:
        data: images, those for calibration among them.
        logits: the teacher's, stored for the views of the distillation; None where its whole weight is on the labels.
        student: to be trained on.
        config: how long and how fast.
        out_dir: where ``model/`` (Keras) goes: the plain student in floating point, with the weights of the best epoch
            or of the start.
        preserve: what pruning made of the kernels and is to stay: of ``kernels.PRESERVED``.
        distillation: losses and views; see :func:`edgekd.objectives.while_pruning`.
        seed: of order and views.
        work: folder of the checkpoint.
        progress: where the task is shown.

    Raises:
        ModelError: a layer that cannot be trained so; names it.
        ConversionError: the student cannot be had in INT8.
        TrainingError: the loss is not a number.
    """
    lesson = Lesson.of(data, logits, distillation, seed=seed, work=work, progress=progress)
    dataset = lesson.dataset
    _keras.reset(seed)
    model = _keras.load_model(student.path / "model")
    ranges = fake_quant.calibrate(model, dataset.calibration_images)
    wrapped = fake_quant.wrap(model, ranges)
    val = {"float": evaluate(make_predict(model), dataset.val), "ptq": _val_of_int8(model, None, dataset)}
    # What cannot be converted with ranges is found out before the training, not after it.
    tflite.convert(tflite.freeze(model, fake_quant.read_ranges(wrapped)), "int8", head=dataset.task.head)
    # The start is a candidate too: a training that diverges leaves what calibration gave.
    title, hooks = "student, quantization-aware", _hooks(wrapped, preserve)
    history = lesson.give(wrapped, config, title, hooks=hooks, keep_initial=True)
    fake_quant.unwrap(wrapped, model)
    trained = fake_quant.read_ranges(wrapped)
    val["qat"] = _val_of_int8(model, trained, dataset)
    _keras.save_model(model, out_dir / "model")
    facts = {
        "history": history,
        "ranges": {name: list(ends) for name, ends in trained.items()},
        "ranges_at_start": {name: list(ranges[name]) for name in trained},
        "preserved": preserve,
        "measured_sparsity": kernels.sparsity(model),
        "val": val,
        "better": is_better(val, dataset.task),
    }
    return Artifact.seal(out_dir, {**facts, "summary": _summary(val, dataset.task)})


def _hooks(wrapped: Any, preserve: str) -> Hooks:
    keep = kernels.keeper(fake_quant.kernels(wrapped), preserve)

    def restore() -> None:
        keep()
        fake_quant.pin_input(wrapped)

    return Hooks(before_step=restore, before_evaluation=restore)


def _val_of_int8(model: Any, ranges: Ranges | None, dataset: Dataset) -> dict[str, float]:
    """Accuracy and AUC of the file on val: of a calibration after training, or with the ranges of the training."""
    task = dataset.task
    content = tflite.convert(tflite.freeze(model, ranges), "int8", dataset.calibration_images, task.head)
    probs = predict_probs(content, dataset.val.images, head=task.head)
    labels = dataset.val.labels
    return {task.accuracy: metrics.accuracy(probs, labels), "auc": metrics.auc(probs, labels)}


def _summary(val: Mapping[str, Mapping[str, float]], task: Task) -> str:
    auc, accuracy = ([f"{val[of][name]:.4f}" for of in ("float", "ptq", "qat")] for name in ("auc", task.accuracy))
    text = (
        "quantization-aware training, on val, of the student in floating point, in INT8 by calibration alone, and in "
        f"INT8 after this training: AUC {', '.join(auc)}, {task.accuracy_title} {', '.join(accuracy)}"
    )
    if is_better(val, task):
        return text
    return f'{text}; it is not better than calibration alone, so that quantize.method = "ptq" would do'


def is_better(val: Mapping[str, Mapping[str, float]], task: Task) -> bool:
    """Whether the training brought anything on val: a higher AUC, or the same and a higher accuracy."""
    trained, calibrated = ((val[of]["auc"], val[of][task.accuracy]) for of in ("qat", "ptq"))
    return trained > calibrated
