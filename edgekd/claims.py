"""What is said about a shipped model, each with the verdict that the data gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import statistics
from edgekd.artifact import Artifact
from edgekd.config.verify import Verify
from edgekd.statistics import Interval
from edgekd.tasks import Floats, Labels, Task
from edgekd.verification import bootstrap

FLOAT, ALONE, DISTILLED = "student_fp32", "student_alone_fp32", "distilled_fp32"
INTEGER = "student_int8_io"
"""The same network as the shipped one with int8 in and out, and without its softmax."""


def teacher_of(names: Iterable[str]) -> str:
    """The teacher among the names of models: ``teacher_fp32``, or the one that came as a file."""
    return next((name for name in names if name.startswith("teacher_")), "no teacher")


def shipped_of(models: Sequence[Artifact]) -> Mapping[str, Any]:
    """The entry of the model that goes out, among those of all models: its name differs, ``shipped`` does not."""
    (entry,) = [row for model in models for row in model.facts["models"] if row["shipped"]]
    found: Mapping[str, Any] = entry
    return found


def claims(
    shipped: str, probs: Mapping[str, Floats], labels: Labels, sizes: Mapping[str, int], config: Verify, task: Task
) -> list[dict[str, Any]]:
    """Compare the shipped model with its float form, the teacher and the student alone, and distillation with the last.

    What distillation brought is read from the student before pruning, where that was measured.

    Args:
        shipped: name of the shipped model.
        probs: of each model on the test images, shape ``(n, K)``.
        labels: shape ``(n,)``, or ``(n, K)`` where an image may have several.
        sizes: bytes of each model's file.
        config: the margin, stated beforehand.
        task: what the labels mean.

    Returns:
        ``{"id", "text", "verdict", "estimate", "ci95", "margin", "n"}`` each; of accuracies and AUCs also a paired
        ``bootstrap_ci95``, the ``smallest_margin`` that so many images could show, and ``mcnemar_p`` or ``delong_p``.
    """
    right = {name: task.decisions(rows) == labels for name, rows in probs.items()}
    margin = config.margin_pp / 100
    made = []
    teacher = teacher_of(probs)
    alone = "the student trained alone for the epochs of the distillation"
    for other, title in ((FLOAT, "its float form"), (teacher, "the teacher"), (ALONE, alone)):
        if other not in probs:
            continue
        difference = accuracy_difference(right[shipped], right[other])
        verdict = statistics.no_loss_verdict(difference, margin)
        more: dict[str, Any] = {}
        if task.several:
            smallest = statistics.smallest_margin_of(difference)
        else:
            smallest = statistics.smallest_margin(right[shipped], right[other])
            more["mcnemar_p"] = statistics.mcnemar_p(right[shipped], right[other])
        text = (
            f"{shipped} loses no more than {config.margin_pp:g} points of {task.accuracy_title} against {title}: "
            f"{_points(difference)}, n = {len(labels)} test images; the smallest margin that these could show is "
            f"{100 * smallest:.1f} points"
        )
        more |= {"bootstrap_ci95": _bootstrap(right[shipped], right[other]), "smallest_margin": smallest}
        made.append({**_claim(f"accuracy_vs_{other}", text, verdict, difference, margin, len(labels)), **more})
        areas = _auc_difference(probs[shipped], probs[other], labels, task)
        if areas is not None:
            smallest = statistics.smallest_margin_of(areas)
            text = (
                f"{shipped} loses no more than {margin:g} of AUC against {title}: {_signed(areas)}, n = {len(labels)}; "
                f"the smallest margin that these could show is {smallest:.4f}"
            )
            verdict = statistics.no_loss_verdict(areas, margin)
            more = {"delong_p": statistics.normal_p(areas), "smallest_margin": smallest}
            more["bootstrap_ci95"] = _bootstrap_auc(probs[shipped], probs[other], labels)
            made.append({**_claim(f"auc_vs_{other}", text, verdict, areas, margin, len(labels)), **more})
    if ALONE in probs:
        made += _gains(probs, right, labels, task)
    for other in (teacher, ALONE, FLOAT):
        if other in sizes:
            ratio = sizes[other] / sizes[shipped]
            sizes_text = f"{sizes[shipped]:,} against {sizes[other]:,} bytes"
            text = f"{shipped} is {ratio:.1f} times smaller than {other}: {sizes_text}"
            verdict = "shown" if ratio > 1 else "refuted"
            made.append(_claim(f"size_vs_{other}", text, verdict, Interval(ratio, ratio, ratio), 1.0, None))
    return made


def _gains(
    probs: Mapping[str, Floats], right: Mapping[str, NDArray[np.bool_]], labels: Labels, task: Task
) -> list[dict[str, Any]]:
    """What distillation brought; of labels, most of which are absent from most images, by AUC too."""
    distilled, student = (DISTILLED, "the student, before pruning,") if DISTILLED in probs else (FLOAT, "the student")
    what = "than the same student trained alone for as many epochs"
    gain = accuracy_difference(right[distilled], right[ALONE])
    text = f"distillation made {student} more accurate {what}: {_points(gain)}, n = {len(labels)}{_plainly(gain)}"
    more: dict[str, Any] = {"bootstrap_ci95": _bootstrap(right[distilled], right[ALONE])}
    if not task.several:
        more["mcnemar_p"] = statistics.mcnemar_p(right[distilled], right[ALONE])
    made = [{**_claim("distillation_gain", text, statistics.gain_verdict(gain), gain, 0.0, len(labels)), **more}]
    if task.several:
        areas = statistics.macro_auc_difference(probs[distilled], probs[ALONE], labels)
        text = f"distillation gave {student} a higher AUC {what}: {_signed(areas)}, n = {len(labels)}"
        made.append(_claim("distillation_gain_auc", text, statistics.gain_verdict(areas), areas, 0.0, len(labels)))
    return made


def _plainly(gain: Interval) -> str:
    """What no reader should have to work out from a verdict on a gain: that there was a loss."""
    if gain.high < 0:
        return "; it made the student worse"
    return "; alone it was the better one here, within chance" if gain.estimate < 0 else ""


def accuracy_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Interval:
    """Of images that are right or wrong, or of the share of each image's labels that are right."""
    if first.ndim == 2:
        return statistics.paired_mean_difference(first.mean(axis=1), second.mean(axis=1))
    return statistics.paired_difference(first, second)


def _auc_difference(first: Floats, second: Floats, labels: Labels, task: Task) -> Interval | None:
    """Of two classes, or the mean over more of them or over labels; DeLong's variance needs two images of each."""
    if first.shape[1] == 2 and not task.several:
        enough = np.bincount(labels, minlength=2).min() >= 2
        return statistics.delong_difference(first[:, 1], second[:, 1], labels) if enough else None
    there = _by_label(labels, first.shape[1])
    counts = there.sum(axis=0)
    enough = min(counts.min(), len(labels) - counts.max()) >= 2
    return statistics.macro_auc_difference(first, second, there) if enough else None


def _by_label(labels: Labels, num_classes: int) -> Labels:
    """0 or 1 for each class or label, shape ``(n, K)``."""
    return labels if labels.ndim == 2 else np.eye(num_classes, dtype=np.int64)[labels]


def _bootstrap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> list[float]:
    differences = (first.astype(float) - second).reshape(len(first), -1).mean(axis=1)
    return list(bootstrap.mean_interval(differences))


def _bootstrap_auc(first: Floats, second: Floats, labels: Labels) -> list[float]:
    """Each class keeps its number of images; where an image may have several labels, all are drawn from together."""
    if labels.ndim == 2:
        return list(bootstrap.auc_interval(first, second, labels, np.zeros(len(labels), np.int64)))
    columns = slice(1, 2) if first.shape[1] == 2 else slice(None)
    there = _by_label(labels, first.shape[1])[:, columns]
    return list(bootstrap.auc_interval(first[:, columns], second[:, columns], there, labels))


def _claim(id: str, text: str, verdict: str, interval: Interval, margin: float, n: int | None) -> dict[str, Any]:
    return {
        "id": id,
        "text": text,
        "verdict": verdict,
        "estimate": interval.estimate,
        "ci95": [interval.low, interval.high],
        "margin": margin,
        "n": n,
    }


def _points(difference: Interval) -> str:
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.estimate:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"


def _signed(difference: Interval) -> str:
    return f"{difference.estimate:+.4f} (95 % interval {difference.low:+.4f} to {difference.high:+.4f})"
