"""Let the weights of each layer share few values while the student goes on learning from the teacher."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd import _keras, kernels, sparsity_choice, tflite
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.prune import Prune
from edgekd.errors import TrainingError
from edgekd.lesson import Lesson
from edgekd.progress import Progress
from edgekd.training import evaluate, make_predict


def cluster_weights(
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
    """Let the kernel of every convolution and dense layer take ``num_clusters`` values at most (Han et al. 2016).

    Centroids start by k-means++; in each step every weight is its nearest centroid, and both are trained. Depthwise
    kernels stay as they are: they are few, and tfmot leaves them alone. So do kernels without more weights than that,
    and protected layers.

    Args:
        data: images; the calibration images, too, for the INT8 files whose bytes are compared.
        logits: the teacher's, stored for the views of the distillation; None where its whole weight is on the labels.
        student: to be clustered.
        config: how many values, and the training.
        out_dir: where ``model/`` (Keras) goes.
        distillation: losses and views; see :func:`edgekd.objectives.while_pruning`.
        seed: of order and views.
        work: folder of the checkpoint.
        progress: where the task is shown.

    Raises:
        RecipeError: as :func:`edgekd.sparsity_choice.prunable`.
        TrainingError: the loss is not a number, or a kernel has more values than asked for.
        ConversionError: the student cannot be had in INT8.
    """
    lesson = Lesson.of(data, logits, distillation, seed=seed, work=work, progress=progress)
    _keras.reset(seed)
    model = _keras.load_model(student.path / "model")
    before = _bytes(model, lesson)
    chosen = sparsity_choice.prunable(model, config.protected_layers)
    wrapped = _wrap(model, chosen, config.num_clusters)
    history = lesson.give(wrapped, config.training, "student, clustering")
    clustered = _keras.tfmot().clustering.keras.strip_clustering(wrapped)
    values = kernels.distinct_values(clustered, chosen)
    for name, count in values.items():
        if count > config.num_clusters:
            raise TrainingError(f'layer "{name}" has {count} values, not prune.num_clusters = {config.num_clusters}')
    _keras.save_model(clustered, out_dir / "model")
    facts = {
        "history": history,
        "num_clusters": config.num_clusters,
        "distinct_values": values,
        "int8": {"before": before, "after": _bytes(clustered, lesson)},
        "val": evaluate(make_predict(clustered), lesson.dataset.val),
    }
    return Artifact.seal(out_dir, {**facts, "summary": _summary(facts)})


def _wrap(model: Any, names: Sequence[str], num_clusters: int) -> Any:
    """Put tfmot's wrapper around every layer that is clustered; the others stay as they are, weights and all."""
    clustering = _keras.tfmot().clustering.keras
    chosen = {name for name in names if model.get_layer(name).kernel.shape.num_elements() > num_clusters}

    def wrapped(layer: Any) -> Any:
        if layer.name not in chosen:
            return layer
        init = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
        return clustering.cluster_weights(layer, number_of_clusters=num_clusters, cluster_centroids_init=init)

    return _keras.tf_keras.models.clone_model(model, clone_function=wrapped)


def _bytes(model: Any, lesson: Lesson) -> dict[str, int]:
    """Of the INT8 file of a model after training, raw and packed."""
    dataset = lesson.dataset
    content = tflite.convert(tflite.freeze(model), "int8", dataset.calibration_images, dataset.task.head)
    return {"tflite_bytes": len(content), "gzip_bytes": len(gzip.compress(content, compresslevel=9, mtime=0))}


def _summary(facts: dict[str, Any]) -> str:
    before, after = (facts["int8"][when] for when in ("before", "after"))
    raw, packed = (after[name] / before[name] for name in ("tflite_bytes", "gzip_bytes"))
    bought = (
        f"the INT8 file after gzip has {packed:.0%} of its bytes"
        if packed < 1
        else f"it bought nothing: the INT8 file after gzip has {packed:.0%} of its bytes"
    )
    return (
        f"weight clustering: at most {facts['num_clusters']} values in a kernel; {bought}; raw it has {raw:.0%}, as "
        "every weight is still stored as a byte"
    )
