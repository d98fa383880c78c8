"""Sensitivity: what val loses when one layer alone is pruned, little or much.

The weights of one model are changed in place and put back, so that its graph is traced once for all points. Nothing is
trained in between: a curve ranks layers, and says little of what is left after training on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import channels
from edgekd.config.sensitivity import Sensitivity
from edgekd.data import Split
from edgekd.data.prepare import calibration_indices
from edgekd.errors import RecipeError, TrainingError
from edgekd.progress import Task
from edgekd.training import evaluate, make_predict

MAX_IMAGES = 1024


@dataclass(frozen=True)
class Curve:
    """One layer, or group of layers whose channels go together.

    Attributes:
        layer: its name; of a group that of :class:`edgekd.channels.Group`.
        size: weights of its kernel, or channels.
        points: ``{"removed", "fraction", "loss", "auc"}`` and the accuracy by its name for the task, each measured with
            that layer alone pruned; ascending, the first with nothing removed.
    """

    layer: str
    size: int
    points: tuple[Mapping[str, float], ...]

    @property
    def mean_rise(self) -> float:
        """What the loss rises by in the mean over the fractions tried: ``1 / f_n * integral of (loss(f) - loss(0))``.

        By the trapezoidal rule, in units of the loss.
        """
        fractions, losses = (np.array([point[name] for point in self.points]) for name in ("fraction", "loss"))
        return float(np.trapezoid(losses - losses[0], fractions) / fractions[-1])

    def table(self) -> dict[str, Any]:
        """As plain values, for :func:`read`."""
        return {**asdict(self), "points": [dict(point) for point in self.points], "mean_rise": self.mean_rise}


def read(rows: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """The inverse of :meth:`Curve.table`."""
    return [Curve(row["layer"], row["size"], tuple(row["points"])) for row in rows]


def images_of(config: Sensitivity, val: Split, seed: int) -> NDArray[np.int64]:
    """Choose the images of val that are looked at; sorted indices.

    Classes count alike as far as val has images of them, because compression hits the rare ones first.

    Raises:
        RecipeError: more images than val has, or too few for each class to have one.
    """
    num_val = len(val.labels)
    if config.num_images > num_val:
        raise RecipeError(
            f"sensitivity.num_images = {config.num_images}: val has {num_val} images; allowed: at most these, or 0 "
            f"(all of them, or {MAX_IMAGES:,} where there are more)"
        )
    count = config.num_images or min(num_val, MAX_IMAGES)
    indices = np.arange(num_val) if count == num_val else calibration_indices(val.labels, count, seed)
    found = val.labels[indices]
    # AUC needs images of each class, and others.
    present = (found if found.ndim == 2 else np.eye(val.num_classes, dtype=np.int64)[found]).mean(axis=0)
    if ((present == 0) | (present == 1)).any():
        raise RecipeError(
            f"sensitivity.num_images = {config.num_images}: {count} images are too few to have one of each of the "
            f"{val.num_classes} classes; raise it"
        )
    return indices


def part(split: Split, indices: NDArray[np.integer]) -> Split:
    """Some images of a split."""
    return Split(split.images[indices], split.labels[indices], split.num_classes, split.task)


def of_weights(
    model: Any, layers: Sequence[str], split: Split, sparsities: Sequence[float], task: Task | None = None
) -> list[Curve]:
    """Set the smallest weights of one kernel at a time to zero, ``round(sparsity * size)`` of them.

    Args:
        model: gets its weights back.
        layers: names of those with a ``kernel``.
        split: images and labels.
        sparsities: in (0, 1), in any order.
        task: where the images are counted.

    Raises:
        TrainingError: a loss that is not a number.
    """
    measure = _Measure(model, split, task)
    whole = measure(0, 1)
    found = []
    for name in layers:
        kernel = model.get_layer(name).kernel
        before = kernel.numpy()
        order = np.argsort(np.abs(before), axis=None, kind="stable")
        # A layer without any weight would have nothing left to train on.
        counts = sorted({min(round(sparsity * before.size), before.size - 1) for sparsity in sparsities} - {0})
        points = [whole]
        for count in counts:
            pruned = before.copy()
            pruned.reshape(-1)[order[:count]] = 0
            kernel.assign(pruned)
            points.append(measure(count, before.size))
        kernel.assign(before)
        if counts:
            found.append(Curve(name, before.size, tuple(points)))
    return found


def of_channels(
    structure: channels.Structure,
    scores: channels.Scores,
    split: Split,
    fractions: Sequence[float],
    multiple: int,
    task: Task | None = None,
) -> list[Curve]:
    """Set the lowest channels of one group at a time to zero, which is what their removal does to the model.

    Args:
        structure: its model gets its weights back.
        scores: which channels of a group go first.
        split: images and labels.
        fractions: in (0, 1), in any order, each rounded down to an allowed number of channels; the largest that is
            allowed is added.
        multiple: groups keep all channels or a multiple of this. A group that can lose none has no curve.
        task: where the images are counted.

    Raises:
        TrainingError: a loss that is not a number.
        ModelError: unusable scores.
    """
    model = structure.model
    before = model.get_weights()
    measure = _Measure(model, split, task)
    whole = measure(0, 1)
    found = []
    for group in structure.prunable:
        points = [whole]
        for kept in channel_counts(group, fractions, multiple):
            plan = channels.lowest(structure, scores, {group.name: kept})
            model.set_weights(channels.zeroed_weights(structure, plan))
            points.append(measure(len(group) - kept, len(group)))
            model.set_weights(before)
        if len(points) > 1:
            found.append(Curve(group.name, len(group), tuple(points)))
    return found


def channel_counts(group: channels.Group, fractions: Sequence[float], multiple: int) -> list[int]:
    """The numbers of channels to be kept that are tried on a group, the largest first; all of them is none of these."""
    fewest = channels.counts(group, multiple, multiple)[-1]
    tried = {channels.count_at(group, fraction, multiple, multiple) for fraction in fractions} | {fewest}
    return sorted(tried - {len(group)}, reverse=True)


def losses(curves: Sequence[Curve]) -> dict[str, list[tuple[float, float]]]:
    """Pairs of fraction and loss by layer, as :func:`edgekd.channels.by_curves` takes them."""
    return {curve.layer: [(point["fraction"], point["loss"]) for point in curve.points] for curve in curves}


def ranked(curves: Sequence[Curve]) -> list[Curve]:
    """The most sensitive first, by :attr:`Curve.mean_rise`."""
    return sorted(curves, key=lambda curve: -curve.mean_rise)


class _Measure:
    """Val of the model as it is now; its graph is traced once."""

    def __init__(self, model: Any, split: Split, task: Task | None):
        self.predict, self.split, self.task = make_predict(model), split, task or Task()

    def __call__(self, removed: int, size: int) -> dict[str, float]:
        score = evaluate(self.predict, self.split)
        if not math.isfinite(score["loss"]):
            raise TrainingError(f"sensitivity: the loss of the student on val is {score['loss']}; train it anew")
        self.task.advance(len(self.split.labels))
        return {"removed": removed, "fraction": removed / size, **score}
