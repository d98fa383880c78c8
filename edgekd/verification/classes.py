"""Class by class: what compression did to the recall, and what a threshold chosen on val gives on test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import statistics
from edgekd.tasks import Floats, Labels, Task

SIGNIFICANT = 0.05

Split = tuple[Floats, Labels]


def of_class(labels: Labels, label: int) -> NDArray[np.bool_]:
    """Images of a class, or with a label, shape ``(n,)``."""
    return np.asarray(labels[:, label] == 1 if labels.ndim == 2 else labels == label)


def recall_changes(
    before: Floats, after: Floats, labels: Labels, class_names: Sequence[str], task: Task
) -> list[dict[str, Any]]:
    """Paired difference of the recall of each class, on its images.

    The interval is Tango's, the p that of McNemar's exact test, adjusted over the classes by Holm's method: so "lost"
    and "gained" are said of any class with a chance of 5 % at most where nothing changed.

    Args:
        before, after: probabilities of two models on the same images, shape ``(n, K)``.
        labels: shape ``(n,)``, or ``(n, K)`` where an image may have several.
        class_names: in the order of the outputs.
        task: what the labels mean.

    Returns:
        ``{"name", "n", "before", "after", "estimate", "ci95", "p", "p_holm", "verdict"}`` of each class.
    """
    rows: list[dict[str, Any]] = []
    for label, name in enumerate(class_names):
        there = of_class(labels, label)
        found = [_decided(probs, label, task)[there] for probs in (after, before)]
        difference = statistics.paired_difference(*found)
        rows.append(
            {
                **{"name": name, "n": int(there.sum())},
                **{"before": float(found[1].mean()), "after": float(found[0].mean())},
                **{"estimate": difference.estimate, "ci95": [difference.low, difference.high]},
                "p": statistics.mcnemar_p(*found),
            }
        )
    for row, adjusted in zip(rows, statistics.holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
        row["verdict"] = verdict(row["estimate"], adjusted)
    return rows


def verdict(difference: float, p_holm: float) -> str:
    """In a word, what a paired test of a difference says."""
    if p_holm >= SIGNIFICANT:
        return "no difference shown"
    return "lost" if difference < 0 else "gained"


def operating_points(
    val: Split, test: Split, class_names: Sequence[str], task: Task, *, specificity: float, coverage: float
) -> dict[str, Any]:
    """Thresholds chosen on val, and what they give on test.

    Args:
        val, test: probabilities ``(n, K)`` and labels.
        class_names: in the order of the outputs.
        task: what the labels mean.
        specificity: that each class's threshold keeps on val.
        coverage: share of val that is answered, in (0, 1].

    Returns:
        ``classes``: for each ``{"name", "threshold", "val_sensitivity", "val_specificity", "sensitivity",
        "sensitivity_ci95", "specificity", "specificity_ci95", "kept"}``; an image counts as of the class where its
        probability is above the threshold, and ``kept`` is False where the interval on test lies below the specificity
        that was asked for. ``abstention``: of :func:`abstention`, or None where an image may have several labels.
    """
    rows = []
    for label, name in enumerate(class_names):
        (val_probs, val_labels), (probs, labels) = val, test
        on_val, there = of_class(val_labels, label), of_class(labels, label)
        threshold = threshold_at(val_probs[~on_val, label], specificity)
        marked_val, marked = val_probs[:, label] > threshold, probs[:, label] > threshold
        rows.append(
            {
                **{"name": name, "threshold": threshold},
                **{"val_sensitivity": float(marked_val[on_val].mean())},
                **{"val_specificity": float(1 - marked_val[~on_val].mean())},
                **_share("sensitivity", marked[there]),
                **_share("specificity", ~marked[~there]),
            }
        )
        rows[-1]["kept"] = rows[-1]["specificity_ci95"][1] >= specificity
    return {"classes": rows, "abstention": None if task.several else abstention(val, test, coverage)}


def threshold_at(scores: Floats, specificity: float) -> float:
    """The smallest of the scores such that at least so large a share of them is not above it: the nearest rank.

    Args:
        scores: of images without the class, shape ``(n,)``.
        specificity: in (0, 1).
    """
    return float(np.sort(scores)[math.ceil(specificity * len(scores) - 1e-9) - 1])


def abstention(val: Split, test: Split, coverage: float) -> dict[str, Any]:
    """A level of confidence below which the model would not answer, chosen on val.

    Args:
        val, test: probabilities ``(n, K)`` and class numbers ``(n,)``.
        coverage: the level is the largest that at least this share of val reaches.

    Returns:
        ``level``; ``val_coverage``; on test ``coverage``, ``num_answered``, ``accuracy`` of these with its interval,
        and ``accuracy_withheld`` (None where no image is on that side).
    """
    confidences = np.sort(val[0].max(axis=1))[::-1]
    level = float(confidences[math.ceil(coverage * len(confidences) - 1e-9) - 1])
    probs, labels = test
    answered, right = probs.max(axis=1) >= level, np.argmax(probs, axis=1) == labels
    return {
        "level": level,
        "val_coverage": float(np.mean(confidences >= level)),
        "coverage": float(np.mean(answered)),
        "num_answered": int(answered.sum()),
        **(_share("accuracy", right[answered]) if answered.any() else {"accuracy": None, "accuracy_ci95": None}),
        "accuracy_withheld": float(right[~answered].mean()) if not answered.all() else None,
    }


def _decided(probs: Floats, label: int, task: Task) -> NDArray[np.bool_]:
    decided = task.decisions(probs)
    return np.asarray(decided[:, label] if task.several else decided == label)


def _share(name: str, right: NDArray[np.bool_]) -> Mapping[str, Any]:
    interval = statistics.wilson_interval(int(right.sum()), len(right))
    return {name: float(right.mean()), f"{name}_ci95": list(interval)}
