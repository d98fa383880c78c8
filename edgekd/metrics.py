"""How good probabilities are: pure functions of ``probs`` ``(n, K)`` and integer ``labels`` ``(n,)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.statistics import wilson_interval

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]

NUM_ECE_BINS = 15
_TEMPERATURE_BOUNDS = (0.05, 20.0)


def predictions(probs: Floats) -> NDArray[np.int64]:
    """Class of the highest probability; of equal ones the lowest class number."""
    predicted: NDArray[np.int64] = np.argmax(probs, axis=1)
    return predicted


def top1(probs: Floats, labels: Labels) -> float:
    """Share of images whose predicted class is the label."""
    return float(np.mean(predictions(probs) == labels))


def auc(probs: Floats, labels: Labels) -> float:
    """Area under the ROC curve.

    Two classes: of the probability of class 1. More: the mean over the classes of one against the rest, as MedMNIST's
    evaluator has it. Ties count one half (Mann-Whitney).

    Raises:
        ValueError: a class without an image, or nothing but images of it.
    """
    from scipy.stats import rankdata

    num_classes = probs.shape[1]
    areas = []
    for label in [1] if num_classes == 2 else range(num_classes):
        positive = labels == label
        num_positive, num_negative = int(positive.sum()), int((~positive).sum())
        if not num_positive or not num_negative:
            raise ValueError(f"AUC of class {label} needs images of it and of others")
        ranks = rankdata(probs[:, label])
        areas.append((ranks[positive].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))
    return float(np.mean(areas))


def recalls(probs: Floats, labels: Labels) -> NDArray[np.float64]:
    """Recall of each class: the share of its images that are predicted as it. Every class needs an image."""
    predicted = predictions(probs)
    return np.array([np.mean(predicted[labels == label] == label) for label in range(probs.shape[1])])


def ece(probs: Floats, labels: Labels, num_bins: int = NUM_ECE_BINS) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3).

    ``sum_b n_b / n * |accuracy_b - confidence_b|`` over equal-width bins ``(b / B, (b + 1) / B]`` of the highest
    probability.
    """
    confidence = probs.max(axis=1)
    correct = predictions(probs) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    total = 0.0
    for index in range(num_bins):
        members = bins == index
        if members.any():
            total += members.sum() * abs(correct[members].mean() - confidence[members].mean())
    return float(total / len(labels))


def brier(probs: Floats, labels: Labels) -> float:
    """Brier score in its original form: the mean of ``sum_k (p_k - y_k)**2``, in [0, 2] (Brier 1950)."""
    targets = np.eye(probs.shape[1])[labels]
    return float(np.mean(np.sum((probs - targets) ** 2, axis=1)))


def nll(logits: Floats, labels: Labels) -> float:
    """Mean negative log-likelihood of ``softmax(logits)``, in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-np.mean(log_probs[np.arange(len(labels)), labels]))


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """The temperature in [0.05, 20] at which ``softmax(logits / T)`` has the least negative log-likelihood.

    Guo et al. 2017, "On calibration of modern neural networks", section 4.2.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_temperature: nll(logits / np.exp(log_temperature), labels),
        bounds=tuple(np.log(_TEMPERATURE_BOUNDS)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def agreement(first: Floats, second: Floats) -> float:
    """Share of images for which two models predict the same class."""
    return float(np.mean(predictions(first) == predictions(second)))


def evaluate(probs: Floats, labels: Labels, class_names: Sequence[str]) -> dict[str, Any]:
    """All figures of one model on one split, as the report holds them."""
    per_class = []
    for label, (name, recall) in enumerate(zip(class_names, recalls(probs, labels), strict=True)):
        count = int(np.sum(labels == label))
        interval = wilson_interval(round(recall * count), count)
        per_class.append({"name": name, "n": count, "recall": float(recall), "recall_ci95": list(interval)})
    return {
        "top1": top1(probs, labels),
        "auc": auc(probs, labels),
        "macro_recall": float(np.mean([row["recall"] for row in per_class])),
        "per_class": per_class,
        "ece": ece(probs, labels),
        "brier": brier(probs, labels),
        "n": len(labels),
    }
