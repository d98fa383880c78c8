"""What is asked of an image: which class of several, which grade of an order, or which of many findings.

This is the one place that tells the tasks apart. A network always gives logits ``(n, K)``; a task says what the labels
are, what a loss compares them with, how logits become probabilities, and what is decided from these.

===========  =================  =======================  ======================  ==================
task         labels             targets (n, K)           probabilities           decision
===========  =================  =======================  ======================  ==================
binary       0 or 1, (n,)       one-hot                  softmax                 the most probable
multi-class  0..K-1, (n,)       one-hot                  softmax                 the most probable
ordinal      0..K-1, (n,)       soft, by distance        softmax                 the most probable
multi-label  0/1, (n, K)        as the labels            sigmoid of each         each above 1/2
===========  =================  =======================  ======================  ==================

An ordinal task is learned through its targets (Diaz and Marathe 2019, "Soft labels for ordinal regression"): a grade
beside the true one costs less than one far off. Its model is a plain classifier, which every client can run; a chain of
``K - 1`` thresholds would have to be put together again by each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]
Floats = NDArray[np.floating]
Targets = NDArray[np.float32]

THRESHOLD = 0.5
SOFTMAX, SIGMOID = "softmax", "sigmoid"


@dataclass(frozen=True)
class Task:
    """One of the tasks.

    Attributes:
        name: as in the data set's facts.
        head: how logits become probabilities: ``softmax`` over the classes, or ``sigmoid`` of each.
        accuracy: name of its accuracy among the figures of a model.
        accuracy_title: the same for people.
        targets: from labels and ``K`` to what the losses on labels take, float32 ``(n, K)``.
    """

    name: str
    head: str
    accuracy: str
    accuracy_title: str
    targets: Callable[[Labels, int], Targets]

    @property
    def several(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.head == SIGMOID

    def decisions(self, probs: Floats) -> NDArray[Any]:
        """The most probable class, ``(n,)``, of equal ones the lowest; or each label's yes or no, ``(n, K)``."""
        decided: NDArray[Any] = probs > THRESHOLD if self.several else np.argmax(probs, axis=1)
        return decided


def one_hot(labels: Labels, num_classes: int) -> Targets:
    """A one at each sample's class."""
    return np.eye(num_classes, dtype=np.float32)[labels]


def multi_hot(labels: Labels, num_classes: int) -> Targets:
    """The 0/1 labels as they are."""
    return labels.astype(np.float32)


def soft_ordinal(labels: Labels, num_classes: int) -> Targets:
    """``softmax_k(-(k - label)**2)`` (Diaz and Marathe 2019, eq. 1, with the squared distance)."""
    scores = -np.square(np.arange(num_classes) - np.arange(num_classes)[:, None]).astype(np.float64)
    return probabilities(scores, SOFTMAX).astype(np.float32)[labels]


BINARY = Task("binary", SOFTMAX, "top1", "top-1", one_hot)
MULTI_CLASS = Task("multi-class", SOFTMAX, "top1", "top-1", one_hot)
ORDINAL = Task("ordinal", SOFTMAX, "top1", "top-1", soft_ordinal)
MULTI_LABEL = Task("multi-label", SIGMOID, "label_accuracy", "label accuracy", multi_hot)
TASKS = {task.name: task for task in (BINARY, MULTI_CLASS, ORDINAL, MULTI_LABEL)}


def probabilities(logits: Floats, head: str) -> NDArray[np.float64]:
    """Softmax of each row, or the sigmoid of each number, in float64."""
    logits = logits.astype(np.float64)
    if head == SIGMOID:
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probs
