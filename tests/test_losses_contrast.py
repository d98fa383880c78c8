"""Contrastive representation distillation against a plain NumPy form, by hand, and through a killed training."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edgekd import _keras, losses
from edgekd._keras import tf
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.training import Training, Views
from edgekd.data import Dataset
from edgekd.errors import RecipeError
from edgekd.losses import contrast
from edgekd.losses.contrast import Contrast
from edgekd.progress import Progress
from edgekd.stages.distill import beside_teacher
from edgekd.step import Learner, make_batch, make_optimizer, make_step
from edgekd.training import Hooks, fit

RANDOM = np.random.default_rng(8)
TAU = 0.07


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


ANCHORS, POSITIVES, NEGATIVES = (unit(RANDOM.normal(size=(count, 6))) for count in (5, 5, 9))


def plain_nce(anchors: np.ndarray, positives: np.ndarray, negatives: np.ndarray, mean: float) -> float:
    """Equations 18 and 19 of the paper, with the probability ``e / Z`` that one of M images is the right one."""
    num_images = 1000.0  # whatever it is: Z = M m
    normaliser = num_images * mean
    prior = len(negatives) / num_images
    total = 0.0
    for anchor, positive in zip(anchors, positives, strict=True):
        right = math.exp(anchor @ positive / TAU) / normaliser
        total -= math.log(right / (right + prior))
        for negative in negatives:
            wrong = math.exp(anchor @ negative / TAU) / normaliser
            total -= math.log(1 - wrong / (wrong + prior))
    return total / len(anchors)


def test_nce_by_hand() -> None:
    # One negative at a right angle, e = 1, and m = 1: h = 1/2. The positive is the anchor: e = exp(1 / 0.07).
    anchor, negative = tf.constant([[1.0, 0.0]], tf.float64), tf.constant([[0.0, 1.0]], tf.float64)
    found = float(contrast.nce(anchor, anchor, negative, tf.constant(0.0, tf.float64)))
    assert found == pytest.approx(math.log(1 + math.exp(-1 / 0.07)) + math.log(2), rel=1e-12)


def test_nce_against_numpy() -> None:
    arrays = [tf.constant(part) for part in (ANCHORS, POSITIVES, NEGATIVES)]
    found = float(contrast.nce(*arrays, tf.constant(math.log(3.7), tf.float64)))
    assert found == pytest.approx(plain_nce(ANCHORS, POSITIVES, NEGATIVES, 3.7), rel=1e-9)


def test_the_constant_is_the_mean_over_all_pairs() -> None:
    pairs = np.concatenate([np.sum(ANCHORS * POSITIVES, axis=1), (ANCHORS @ NEGATIVES.T).ravel()])
    found = float(contrast.log_mean_of(*(tf.constant(part) for part in (ANCHORS, POSITIVES, NEGATIVES))))
    assert found == pytest.approx(math.log(np.mean(np.exp(pairs / TAU))), rel=1e-9)


def test_turning_everything_changes_nothing() -> None:
    rotation, _ = np.linalg.qr(RANDOM.normal(size=(6, 6)))
    log_mean = tf.constant(1.0, tf.float64)
    plain, turned = (
        float(contrast.nce(*(tf.constant(part @ matrix) for part in (ANCHORS, POSITIVES, NEGATIVES)), log_mean))
        for matrix in (np.eye(6), rotation)
    )
    assert turned == pytest.approx(plain, rel=1e-9)


def made(seed: int = 0, num_negatives: int = 7, dtype: str = "float64") -> Contrast:
    _keras.reset(0)
    _keras.tf_keras.backend.set_floatx(dtype)
    try:
        return Contrast(3, 4, num_train=20, num_negatives=num_negatives, seed=seed)
    finally:
        _keras.tf_keras.backend.set_floatx("float32")


STUDENT, TEACHER = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(5, 4))
INDICES = np.array([1, 2, 8, 13, 19])


def numpy_step(layer: Contrast, step: int) -> tuple[float, list[np.ndarray]]:
    """The loss of a step and the banks after it, from the state before it."""
    banks = [bank.numpy() for bank in layer.banks]
    seen = [
        unit(rows @ projection.kernel.numpy() + projection.bias.numpy())
        for rows, projection in zip((STUDENT, TEACHER), layer.projections, strict=True)
    ]
    drawn = tf.random.stateless_uniform([7], [layer.seed, step], maxval=20, dtype=tf.int64).numpy()
    total = 0.0
    for (anchors, positives), bank, stored in zip(
        (seen, seen[::-1]), banks[::-1], layer.log_means.numpy(), strict=True
    ):
        similar = np.concatenate([np.sum(anchors * positives, axis=1), (anchors @ bank[drawn].T).ravel()])
        mean = np.mean(np.exp(similar / TAU)) if step == 0 else math.exp(stored)
        total += plain_nce(anchors, positives, bank[drawn], mean)
    for bank, rows in zip(banks, seen, strict=True):
        bank[INDICES] = unit((bank[INDICES] + rows) / 2)
    return total, banks


def test_a_step_against_numpy() -> None:
    layer = made()
    for step in (0, 1):
        expected, banks = numpy_step(layer, step)
        before = layer.log_means.numpy()
        found = float(
            layer(tf.constant(STUDENT), tf.constant(TEACHER), tf.constant(INDICES), tf.constant(step, tf.int64))
        )
        assert found == pytest.approx(expected, rel=1e-9)
        for bank, wanted in zip(layer.banks, banks, strict=True):
            np.testing.assert_allclose(bank.numpy(), wanted, rtol=1e-9)
        assert np.array_equal(layer.log_means.numpy(), before) == (step == 1)


def test_draws_depend_on_seed_and_step_alone() -> None:
    def value(seed: int, step: int) -> float:
        return float(
            made(seed)(tf.constant(STUDENT), tf.constant(TEACHER), tf.constant(INDICES), tf.constant(step, tf.int64))
        )

    assert value(3, 5) == value(3, 5)
    assert len({value(3, 5), value(3, 6), value(4, 5)}) == 3


def test_gradients_against_finite_differences() -> None:
    """Of the student's embedding and of both projections; every call starts from the same banks."""
    layer = made()
    start = layer.get_weights()
    student = tf.Variable(STUDENT)

    def value() -> object:
        return layer(student, tf.constant(TEACHER), tf.constant(INDICES), tf.constant(1, tf.int64))

    watched = [student, *(projection.kernel for projection in layer.projections)]
    with tf.GradientTape() as tape:
        loss = value()
    gradients = tape.gradient(loss, watched)
    for variable, gradient in zip(watched, gradients, strict=True):
        point, index, step = variable.numpy(), (2, 1), 1e-6
        sides = []
        for sign in (1, -1):
            layer.set_weights(start)
            moved = point.copy()
            moved[index] += sign * step
            variable.assign(moved)
            sides.append(float(value()))
        variable.assign(point)
        assert gradient.numpy()[index] == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_banks_are_state_and_not_trained() -> None:
    layer = made()
    assert [tuple(weight.shape) for weight in layer.trainable_variables] == [(3, 128), (128,), (4, 128), (128,)]
    assert [tuple(weight.shape) for weight in layer.non_trainable_variables] == [(20, 128), (20, 128), (2,)]
    # Uniform in +-sqrt(3 / 128): each number has variance 1 / 128, and a row of 128 the square length 1.
    assert np.mean(np.sum(layer.banks[0].numpy() ** 2, axis=1)) == pytest.approx(1, abs=0.05)


def test_it_needs_features() -> None:
    with pytest.raises(RecipeError, match=r'"crd" compares feature maps, and distill\.mode = "stored"'):
        losses.check(Distill(loss={"crd": 1.0}))


def network(channels: int, name: str):
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    x = layers.ReLU(name="relu")(layers.Conv2D(channels, 3, strides=4, name="conv")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x), name=name)


def test_it_teaches_which_image_it_is() -> None:
    """Both see the same numbers mixed in their own ways: an image's two embeddings come to find each other among 20."""
    draw = np.random.default_rng(2)
    seen = draw.normal(size=(20, 12)).astype(np.float32)
    student, teacher = (tf.constant(seen @ draw.normal(size=(12, width)).astype(np.float32)) for width in (14, 16))
    _keras.reset(0)
    layer = Contrast(14, 16, num_train=20, num_negatives=20, seed=0)
    optimizer = _keras.tf_keras.optimizers.legacy.SGD(0.05)

    def found() -> float:
        ours, theirs = (
            unit(projection(rows).numpy())
            for projection, rows in zip(layer.projections, (student, teacher), strict=True)
        )
        return float(np.mean(np.argmax(ours @ theirs.T, axis=1) == np.arange(20)))

    before = found()
    for step in range(50):
        with tf.GradientTape() as tape:
            loss = layer(student, teacher, tf.range(20), tf.constant(step, tf.int64))
        gradients = tape.gradient(loss, layer.trainable_variables)
        optimizer.apply_gradients(zip(gradients, layer.trainable_variables, strict=True))
    assert before <= 0.2  # chance is 1 in 20
    assert found() >= 0.9


def test_a_live_teacher_is_not_touched(tiny_data: Artifact) -> None:
    _keras.reset(0)
    student, teacher = network(4, "student"), network(6, "teacher")
    learner, pairs = beside_teacher(student, teacher, Distill(mode="live", loss={"crd": 1.0}), num_train=48)
    assert [(pair.student, pair.teacher) for pair in pairs] == [("relu", "relu")]
    before = [[array.copy() for array in part.get_weights()] for part in (student, teacher, *learner.companions)]
    step = make_step(learner, make_optimizer(learner, Training(learning_rate=0.1)))
    step(0.1, make_batch(Dataset.open(tiny_data).train, np.arange(16), 0, Views(), 0, None, np.ones(2, np.float32)))
    after = [part.get_weights() for part in (student, teacher, *learner.companions)]
    same = [[np.array_equal(a, b) for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)]
    assert not all(same[0])
    assert all(same[1])
    # Both projections with their biases learn, both banks remember, the constants are set.
    assert same[2] == [False] * 7
    bank = after[2][4]
    np.testing.assert_array_equal(bank[16:], before[2][4][16:])
    np.testing.assert_allclose(np.linalg.norm(bank[:16], axis=1), 1, rtol=1e-5)


class Killed(Exception):
    """Stands for SIGKILL."""


def test_a_killed_training_ends_as_an_unbroken_one(tiny_data: Artifact, tmp_path: Path) -> None:
    """Banks, constants and projections come back from the checkpoint, and the draws go on where they were."""

    def train(work: Path, seed: int, kill_at: int = 100) -> Learner:
        _keras.reset(seed)
        config = Distill(mode="live", loss={"crd": 1.0}, crd_negatives=1000)
        learner, _ = beside_teacher(network(4, "student"), teacher, config, num_train=48, seed=5)
        steps = iter(range(100))

        def kill() -> None:
            if next(steps) == kill_at:
                raise Killed

        fit(
            learner,
            Dataset.open(tiny_data),
            training=Training(epochs=3, batch_size=16, learning_rate=0.05, warmup_epochs=0),
            views=Views(max_shift=0.1),
            seed=5,
            work=work,
            progress=Progress(),
            title="tiny",
            hooks=Hooks(before_step=kill),
        )
        return learner

    _keras.reset(1)
    teacher = network(6, "teacher")
    unbroken = train(tmp_path / "unbroken", 0)
    with pytest.raises(Killed):
        train(tmp_path / "broken", 0, kill_at=4)
    resumed = train(tmp_path / "broken", 99)  # whatever it begins with, the checkpoint decides
    for one, other in zip((unbroken.model, *unbroken.companions), (resumed.model, *resumed.companions), strict=True):
        for expected, found in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected)
