"""Whether a model bears worse pictures worse: with lamps that look at the mean brightness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekd.tasks import TASKS
from edgekd.verification.corruptions import Corruption, darker
from edgekd.verification.robustness import robustness, spread_sample

DARKER = {"darker": Corruption("darker", "grey levels", (10, 40), darker)}


def lamp(threshold: float) -> Callable[[np.ndarray], np.ndarray]:
    def predict(images: np.ndarray) -> np.ndarray:
        on = 1 / (1 + np.exp(-0.05 * (images.mean(axis=(1, 2, 3)) - threshold)))
        return np.stack([1 - on, on], axis=1)

    return predict


def greys(values: list[int]) -> np.ndarray:
    return np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])


def test_the_step_at_which_more_is_lost_is_named() -> None:
    """Images of 120 are lost by a lamp of threshold 100 once they are 40 darker, and never by one of 60."""
    images, labels = greys([20, 120] * 15), np.array([0, 1] * 15)
    predict = {"teacher": lamp(60), "student": lamp(100)}
    found = robustness(images, labels, predict, TASKS["binary"], before="teacher", after="student", corruptions=DARKER)
    mild, strong = found["steps"]
    assert (mild["extra_loss"], mild["p"], mild["loses_more"]) == (0.0, 1.0, False)
    assert (strong["model"]["accuracy"], strong["before"]["accuracy"], strong["extra_loss"]) == (0.5, 1.0, 0.5)
    # Sign test: 15 images of 15 on one side; Holm over two steps.
    assert (strong["p"], strong["p_holm"]) == (pytest.approx(2 / 2**15), pytest.approx(4 / 2**15))
    assert strong["ci95"][0] < 0.5 < strong["ci95"][1]
    assert (strong["model"]["auc"], found["clean"]["model"]) == (1.0, {"accuracy": 1.0, "auc": 1.0})
    assert "from these steps on: darker 40 grey levels (+50.0 points" in found["text"]


def test_what_both_lose_is_no_difference() -> None:
    images, labels = greys([20, 120] * 15), np.array([0, 1] * 15)
    predict = {"teacher": lamp(100), "student": lamp(101)}
    found = robustness(images, labels, predict, TASKS["binary"], before="teacher", after="student", corruptions=DARKER)
    assert found["steps"][1]["model"]["accuracy"] == 0.5
    assert found["text"] == (
        "At no step does student lose significantly more than teacher (n = 30 test images, sign test with Holm's "
        "adjustment over 2 steps)"
    )


def test_a_student_that_loses_less_is_not_named() -> None:
    images, labels = greys([20, 120] * 15), np.array([0, 1] * 15)
    predict = {"teacher": lamp(100), "student": lamp(60)}
    found = robustness(images, labels, predict, TASKS["binary"], before="teacher", after="student", corruptions=DARKER)
    assert found["steps"][1]["extra_loss"] == -0.5
    assert found["steps"][1]["p_holm"] < 0.05
    assert not found["steps"][1]["loses_more"]


def test_shares_of_labels_and_no_auc_of_a_label_that_is_always_there() -> None:
    images, labels = greys([120] * 8), np.array([[1, 1]] * 8)

    def predict(changed: np.ndarray) -> np.ndarray:
        return np.stack([np.full(len(changed), 0.9), lamp(100)(changed)[:, 1]], axis=1)

    def steady(changed: np.ndarray) -> np.ndarray:
        return np.full((len(changed), 2), 0.9)

    predictors = {"teacher": steady, "student": predict}
    found = robustness(
        images, labels, predictors, TASKS["multi-label"], before="teacher", after="student", corruptions=DARKER
    )
    assert (found["steps"][1]["extra_loss"], found["steps"][1]["model"]["auc"]) == (0.5, None)


def test_samples_are_spread_over_the_classes() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    chosen = spread_sample(labels, 20)
    assert len(set(chosen.tolist())) == 20
    assert np.bincount(labels[chosen]).tolist() == [18, 2]
    assert chosen.tolist() == sorted(chosen.tolist())
    assert spread_sample(labels, 500).tolist() == list(range(100))
    assert spread_sample(np.zeros((10, 3), int), 4).tolist() == [0, 3, 6, 9]
