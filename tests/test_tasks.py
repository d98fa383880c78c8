"""What each task makes of labels and logits, by hand and against SciPy."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import expit, softmax

from edgekd import tasks
from edgekd.config.data import Data
from edgekd.tasks import TASKS


def test_a_recipe_may_ask_for_every_task_and_two_classes_are_told_by_the_data() -> None:
    choices = next(item for item in dataclasses.fields(Data) if item.name == "task").metadata["choices"]
    assert {*choices, "binary"} == {*TASKS, "auto"}


def test_targets_of_one_class_and_of_several_labels() -> None:
    np.testing.assert_array_equal(TASKS["multi-class"].targets(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    found = TASKS["multi-label"].targets(np.array([[1, 0, 1], [0, 0, 0]]), 3)
    np.testing.assert_array_equal(found, [[1, 0, 1], [0, 0, 0]])
    assert found.dtype == np.float32


def test_ordinal_targets_by_hand() -> None:
    # exp(-0), exp(-1), exp(-4) over their sum; and exp(-1), 1, exp(-1).
    edge = [1, math.exp(-1), math.exp(-4)]
    middle = [math.exp(-1), 1, math.exp(-1)]
    expected = [np.array(edge) / sum(edge), np.array(middle) / sum(middle), np.array(edge[::-1]) / sum(edge)]
    found = TASKS["ordinal"].targets(np.arange(3), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_a_grade_beside_the_true_one_costs_less_than_one_far_off() -> None:
    target = TASKS["ordinal"].targets(np.array([1]), 5)[0]
    certain = np.log(np.eye(5) * 0.96 + 0.01)
    costs = -(target * certain).sum(axis=1)
    assert costs[1] < costs[2] < costs[3] < costs[4]
    assert costs[0] == pytest.approx(costs[2])


def test_probabilities_are_those_of_scipy_and_stay_finite() -> None:
    logits = np.random.default_rng(0).normal(0, 5, (20, 4)).astype(np.float32)
    exact = logits.astype(np.float64)
    np.testing.assert_allclose(tasks.probabilities(logits, "softmax"), softmax(exact, axis=1), rtol=1e-12)
    np.testing.assert_allclose(tasks.probabilities(logits, "sigmoid"), expit(exact), atol=1e-15)
    extreme = np.array([[1e4, -1e4]])
    np.testing.assert_array_equal(tasks.probabilities(extreme, "softmax"), [[1, 0]])
    np.testing.assert_array_equal(tasks.probabilities(extreme, "sigmoid"), [[1, 0]])


def test_decisions() -> None:
    probs = np.array([[0.5, 0.51, 0.2], [0.4, 0.3, 0.4]])
    np.testing.assert_array_equal(TASKS["ordinal"].decisions(probs), [1, 0])
    np.testing.assert_array_equal(TASKS["multi-label"].decisions(probs), [[False, True, False], [False] * 3])
