"""Train the teacher."""

from __future__ import annotations

from pathlib import Path

from edgekd import _keras, losses, tflite
from edgekd.artifact import Artifact
from edgekd.data import Dataset
from edgekd.models import build_teacher
from edgekd.progress import Progress
from edgekd.recipe import Teacher
from edgekd.step import Learner
from edgekd.training import evaluate, fit, make_predict


def teacher(data: Artifact, config: Teacher, out_dir: Path, *, seed: int, work: Path, progress: Progress) -> Artifact:
    """Train a teacher on the labels and keep the epoch with the best val AUC.

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
    )
    history = fit(
        Learner.alone(
            model, lambda batch, logits: losses.on_labels(config.training, batch.targets, logits, batch.weights)
        ),
        dataset,
        training=config.training,
        views=config.views,
        seed=seed,
        work=work,
        progress=progress,
        title="teacher",
    )
    _keras.save_model(model, out_dir / "model")
    path = out_dir / "teacher_fp32.tflite"
    path.write_bytes(tflite.convert(tflite.freeze(model), "fp32"))
    entry = tflite.describe(path, id="teacher_fp32", role="teacher", steps=[], shipped=False)
    return Artifact.seal(
        out_dir, {"models": [entry], "history": history, "val": evaluate(make_predict(model), dataset.val)}
    )
