"""How good probabilities are: pure functions of ``probs`` ``(n, K)`` and ``labels``.

Labels are class numbers ``(n,)``, or of a multi-label task 0 or 1 for each label, ``(n, K)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.statistics import wilson_interval
from edgekd.tasks import MULTI_CLASS, MULTI_LABEL, ORDINAL, Floats, Labels, Task

NUM_ECE_BINS = 15
_TEMPERATURE_BOUNDS = (0.05, 20.0)


def predictions(probs: Floats) -> NDArray[np.int64]:
    """Class of the highest probability; of equal ones the lowest class number."""
    predicted: NDArray[np.int64] = np.argmax(probs, axis=1)
    return predicted


def top1(probs: Floats, labels: Labels) -> float:
    """Share of images whose predicted class is the label."""
    return float(np.mean(predictions(probs) == labels))


def label_accuracy(probs: Floats, labels: Labels) -> float:
    """Multi-label: the mean over the labels of the accuracy at 1/2, as MedMNIST's evaluator has it."""
    return float(np.mean(MULTI_LABEL.decisions(probs) == labels))


def accuracy(probs: Floats, labels: Labels) -> float:
    """What MedMNIST calls ACC: :func:`top1`, or :func:`label_accuracy` of labels."""
    return label_accuracy(probs, labels) if labels.ndim == 2 else top1(probs, labels)


def mae(probs: Floats, labels: Labels) -> float:
    """Ordinal: how many grades the predicted class is off, in the mean."""
    return float(np.mean(np.abs(predictions(probs) - labels)))


def quadratic_kappa(probs: Floats, labels: Labels) -> float:
    """Ordinal: Cohen's kappa with quadratic weights, of the predicted class against the label (Cohen 1968).

    ``1 - sum (i - j)**2 O_ij / sum (i - j)**2 E_ij`` with ``O`` the confusion matrix and ``E`` that of independent
    answers with the same frequencies. Labels of one class alone, all predicted right, are 1.
    """
    predicted, grades = predictions(probs), np.arange(probs.shape[1])
    observed = float(np.mean(np.square(predicted - labels)))
    shares = [np.bincount(values, minlength=len(grades)) / len(labels) for values in (labels, predicted)]
    expected = float(shares[0] @ np.square(grades[:, None] - grades) @ shares[1])
    return 1.0 - observed / expected if expected else 1.0


def aucs(probs: Floats, labels: Labels) -> NDArray[np.float64]:
    """:func:`auc` of each class against the rest, or of each label; shape ``(K,)``."""
    return np.array([_area(probs, labels, label) for label in range(probs.shape[1])])


def auc(probs: Floats, labels: Labels) -> float:
    """Area under the ROC curve. Ties count one half (Mann-Whitney).

    Two classes: of the probability of class 1. More, or labels: the mean over them, each against the rest, as
    MedMNIST's evaluator has it, of ordinal classes too.

    Raises:
        ValueError: a class without an image, or nothing but images of it.
    """
    if labels.ndim == 1 and probs.shape[1] == 2:
        return _area(probs, labels, 1)
    return float(np.mean(aucs(probs, labels)))


def _area(probs: Floats, labels: Labels, label: int) -> float:
    from scipy.stats import rankdata

    positive = labels[:, label] == 1 if labels.ndim == 2 else labels == label
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        raise ValueError(f"AUC of class {label} needs images of it and of others")
    ranks = rankdata(probs[:, label])
    return float((ranks[positive].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def recalls(probs: Floats, labels: Labels) -> NDArray[np.float64]:
    """Recall of each class or label: the share of its images that are predicted as it. Each needs an image."""
    if labels.ndim == 2:
        return np.asarray((MULTI_LABEL.decisions(probs) & (labels == 1)).sum(axis=0) / labels.sum(axis=0))
    predicted = predictions(probs)
    return np.array([np.mean(predicted[labels == label] == label) for label in range(probs.shape[1])])


def specificities(probs: Floats, labels: Labels) -> NDArray[np.float64]:
    """Specificity of each class or label: the share of the other images that are not predicted as it."""
    if labels.ndim == 2:
        absent = labels == 0
        return np.asarray((~MULTI_LABEL.decisions(probs) & absent).sum(axis=0) / absent.sum(axis=0))
    predicted = predictions(probs)
    return np.array([np.mean(predicted[labels != label] != label) for label in range(probs.shape[1])])


def ece(probs: Floats, labels: Labels, num_bins: int = NUM_ECE_BINS) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3).

    ``sum_b n_b / n * |accuracy_b - confidence_b|`` over equal-width bins ``(b / B, (b + 1) / B]`` of the highest
    probability. Of labels: the same of every label's probability against how often it is there, in the mean over the
    labels (Nixon et al. 2019, "Measuring calibration in deep learning", section 4.1).
    """
    if labels.ndim == 2:
        columns = zip(probs.T, labels.T, strict=True)
        return float(np.mean([_binned_error(scores, present == 1, num_bins) for scores, present in columns]))
    return _binned_error(probs.max(axis=1), predictions(probs) == labels, num_bins)


def _binned_error(confidence: Floats, correct: NDArray[np.bool_], num_bins: int) -> float:
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    total = 0.0
    for index in range(num_bins):
        members = bins == index
        if members.any():
            total += members.sum() * abs(correct[members].mean() - confidence[members].mean())
    return float(total / len(correct))


def brier(probs: Floats, labels: Labels) -> float:
    """Brier score in its original form: the mean of ``sum_k (p_k - y_k)**2``, in [0, 2] (Brier 1950).

    Of labels: the mean of ``(p_k - y_k)**2`` over images and labels, in [0, 1].
    """
    if labels.ndim == 2:
        return float(np.mean((probs - labels) ** 2))
    targets = np.eye(probs.shape[1])[labels]
    return float(np.mean(np.sum((probs - targets) ** 2, axis=1)))


def nll(logits: Floats, labels: Labels) -> float:
    """Mean negative log-likelihood of ``softmax(logits)``, in nats; of labels that of each ``sigmoid(logit)``."""
    if labels.ndim == 2:
        return float(np.mean(np.logaddexp(0.0, np.where(labels == 1, -1.0, 1.0) * logits.astype(np.float64))))
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-np.mean(log_probs[np.arange(len(labels)), labels]))


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """The temperature in [0.05, 20] at which ``logits / T`` have the least negative log-likelihood.

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


def agreement(first: Floats, second: Floats, task: Task = MULTI_CLASS) -> float:
    """Share of the decisions in which two models agree: of images, or of labels of images."""
    return float(np.mean(task.decisions(first) == task.decisions(second)))


def evaluate(probs: Floats, labels: Labels, class_names: Sequence[str], task: Task = MULTI_CLASS) -> dict[str, Any]:
    """All figures of one model on one split, as the report holds them."""
    per_class = []
    several = labels.ndim == 2
    area = auc(probs, labels)  # raises where a class has no image, or every one
    shares = zip(class_names, recalls(probs, labels), specificities(probs, labels), strict=True)
    for label, (name, recall, specificity) in enumerate(shares):
        count = int(np.sum(labels[:, label] if several else labels == label))
        others = len(labels) - count
        per_class.append(
            {
                **{"name": name, "n": count, "recall": float(recall)},
                "recall_ci95": list(wilson_interval(round(recall * count), count)),
                "specificity": float(specificity),
                "specificity_ci95": list(wilson_interval(round(specificity * others), others)),
            }
        )
    if several:
        per_class = [{**row, "auc": float(area)} for row, area in zip(per_class, aucs(probs, labels), strict=True)]
    figures = {
        task.accuracy: accuracy(probs, labels),
        "auc": area,
        "macro_recall": float(np.mean([row["recall"] for row in per_class])),
        "per_class": per_class,
        "ece": ece(probs, labels),
        "brier": brier(probs, labels),
        "n": len(labels),
    }
    if task is ORDINAL:
        figures |= {"mae": mae(probs, labels), "quadratic_kappa": quadratic_kappa(probs, labels)}
    return figures
