"""Prune each layer of the student alone, little and much, and see what val loses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd import _keras, channel_choice, curves, objectives, sparsity_choice
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.sensitivity import Sensitivity
from edgekd.config.training import Training
from edgekd.curves import Curve
from edgekd.data import Dataset, Split
from edgekd.logits_store import LogitsStore
from edgekd.progress import Progress

NUM_NAMED = 3


def weight_sensitivity(
    data: Artifact,
    student: Artifact,
    config: Sensitivity,
    out_dir: Path,
    *,
    protected_layers: Sequence[str],
    subset_seed: int,
    progress: Progress,
) -> Artifact:
    """The curve of each convolution and dense layer: val against the fraction of its weights that are zero.

    The loss is that on the labels. It needs no teacher, whose answers are not stored for val, and it is what the gates
    on val look at.

    Args:
        data: images; val is looked at.
        student: as distilled.
        config: what is tried.
        out_dir: where the artifact goes.
        protected_layers: get no curve.
        subset_seed: of the choice of images.
        progress: where the task is shown.

    Returns:
        Facts: ``kind``, ``val_indices``, ``num_images``, ``grid``, ``baseline`` (loss, accuracy and AUC of the student
        as it is), ``layers`` (:meth:`edgekd.curves.Curve.table`, in the model's order).

    Raises:
        RecipeError: a protected layer that does not exist, or images that val does not have.
    """
    split, indices = _images(data, config, subset_seed)
    model = _keras.load_model(student.path / "model")
    layers = sparsity_choice.prunable(model, protected_layers)
    total = (1 + len(layers) * len(set(config.sparsities))) * len(indices)
    with progress.task("sensitivity to zeros", total) as task:
        found = curves.of_weights(model, layers, split, config.sparsities, task)
    return _seal(out_dir, "weights", found, indices, config.sparsities)


def channel_sensitivity(
    data: Artifact,
    logits: Artifact | None,
    student: Artifact,
    config: Sensitivity,
    out_dir: Path,
    *,
    protected_layers: Sequence[str],
    multiple: int,
    distillation: Distill,
    training: Training,
    subset_seed: int,
    seed: int,
    progress: Progress,
) -> Artifact:
    """The curve of each group of channels: val against the fraction of its channels that are gone.

    The loss is that on the labels, as in :func:`weight_sensitivity`. Which channels go first within a group is decided
    as by the criterion ``taylor``, on the views of the training images with the distillation loss.

    Args:
        data: images; val is looked at, and train for the scores.
        logits: the teacher's, stored for the views of the distillation; None where its whole weight is on the labels.
        student: as distilled.
        config: what is tried.
        out_dir: where the artifact goes.
        protected_layers: keep their channels and get no curve.
        multiple: groups keep all channels or a multiple of this.
        distillation: losses and views.
        training: batch size and class weights of pruning.
        subset_seed: of the choice of images.
        seed: of the views.
        progress: where the task is shown.

    Returns:
        Facts as of :func:`weight_sensitivity`.

    Raises:
        ModelError: a layer that cannot be followed.
        RecipeError: as :func:`weight_sensitivity`.
        TrainingError: a loss that is not a number.
    """
    split, indices = _images(data, config, subset_seed)
    dataset = Dataset.open(data)
    structure = channel_choice.follow(_keras.load_model(student.path / "model"), protected_layers)
    channel_choice.check_removable(structure, multiple)
    soft_targets = None if logits is None else LogitsStore.open(logits.path)
    batches = channel_choice.training_batches(dataset, training, distillation.views, soft_targets, seed, 0)
    objective = objectives.while_pruning(distillation, dataset.task.head)
    scores = channel_choice.scores(structure, "sensitivity", objective, batches)
    grid = config.channel_fractions
    points = sum(len(curves.channel_counts(group, grid, multiple)) for group in structure.prunable)
    with progress.task("sensitivity to removed channels", (1 + points) * len(indices)) as task:
        found = curves.of_channels(structure, scores, split, grid, multiple, task)
    return _seal(out_dir, "channels", found, indices, grid)


def check(config: Sensitivity, data: Artifact, subset_seed: int) -> None:
    """Raise RecipeError before anything is trained where val does not have the images that are asked for."""
    curves.images_of(config, Dataset.open(data).val, subset_seed)


def _images(data: Artifact, config: Sensitivity, seed: int) -> tuple[Split, list[int]]:
    val = Dataset.open(data).val
    indices = curves.images_of(config, val, seed)
    return curves.part(val, indices), indices.tolist()


def _seal(out_dir: Path, kind: str, found: Sequence[Curve], indices: Sequence[int], grid: Sequence[float]) -> Artifact:
    facts: dict[str, Any] = {
        "kind": kind,
        "val_indices": list(indices),
        "num_images": len(indices),
        "grid": sorted(set(grid)),
        "baseline": {name: value for name, value in found[0].points[0].items() if name not in ("removed", "fraction")},
        "layers": [curve.table() for curve in found],
    }
    return Artifact.seal(out_dir, {**facts, "summary": _summary(kind, found, len(indices))})


def _summary(kind: str, found: Sequence[Curve], num_images: int) -> str:
    what = {"weights": "zeros", "channels": "removed channels"}[kind]
    names = ", ".join(f"{curve.layer} ({curve.mean_rise:+.3f})" for curve in curves.ranked(found)[:NUM_NAMED])
    return (
        f"sensitivity to {what}, {len(found)} layers pruned one at a time, on {num_images} images of val: most "
        f"sensitive {names}; in brackets, what the loss rises by in the mean over what was tried"
    )
