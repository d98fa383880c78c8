"""Class by class, on answers that stand here."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd import statistics
from edgekd.tasks import TASKS
from edgekd.verification.classes import abstention, operating_points, recall_changes, threshold_at, verdict

BINARY, SEVERAL = TASKS["binary"], TASKS["multi-label"]


def answers(classes: list[int], num_classes: int = 2, confidence: float = 0.8) -> np.ndarray:
    """Probabilities of a model that gives these classes."""
    rest = (1 - confidence) / (num_classes - 1)
    return np.where(np.eye(num_classes)[classes] == 1, confidence, rest)


def test_recall_changes_by_hand() -> None:
    """Of 20 images of "a" the second model loses eight and wins none; of ten of "b" it wins one."""
    labels = np.array([0] * 20 + [1] * 10)
    before = answers([0] * 18 + [1] * 2 + [1] * 8 + [0] * 2)
    after = answers([0] * 10 + [1] * 10 + [1] * 9 + [0] * 1)
    a, b = recall_changes(before, after, labels, ["a", "b"], BINARY)
    assert (a["n"], a["before"], a["after"], a["estimate"]) == (20, 0.9, 0.5, pytest.approx(-0.4))
    assert (b["n"], b["before"], b["after"], b["estimate"]) == (10, 0.8, 0.9, pytest.approx(0.1))
    # Exact McNemar: 2 / 2**8 and 2 / 2**1; Holm: the smaller twice, the larger once.
    assert (a["p"], a["p_holm"]) == (pytest.approx(2 / 256), pytest.approx(4 / 256))
    assert (b["p"], b["p_holm"]) == (1.0, 1.0)
    assert (a["verdict"], b["verdict"]) == ("lost", "no difference shown")
    second = np.arange(20) < 18
    tango = statistics.paired_difference(np.arange(20) < 10, second)
    assert a["ci95"] == [tango.low, tango.high]


def test_recall_changes_of_labels() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 1], [1, 1]])
    before = np.array([[0.9, 0.1], [0.9, 0.9], [0.1, 0.9], [0.9, 0.1]])
    after = np.array([[0.1, 0.9], [0.9, 0.9], [0.9, 0.9], [0.9, 0.9]])
    rows = recall_changes(before, after, labels, ["x", "y"], SEVERAL)
    assert [(row["n"], row["before"], row["after"]) for row in rows] == [
        (3, 1.0, pytest.approx(2 / 3)),
        (3, pytest.approx(2 / 3), 1.0),
    ]


def test_verdict_in_words() -> None:
    assert verdict(-0.2, 0.049) == "lost"
    assert verdict(0.2, 0.049) == "gained"
    assert verdict(-0.2, 0.05) == "no difference shown"


def test_holm_keeps_false_alarms_of_ten_classes_below_five_percent() -> None:
    """Both models are equally good: how often is any class said to have changed?"""
    generator, alarms = np.random.default_rng(0), 0
    labels = np.arange(400) % 10
    for _ in range(60):
        right = generator.random((2, 400)) < 0.8
        models = [answers(np.where(row, labels, (labels + 1) % 10).tolist(), 10) for row in right]
        rows = recall_changes(*models, labels, list("abcdefghij"), TASKS["multi-class"])
        alarms += any(row["verdict"] != "no difference shown" for row in rows)
    assert alarms <= 6  # 3 expected at most; the exact test errs on the safe side


@pytest.mark.parametrize(("specificity", "expected"), [(0.9, 0.9), (0.85, 0.9), (0.8, 0.8), (0.05, 0.1), (0.95, 1.0)])
def test_threshold_is_the_nearest_rank(specificity: float, expected: float) -> None:
    scores = np.array([0.3, 0.1, 0.2, 0.6, 0.5, 0.4, 0.9, 0.7, 1.0, 0.8])
    found = threshold_at(scores, specificity)
    assert found == expected
    assert np.mean(scores <= found) >= specificity


def test_operating_points_by_hand() -> None:
    """On val nine of ten images of "off" lie at or below 0.4; of test's two of four do."""
    val_on = np.array([0.1] * 5 + [0.4] * 4 + [0.7] + [0.3] * 2 + [0.9] * 8)
    val = np.stack([1 - val_on, val_on], axis=1), np.array([0] * 10 + [1] * 10)
    test_on = np.array([0.4, 0.2, 0.5, 0.6, 0.9, 0.4, 0.8])
    test = np.stack([1 - test_on, test_on], axis=1), np.array([0] * 4 + [1] * 3)
    found = operating_points(val, test, ["off", "on"], BINARY, specificity=0.9, coverage=0.5)
    on = found["classes"][1]
    assert (on["threshold"], on["val_specificity"], on["val_sensitivity"]) == (0.4, 0.9, 0.8)
    assert (on["specificity"], on["sensitivity"]) == (0.5, pytest.approx(2 / 3))
    assert on["sensitivity_ci95"] == pytest.approx(list(statistics.wilson_interval(2, 3)))
    low, high = statistics.wilson_interval(2, 4)
    assert on["specificity_ci95"] == pytest.approx([low, high])
    assert on["kept"] == (high >= 0.9)


def test_abstention_by_hand() -> None:
    confidences = np.array([0.6, 0.7, 0.8, 0.9, 0.95])
    val = np.stack([confidences, 1 - confidences], axis=1), np.zeros(5, int)
    test_on = np.array([0.85, 0.9, 0.2, 0.6])  # class 0 by 0.15, 0.1, 0.8, 0.4
    test = np.stack([1 - test_on, test_on], axis=1), np.array([1, 0, 0, 0])
    found = abstention(val, test, 0.6)
    # Three of five val images reach 0.8; on test three do, one of them wrong; the one withheld is wrong.
    assert (found["level"], found["val_coverage"]) == (0.8, 0.6)
    assert (found["coverage"], found["num_answered"]) == (0.75, 3)
    assert (found["accuracy"], found["accuracy_withheld"]) == (pytest.approx(2 / 3), 0.0)
    everything = abstention(val, test, 1.0)
    assert (everything["level"], everything["accuracy_withheld"]) == (0.6, None)


def test_abstention_from_everything() -> None:
    val = np.array([[0.99, 0.01]] * 3), np.zeros(3, int)
    found = abstention(val, (np.array([[0.6, 0.4]]), np.zeros(1, int)), 0.9)
    assert (found["num_answered"], found["accuracy"], found["accuracy_ci95"]) == (0, None, None)


def test_labels_have_thresholds_and_no_abstention() -> None:
    generator = np.random.default_rng(0)
    probs, labels = generator.random((40, 3)), (generator.random((40, 3)) < 0.5).astype(int)
    found = operating_points((probs, labels), (probs, labels), list("abc"), SEVERAL, specificity=0.8, coverage=0.9)
    assert found["abstention"] is None
    assert all(row["specificity"] >= 0.8 and row["kept"] for row in found["classes"])
