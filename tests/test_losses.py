from __future__ import annotations

import math

import numpy as np
import pytest

from edgekd import losses
from edgekd._keras import tf

RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 5, 8)
STUDENT = RANDOM.normal(0, 2, (8, 5))
TEACHER = RANDOM.normal(0, 3, (8, 5))


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_cross_entropy_by_hand() -> None:
    # softmax(0, ln 3) = (1/4, 3/4): -ln(3/4) for class 1, -ln(1/4) for class 0; their mean.
    logits = tf.constant([[0.0, math.log(3)], [0.0, math.log(3)]], tf.float64)
    expected = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    assert float(losses.cross_entropy(tf.constant([1, 0]), logits)) == pytest.approx(expected, abs=1e-12)


def test_label_smoothing_by_hand() -> None:
    # s = 0.2, K = 2: targets (0.1, 0.9) for class 1; -(0.1 ln 1/4 + 0.9 ln 3/4).
    logits = tf.constant([[0.0, math.log(3)]], tf.float64)
    expected = -(0.1 * math.log(1 / 4) + 0.9 * math.log(3 / 4))
    assert float(losses.cross_entropy(tf.constant([1]), logits, 0.2)) == pytest.approx(expected, abs=1e-12)


def test_kd_by_hand() -> None:
    # T = 2. Teacher (2 ln 3, 0) / 2 gives (3/4, 1/4); student (0, 0) gives (1/2, 1/2).
    # 4 * (3/4 ln(3/2) + 1/4 ln(1/2)).
    teacher = tf.constant([[2 * math.log(3), 0.0]], tf.float64)
    student = tf.constant([[0.0, 0.0]], tf.float64)
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert float(losses.kd(teacher, student, 2.0)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kd_against_numpy(temperature: float) -> None:
    teacher, student = softmax(TEACHER / temperature), softmax(STUDENT / temperature)
    expected = temperature**2 * np.mean(np.sum(teacher * np.log(teacher / student), axis=1))
    found = float(losses.kd(tf.constant(TEACHER), tf.constant(STUDENT), temperature))
    assert found == pytest.approx(expected, rel=1e-12)


def test_distillation_is_the_weighted_sum() -> None:
    arguments = tf.constant(LABELS), tf.constant(STUDENT), tf.constant(TEACHER)
    found = float(losses.distillation(*arguments, temperature=3.0, hard_loss_weight=0.3))
    hard = -np.mean(np.log(softmax(STUDENT)[np.arange(8), LABELS]))
    soft = float(losses.kd(arguments[2], arguments[1], 3.0))
    assert found == pytest.approx(0.3 * hard + 0.7 * soft, rel=1e-12)


def test_gradient_against_finite_differences() -> None:
    def loss(student: np.ndarray) -> float:
        arguments = tf.constant(LABELS), tf.constant(student), tf.constant(TEACHER)
        return float(losses.distillation(*arguments, temperature=2.0, hard_loss_weight=0.4))

    student = tf.Variable(STUDENT)
    with tf.GradientTape() as tape:
        value = losses.distillation(
            tf.constant(LABELS), student, tf.constant(TEACHER), temperature=2.0, hard_loss_weight=0.4
        )
    gradient = tape.gradient(value, student).numpy()
    step = 1e-6
    for index in [(0, 0), (3, 2), (7, 4)]:
        bump = np.zeros_like(STUDENT)
        bump[index] = step
        numeric = (loss(STUDENT + bump) - loss(STUDENT - bump)) / (2 * step)
        assert gradient[index] == pytest.approx(numeric, rel=1e-6, abs=1e-9)


def test_shifting_all_logits_changes_nothing() -> None:
    plain = float(losses.kd(tf.constant(TEACHER), tf.constant(STUDENT), 2.0))
    shifted = float(losses.kd(tf.constant(TEACHER + 7.0), tf.constant(STUDENT - 3.0), 2.0))
    assert shifted == pytest.approx(plain, rel=1e-12)


def test_scaling_logits_and_temperature_together_scales_the_loss_by_its_square() -> None:
    plain = float(losses.kd(tf.constant(TEACHER), tf.constant(STUDENT), 1.0))
    scaled = float(losses.kd(tf.constant(3 * TEACHER), tf.constant(3 * STUDENT), 3.0))
    assert scaled == pytest.approx(9 * plain, rel=1e-12)


def test_equal_logits_cost_nothing_and_no_gradient_reaches_the_teacher() -> None:
    teacher = tf.Variable(TEACHER)
    with tf.GradientTape() as tape:
        value = losses.kd(teacher, tf.constant(TEACHER), 4.0)
    assert float(value) == pytest.approx(0.0, abs=1e-12)
    assert tape.gradient(value, teacher) is None
