from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from edgekd import losses
from edgekd._keras import tf
from edgekd.config.distill import Distill
from edgekd.config.training import Training
from edgekd.errors import RecipeError
from edgekd.tasks import TASKS

RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 5, 8)
TARGETS = np.eye(5)[LABELS]
STUDENT = RANDOM.normal(0, 2, (8, 5))
TEACHER = RANDOM.normal(0, 3, (8, 5))


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def one_hot(*labels: int, num_classes: int = 2) -> tf.Tensor:
    return tf.constant(np.eye(num_classes)[list(labels)])


def see(config: Distill, student: object = None) -> losses.Signals:
    logits = tf.constant(STUDENT) if student is None else student
    return losses.Signals(
        tf.constant(TARGETS), logits, tf.constant(TEACHER), config.temperature, config.hard_loss_weight
    )


def test_cross_entropy_by_hand() -> None:
    # softmax(0, ln 3) = (1/4, 3/4): -ln(3/4) for class 1, -ln(1/4) for class 0; their mean.
    logits = tf.constant([[0.0, math.log(3)], [0.0, math.log(3)]], tf.float64)
    expected = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    assert float(losses.cross_entropy(one_hot(1, 0), logits)) == pytest.approx(expected, abs=1e-12)


def test_label_smoothing_by_hand() -> None:
    # s = 0.2, K = 2: targets (0.1, 0.9) for class 1; -(0.1 ln 1/4 + 0.9 ln 3/4).
    logits = tf.constant([[0.0, math.log(3)]], tf.float64)
    expected = -(0.1 * math.log(1 / 4) + 0.9 * math.log(3 / 4))
    assert float(losses.cross_entropy(one_hot(1), logits, 0.2)) == pytest.approx(expected, abs=1e-12)


def test_weights_of_samples_by_hand() -> None:
    # Losses ln 4 and ln(4/3) times 3 and 1, over two samples.
    logits = tf.constant([[0.0, math.log(3)], [0.0, math.log(3)]], tf.float64)
    found = losses.cross_entropy(one_hot(0, 1), logits, weights=tf.constant([3.0, 1.0], tf.float64))
    assert float(found) == pytest.approx((3 * math.log(4) + math.log(4 / 3)) / 2, abs=1e-12)


def test_focal_loss_by_hand() -> None:
    # p = 3/4 and 1/4, gamma 2: (1/4)**2 ln(4/3) and (3/4)**2 ln 4.
    logits = tf.constant([[0.0, math.log(3)], [0.0, math.log(3)]], tf.float64)
    found = losses.cross_entropy(one_hot(1, 0), logits, focal_gamma=2.0)
    assert float(found) == pytest.approx((math.log(4 / 3) / 16 + 9 * math.log(4) / 16) / 2, abs=1e-12)


def test_focal_loss_of_a_certain_answer_has_a_finite_gradient() -> None:
    logits = tf.Variable([[-200.0, 200.0]])
    for gamma in (0.5, 2.0):
        with tf.GradientTape() as tape:
            value = losses.cross_entropy(one_hot(1), logits, focal_gamma=gamma)
        assert np.all(np.isfinite(tape.gradient(value, logits).numpy()))


def test_mixed_targets_by_hand() -> None:
    # Half and half over (1/4, 3/4): 1/2 ln 4 + 1/2 ln(4/3). Cross-entropy is linear in the targets.
    logits = tf.constant([[0.0, math.log(3)]], tf.float64)
    found = float(losses.cross_entropy(tf.constant([[0.5, 0.5]], tf.float64), logits))
    assert found == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, abs=1e-12)


def test_the_true_class_of_a_mixed_sample_is_that_of_the_larger_share() -> None:
    logits = tf.constant(TEACHER), tf.constant(STUDENT)
    mixed = 0.7 * TARGETS + 0.3 * np.roll(TARGETS, 1, axis=1)
    assert float(losses.dkd(tf.constant(mixed), *logits, 2.0)) == float(losses.dkd(tf.constant(TARGETS), *logits, 2.0))


def test_binary_cross_entropy_by_hand() -> None:
    # sigmoid(0) = 1/2 and sigmoid(ln 3) = 3/4: ln 2 for the first label, there, and ln 4 for the second, absent.
    logits, targets = tf.constant([[0.0, math.log(3)]], tf.float64), tf.constant([[1.0, 0.0]], tf.float64)
    found = float(losses.binary_cross_entropy(targets, logits))
    assert found == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-12)
    weights = tf.constant([[3.0, 1.0]], tf.float64)
    found = float(losses.binary_cross_entropy(targets, logits, weights=weights))
    assert found == pytest.approx((3 * math.log(2) + math.log(4)) / 2, abs=1e-12)
    # s = 0.2 halves towards 1/2: targets 0.9 and 0.1.
    found = float(losses.binary_cross_entropy(targets, logits, label_smoothing=0.2))
    expected = (math.log(2) + 0.1 * math.log(4 / 3) + 0.9 * math.log(4)) / 2
    assert found == pytest.approx(expected, abs=1e-12)
    # gamma 2: (1 - 1/2)**2 ln 2 and (1 - 1/4)**2 ln 4.
    found = float(losses.binary_cross_entropy(targets, logits, focal_gamma=2.0))
    assert found == pytest.approx((math.log(2) / 4 + 9 * math.log(4) / 16) / 2, abs=1e-12)


def test_binary_kd_by_hand() -> None:
    # T = 2: teacher sigmoid(2 ln 3 / 2) = 3/4, student sigmoid(0) = 1/2; the second label costs nothing.
    teacher, student = tf.constant([[2 * math.log(3), 1.0]], tf.float64), tf.constant([[0.0, 1.0]], tf.float64)
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert float(losses.binary_kd(teacher, student, 2.0)) == pytest.approx(expected, abs=1e-12)


def test_binary_kd_of_one_label_is_kd_of_two_classes() -> None:
    teacher, student = TEACHER[:, :1], STUDENT[:, :1]
    pairs = (tf.constant(np.hstack([logits, np.zeros_like(logits)])) for logits in (teacher, student))
    found = float(losses.binary_kd(tf.constant(teacher), tf.constant(student), 3.0))
    assert found == pytest.approx(float(losses.kd(*pairs, 3.0)), rel=1e-12)


def test_several_labels_against_numpy() -> None:
    config = Distill(loss={"kd": 1.0, "label_smoothing": 0.5}, temperature=3.0, hard_loss_weight=0.3)
    targets = (RANDOM.random((8, 5)) < 0.4).astype(np.float64)
    signals = dataclasses.replace(see(config), targets=tf.constant(targets), head="sigmoid")

    def entropy(y: np.ndarray, logits: np.ndarray) -> float:
        q = 1 / (1 + np.exp(-logits))
        return float(-np.mean(y * np.log(q) + (1 - y) * np.log(1 - q)))

    t, s = (1 / (1 + np.exp(-logits / 3)) for logits in (TEACHER, STUDENT))
    soft = 9 * np.mean(t * np.log(t / s) + (1 - t) * np.log((1 - t) / (1 - s)))
    soft += 0.5 * entropy(0.9 * targets + 0.05, STUDENT)
    expected = 0.3 * entropy(targets, STUDENT) + 0.7 * soft
    assert float(losses.objective(config).function(signals)) == pytest.approx(expected, rel=1e-12)


def test_gradient_of_several_labels_against_finite_differences() -> None:
    config = Distill(loss={"kd": 1.0, "label_smoothing": 0.5}, temperature=2.0, training=Training(focal_gamma=1.5))
    signals = dataclasses.replace(see(config), head="sigmoid")
    total, student = losses.objective(config).function, tf.Variable(STUDENT)
    with tf.GradientTape() as tape:
        value = total(dataclasses.replace(signals, logits=student))
    gradient = tape.gradient(value, student).numpy()
    for index in [(0, 0), (3, 2), (7, 4)]:
        bump = np.zeros_like(STUDENT)
        bump[index] = 1e-6
        high, low = (
            float(total(dataclasses.replace(signals, logits=tf.constant(STUDENT + sign * bump)))) for sign in (1, -1)
        )
        assert gradient[index] == pytest.approx((high - low) / 2e-6, rel=1e-5, abs=1e-8)


def test_extreme_logits_of_several_labels_give_a_finite_loss_and_gradient() -> None:
    config = Distill(training=Training(focal_gamma=0.5))
    teacher, student = tf.constant([[200.0, -200.0]]), tf.Variable([[-200.0, -200.0]])
    with tf.GradientTape() as tape:
        signals = losses.Signals(tf.constant([[1.0, 0.0]]), student, teacher, 1.0, 0.5, head="sigmoid")
        value = losses.objective(config).function(signals)
    assert np.isfinite(float(value))
    assert np.all(np.isfinite(tape.gradient(value, student).numpy()))


@pytest.mark.parametrize("name", ["kd_standardized", "dkd", "dist"])
def test_losses_over_classes_are_refused_where_there_are_several_labels(name: str) -> None:
    config = Distill(loss={"kd": 1.0, name: 0.5}, mode="live")
    with pytest.raises(RecipeError, match=f'"{name}" compares distributions over classes.*allowed: attention, .*kd, '):
        losses.check_task(config, TASKS["multi-label"])
    losses.check_task(config, TASKS["ordinal"])
    losses.check_task(Distill(loss={"kd": 1.0, "attention": 1.0, "label_smoothing": 1.0}), TASKS["multi-label"])


def test_schedule_by_hand() -> None:
    assert losses.scheduled(4.0, None, 0.7) == 4.0
    assert [losses.scheduled(4.0, 1.0, elapsed) for elapsed in (0.0, 0.5, 1.0)] == [4.0, 2.5, 1.0]


def test_schedules_of_a_recipe() -> None:
    config = Distill(hard_loss_weight=1.0, hard_loss_weight_end=0.2, temperature=8.0, temperature_end=2.0)
    assert config.uses_teacher
    end = config.at_end()
    assert (end.temperature, end.hard_loss_weight, end.temperature_end, end.hard_loss_weight_end) == (
        2,
        0.2,
        None,
        None,
    )
    assert not Distill(hard_loss_weight=1.0).uses_teacher
    assert Distill().at_end() == Distill()


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


def test_kd_standardized_looks_at_the_shape_of_the_logits_alone() -> None:
    teacher, student = tf.constant(TEACHER), tf.constant(STUDENT)
    plain = float(losses.kd_standardized(teacher, student, 2.0))
    assert float(losses.kd_standardized(teacher, 3.0 * student + 5.0, 2.0)) == pytest.approx(plain, rel=1e-6)
    assert float(losses.kd_standardized(teacher, 0.5 * teacher - 1.0, 2.0)) == pytest.approx(0.0, abs=1e-9)
    assert plain > 0.01


def test_kd_standardized_against_numpy() -> None:
    teacher, student = (
        softmax((z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True) / 3.0) for z in (TEACHER, STUDENT)
    )
    expected = 9 * np.mean(np.sum(teacher * np.log(teacher / student), axis=1))
    found = float(losses.kd_standardized(tf.constant(TEACHER), tf.constant(STUDENT), 3.0))
    assert found == pytest.approx(expected, rel=1e-6)


def test_kd_standardized_has_a_bounded_gradient_where_classes_are_equal() -> None:
    """By hand: student (d, -d) near d = 0 gives (10 d, -10 d); its part of the loss is log(1 + e^(-20 d)) + const.

    With T = 1 and the teacher at (1, -1), p = sigmoid(2): d/dd = 20 (sigmoid(20 d) - p), half of it for each logit.
    """
    teacher = tf.constant([[3.0, -3.0]], tf.float64)
    for apart in (0.0, 1e-9, 0.05):
        student = tf.constant([[apart, -apart]], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(student)
            loss = losses.kd_standardized(teacher, student, 1.0)
        slope = 10 * (1 / (1 + math.exp(-20 * apart)) - 1 / (1 + math.exp(-2)))
        np.testing.assert_allclose(tape.gradient(loss, student), [[slope, -slope]], rtol=1e-9)


def test_dkd_by_hand() -> None:
    # T = 1, label 0. Teacher (1/2, 1/4, 1/4), student (1/4, 1/4, 1/2).
    # TCKD: (1/2, 1/2) against (1/4, 3/4); NCKD: (1/2, 1/2) against (1/3, 2/3).
    teacher = tf.constant(np.log([[0.5, 0.25, 0.25]]))
    student = tf.constant(np.log([[0.25, 0.25, 0.5]]))
    tckd = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    nckd = 0.5 * math.log(3 / 2) + 0.5 * math.log(3 / 4)
    found = float(losses.dkd(one_hot(0, num_classes=3), teacher, student, 1.0, 1.0, 8.0))
    assert found == pytest.approx(tckd + 8 * nckd, abs=1e-12)


@pytest.mark.parametrize("sample", range(8))
def test_dkd_with_the_right_weights_is_kd(sample: int) -> None:
    """KD = TCKD + (1 - p_y) NCKD (Zhao et al. 2022, eq. 5)."""
    label, teacher, student = LABELS[[sample]], TEACHER[[sample]], STUDENT[[sample]]
    others = 1.0 - softmax(teacher / 2.0)[0, label[0]]
    found = losses.dkd(tf.constant(np.eye(5)[label]), tf.constant(teacher), tf.constant(student), 2.0, 1.0, others)
    assert float(found) == pytest.approx(float(losses.kd(tf.constant(teacher), tf.constant(student), 2.0)), rel=1e-9)


def test_dkd_of_two_classes_has_no_other_classes() -> None:
    targets, teacher, student = (
        tf.constant(np.eye(2)[LABELS % 2]),
        tf.constant(TEACHER[:, :2]),
        tf.constant(STUDENT[:, :2]),
    )
    found = float(losses.dkd(targets, teacher, student, 2.0, 1.0, 1000.0))
    assert found == pytest.approx(float(losses.kd(teacher, student, 2.0)), rel=1e-9)


def test_dist_by_hand() -> None:
    # Rows (5, 3, 2)/10 and (2, 3, 5)/10: centred dot product -13/300, each square 14/300, so r = -13/14.
    teacher, student = (tf.constant(np.log([row])) for row in ([0.5, 0.3, 0.2], [0.2, 0.3, 0.5]))
    assert float(losses.dist(teacher, student, 1.0, 1.0, 0.0)) == pytest.approx(27 / 14, rel=1e-9)


def test_dist_against_numpy() -> None:
    teacher, student = softmax(TEACHER / 4.0), softmax(STUDENT / 4.0)
    inter = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(teacher, student, strict=True)])
    intra = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(teacher.T, student.T, strict=True)])
    found = float(losses.dist(tf.constant(TEACHER), tf.constant(STUDENT), 4.0, 2.0, 3.0))
    assert found == pytest.approx(16 * (2 * inter + 3 * intra), rel=1e-9)


def test_dist_of_a_row_without_variation_is_1_and_pulls_nowhere() -> None:
    """The second row has equal logits, as rounded answers often do: r counts 0, so 1 - r is 1, and no gradient."""
    teacher = tf.constant([[2.0, 0.0], [0.0, 2.0]], tf.float32)
    student = tf.Variable([[1.0, 0.0], [0.5, 0.5]], dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = losses.dist(teacher, student, 1.0, 1.0, 0.0)
    assert float(loss) == pytest.approx((0 + 1) / 2, abs=1e-6)
    gradient = tape.gradient(loss, student).numpy()
    assert np.abs(gradient[1]).max() == 0.0
    assert np.abs(gradient[0]).max() < 1e-5


def test_dist_of_two_classes_pulls_nowhere_however_near_they_are() -> None:
    """A row's correlation is 1 or -1, whose gradient is 0; near 0.5 what is left is rounding over the deviation."""
    apart = np.ravel([[sign * 10.0**power for sign in (1, -1)] for power in range(-9, 1)])
    student = tf.Variable(np.stack([apart, 0 * apart], axis=1), dtype=tf.float32)
    teacher = tf.constant(np.tile([0.1, 0.0], (len(apart), 1)), tf.float32)
    with tf.GradientTape() as tape:
        loss = losses.dist(teacher, student, 1.0, 1.0, 0.0)
    assert np.abs(tape.gradient(loss, student).numpy()).max() < 0.02


def test_objective_is_the_weighted_sum() -> None:
    config = Distill(loss={"kd": 1.0, "dist": 0.25}, temperature=3.0, hard_loss_weight=0.3)
    found = float(losses.objective(config).function(see(config)))
    hard = -np.mean(np.log(softmax(STUDENT)[np.arange(8), LABELS]))
    soft = float(losses.kd(tf.constant(TEACHER), tf.constant(STUDENT), 3.0))
    soft += 0.25 * float(losses.dist(tf.constant(TEACHER), tf.constant(STUDENT), 3.0))
    assert found == pytest.approx(0.3 * hard + 0.7 * soft, rel=1e-12)


def test_full_weight_on_the_labels_leaves_the_teacher_out() -> None:
    config = Distill(loss={}, hard_loss_weight=1.0)
    hard = float(losses.cross_entropy(tf.constant(TARGETS), tf.constant(STUDENT)))
    assert float(losses.objective(config).function(see(config))) == hard


def test_label_smoothing_as_a_loss_needs_no_teacher() -> None:
    config = Distill(loss={"label_smoothing": 1.0}, hard_loss_weight=0.0)
    expected = float(losses.cross_entropy(tf.constant(TARGETS), tf.constant(STUDENT), 0.1))
    blind = dataclasses.replace(see(config), teacher_logits=None)
    assert float(losses.objective(config).function(blind)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["kd", "kd_standardized", "dkd", "dist", "label_smoothing"])
def test_gradient_against_finite_differences(name: str) -> None:
    config = Distill(loss={name: 1.0}, temperature=2.0, hard_loss_weight=0.4)
    total = losses.objective(config).function
    student = tf.Variable(STUDENT)
    with tf.GradientTape() as tape:
        value = total(see(config, student))
    gradient = tape.gradient(value, student).numpy()
    step = 1e-6
    for index in [(0, 0), (3, 2), (7, 4)]:
        bump = np.zeros_like(STUDENT)
        bump[index] = step
        high, low = (float(total(see(config, tf.constant(STUDENT + sign * bump)))) for sign in (1, -1))
        assert gradient[index] == pytest.approx((high - low) / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", ["kd", "kd_standardized", "dkd", "dist"])
def test_extreme_logits_give_a_finite_loss_and_gradient(name: str) -> None:
    config = Distill(loss={name: 1.0}, temperature=1.0, hard_loss_weight=0.0)
    teacher = tf.constant([[80.0, -80.0, 0.0], [0.0, 0.0, 0.0]], tf.float32)
    student = tf.Variable([[-80.0, 80.0, 0.0], [0.0, 0.0, 0.0]], dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = losses.objective(config).function(
            losses.Signals(one_hot(0, 1, num_classes=3), student, teacher, 1.0, 0.0)
        )
    assert np.isfinite(float(value))
    assert np.all(np.isfinite(tape.gradient(value, student).numpy()))


def soft(name: str, teacher: np.ndarray, student: np.ndarray, temperature: float) -> float:
    config = Distill(loss={name: 1.0}, hard_loss_weight=0.0)
    seen = losses.Signals(tf.constant(TARGETS), tf.constant(student), tf.constant(teacher), temperature, 0.0)
    return float(losses.objective(config).function(seen))


@pytest.mark.parametrize("name", ["kd", "kd_standardized", "dkd", "dist", "label_smoothing"])
def test_shifting_the_logits_of_a_sample_changes_nothing(name: str) -> None:
    shifts = RANDOM.normal(0, 5, (2, 8, 1))
    plain, shifted = soft(name, TEACHER, STUDENT, 2.0), soft(name, TEACHER + shifts[0], STUDENT + shifts[1], 2.0)
    assert shifted == pytest.approx(plain, rel=1e-9)
    assert plain > 0.01


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_shifting_the_logits_changes_no_loss_on_the_labels(gamma: float) -> None:
    found = [
        float(losses.cross_entropy(tf.constant(TARGETS), tf.constant(STUDENT + shift), 0.1, focal_gamma=gamma))
        for shift in (0.0, 7.0)
    ]
    assert found[1] == pytest.approx(found[0], rel=1e-9)


@pytest.mark.parametrize("name", ["kd", "dkd", "dist"])
def test_scaling_logits_and_temperature_together_scales_the_loss_by_its_square(name: str) -> None:
    scaled = soft(name, 3 * TEACHER, 3 * STUDENT, 3.0)
    assert scaled == pytest.approx(9 * soft(name, TEACHER, STUDENT, 1.0), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradient_of_the_focal_loss_against_finite_differences(gamma: float) -> None:
    def value(student: object) -> object:
        return losses.cross_entropy(tf.constant(TARGETS), student, 0.1, focal_gamma=gamma)

    student, step = tf.Variable(STUDENT), 1e-6
    with tf.GradientTape() as tape:
        loss = value(student)
    gradient = tape.gradient(loss, student).numpy()
    for index in [(0, 0), (3, 2), (7, 4)]:
        bump = np.zeros_like(STUDENT)
        bump[index] = step
        high, low = (float(value(tf.constant(STUDENT + sign * bump))) for sign in (1, -1))
        assert gradient[index] == pytest.approx((high - low) / (2 * step), rel=1e-5, abs=1e-8)


def test_equal_logits_cost_nothing_and_no_gradient_reaches_the_teacher() -> None:
    teacher = tf.Variable(TEACHER)
    with tf.GradientTape() as tape:
        value = losses.kd(teacher, tf.constant(TEACHER), 4.0)
    assert float(value) == pytest.approx(0.0, abs=1e-12)
    assert tape.gradient(value, teacher) is None


def test_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match='unknown loss "kdd"; did you mean "kd"'):
        losses.check(Distill(loss={"kdd": 1.0}))


@pytest.mark.parametrize("mode", ["stored", "self"])
def test_features_are_refused_where_logits_alone_are_stored(mode: str) -> None:
    with pytest.raises(RecipeError, match=f'"attention" compares feature maps, and distill.mode = "{mode}"'):
        losses.check(Distill(loss={"kd": 1.0, "attention": 10.0}, mode=mode))
    losses.check(Distill(loss={"kd": 1.0, "attention": 10.0}, mode="live"))


def test_pruning_keeps_the_losses_on_logits() -> None:
    assert losses.on_logits(Distill(loss={"dkd": 2.0, "rkd": 1.0})).loss == {"dkd": 2.0}
    assert losses.on_logits(Distill(loss={"rkd": 1.0})).loss == {"kd": 1.0}


@pytest.mark.parametrize("loss", [{}, {"kd": 0.0}])
def test_no_loss_is_refused_where_the_teacher_has_a_share(loss: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=r"a loss with a weight above 0 is wanted"):
        losses.check(Distill(loss=loss))
    losses.check(Distill(loss=loss, hard_loss_weight=1.0))
