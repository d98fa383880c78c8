from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from edgekd import _keras, losses
from edgekd._keras import tf
from edgekd.config.distill import Distill
from edgekd.errors import ModelError
from edgekd.losses import Pair, features
from edgekd.models import build_student, build_teacher, layer_pairs, with_features

RANDOM = np.random.default_rng(4)
TEACHER = RANDOM.normal(0, 1, (5, 4, 4, 6))
STUDENT = RANDOM.normal(0, 1, (5, 4, 4, 3))


def test_attention_by_hand() -> None:
    # Squares (3, 4) and (4, 3) are vectors of length 5: (0.6, 0.8) and (0.8, 0.6), 0.04 + 0.04 apart.
    student = tf.constant([[[[math.sqrt(3)], [2.0]]]], tf.float64)
    teacher = tf.constant([[[[2.0], [math.sqrt(3)]]]], tf.float64)
    assert float(features.attention(teacher, student)) == pytest.approx(0.08, abs=1e-12)


def test_attention_does_not_see_scale_or_order_of_channels() -> None:
    found = float(features.attention(tf.constant(7.0 * STUDENT[..., ::-1]), tf.constant(STUDENT)))
    assert found == pytest.approx(0.0, abs=1e-12)


def test_larger_maps_are_averaged_over_blocks() -> None:
    # Blocks of 2 x 2 of 0..15 in four rows: (0 + 1 + 4 + 5) / 4 = 2.5, then 4.5, 10.5, 12.5.
    large = tf.reshape(tf.range(16, dtype=tf.float64), (1, 4, 4, 1))
    small = tf.reshape(tf.constant([2.5, 4.5, 10.5, 12.5], tf.float64), (1, 2, 2, 1))
    eye = tf.eye(1, dtype=tf.float64)
    assert float(features.fitnet(large, small, eye)) == pytest.approx(0.0, abs=1e-12)
    assert float(features.fitnet(small, large, eye)) == pytest.approx(0.0, abs=1e-12)


def test_fitnet_by_hand() -> None:
    # 1 * 1 + 2 * 3 = 7 against 5: half of the square of 2.
    student, teacher = tf.constant([[[[1.0, 2.0]]]]), tf.constant([[[[5.0]]]])
    assert float(features.fitnet(teacher, student, tf.constant([[1.0], [3.0]]))) == pytest.approx(2.0)


def test_rkd_distance_by_hand() -> None:
    # On a line: teacher 0, 1, 3 has distances 1, 3, 2 of mean 2; student 0, 1, 2 has 1, 2, 1 of mean 4/3.
    # Relative: (1/2, 3/2, 1) and (3/4, 3/2, 3/4), 1/4 apart twice; each pair stands twice among nine.
    teacher = tf.reshape(tf.constant([0.0, 1.0, 3.0], tf.float64), (3, 1, 1, 1))
    student = tf.reshape(tf.constant([0.0, 1.0, 2.0], tf.float64), (3, 1, 1, 1))
    expected = 2 * 2 * 0.5 * 0.25**2 / 9
    assert float(features.rkd_distance(teacher, student)) == pytest.approx(expected, rel=1e-9)


def test_rkd_angle_against_loops() -> None:
    def cosines(points: np.ndarray) -> np.ndarray:
        found = np.zeros((5, 5, 5))
        for i, j, k in itertools.product(range(5), repeat=3):
            a, b = points[i] - points[j], points[k] - points[j]
            if i != j and k != j:
                found[i, j, k] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        return found

    difference = np.abs(cosines(STUDENT.mean(axis=(1, 2))) - cosines(TEACHER.mean(axis=(1, 2))))
    expected = np.mean(np.where(difference <= 1, 0.5 * difference**2, difference - 0.5))
    assert float(features.rkd_angle(tf.constant(TEACHER), tf.constant(STUDENT))) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["rkd_distance", "rkd_angle"])
def test_relations_survive_turning_scaling_and_moving(name: str) -> None:
    rotation, _ = np.linalg.qr(RANDOM.normal(size=(6, 6)))
    moved = 3.0 * TEACHER @ rotation + 5.0
    assert float(getattr(features, name)(tf.constant(moved), tf.constant(TEACHER))) == pytest.approx(0.0, abs=1e-12)


def test_equal_points_have_a_finite_gradient() -> None:
    student = tf.Variable(np.ones((3, 1, 1, 2)))
    with tf.GradientTape() as tape:
        teacher = tf.constant(TEACHER[:3])
        value = features.rkd_distance(teacher, student) + features.rkd_angle(teacher, student)
    assert np.all(np.isfinite(tape.gradient(value, student).numpy()))


@pytest.mark.parametrize("name", ["attention", "fitnet", "rkd"])
def test_gradient_against_finite_differences(name: str) -> None:
    config = Distill(loss={name: 1.0}, mode="live", hard_loss_weight=0.0)
    _keras.reset(0)
    _keras.tf_keras.backend.set_floatx("float64")
    try:
        term = losses.objective(config, losses.Setting([Pair("a", "b", 3, 6)]))
    finally:
        _keras.tf_keras.backend.set_floatx("float32")

    def value(student: object) -> object:
        logits = tf.zeros((5, 2), tf.float64)
        return term.function(
            losses.Signals(tf.one_hot([0] * 5, 2), logits, logits, 1.0, 0.0, 1.0, [student], [tf.constant(TEACHER)])
        )

    student = tf.Variable(STUDENT)
    with tf.GradientTape() as tape:
        loss = value(student)
    gradient, step = tape.gradient(loss, student).numpy(), 1e-6
    for index in [(0, 0, 0, 0), (2, 1, 3, 2), (4, 3, 3, 1)]:
        bump = np.zeros_like(STUDENT)
        bump[index] = step
        numeric = (float(value(tf.constant(STUDENT + bump))) - float(value(tf.constant(STUDENT - bump)))) / (2 * step)
        assert gradient[index] == pytest.approx(numeric, rel=1e-5, abs=1e-9)


def test_layers_of_equal_size_are_paired_from_the_largest_down() -> None:
    _keras.reset(0)
    student = build_student("mobilenet_v2", image_size=32, num_classes=2, width_multiplier=0.35)
    teacher = build_teacher("resnet_small", image_size=32, num_classes=2, weights="none")
    pairs = layer_pairs(student, teacher, {})
    sizes = [
        [model.get_layer(name).output.shape[1] for model, name in zip((student, teacher), pair, strict=True)]
        for pair in pairs
    ]
    assert sizes == [[16, 16], [8, 8]]  # the teacher has no others below 32
    assert pairs[-1][1] == "stage2_block1_relu2"


def test_layers_of_a_teacher_that_sees_another_size_are_paired_by_rank() -> None:
    """A teacher that resizes 32 pixels to 48 has maps of 24, 12, ... positions where the student has 16, 8, ..."""
    layers = _keras.tf_keras.layers

    def network(side: int, name: str) -> Any:
        pixels = _keras.tf_keras.Input((32, 32, 3))
        x = layers.Resizing(side, side)(pixels)
        for stride in (2, 4, 8):
            x = layers.Conv2D(4, 3, strides=2, padding="same", name=f"{name}{stride}")(x)
        return _keras.tf_keras.Model(pixels, x)

    found = layer_pairs(network(32, "student"), network(48, "teacher"), {})
    assert found == [("student2", "teacher2"), ("student4", "teacher4"), ("student8", "teacher8")]


def test_maps_whose_sides_do_not_divide_each_other_are_averaged_by_overlapping_triangles() -> None:
    """Three positions to two: the centre of the first lies at 0.25, the triangle reaches 1.5 to each side.

    Weights 1 - 0.25 / 1.5 and 1 - 0.75 / 1.5, that is 5/6 and 3/6, and nothing of the third: 5/8 and 3/8 of their sum.
    """
    values = np.arange(9.0).reshape(1, 3, 3, 1).astype(np.float32) ** 2
    weights = np.array([[5, 3, 0], [0, 3, 5]]) / 8
    expected = weights @ values[0, :, :, 0] @ weights.T
    student = tf.constant(expected.reshape(1, 2, 2, 1), tf.float32)
    assert float(features.attention(tf.constant(values), student)) == pytest.approx(0.0, abs=1e-10)
    other = tf.Variable(values)
    with tf.GradientTape() as tape:
        loss = features.attention(tf.constant(expected[::-1].reshape(1, 2, 2, 1), tf.float32), other)
    gradient = tape.gradient(loss, other)
    assert float(loss) > 0.01
    assert np.isfinite(gradient.numpy()).all()
    assert np.abs(gradient.numpy()).max() > 0


def test_named_pairs_are_checked() -> None:
    _keras.reset(0)
    student = build_student("mobilenet_v2", image_size=32, num_classes=2, width_multiplier=0.35)
    teacher = build_teacher("resnet_small", image_size=32, num_classes=2, weights="none")
    with pytest.raises(
        ModelError, match='the student has no feature map "block_13_expand_rel"; did you mean "block_13_'
    ):
        layer_pairs(student, teacher, {"block_13_expand_rel": "stage2_block1_relu2"})
    with pytest.raises(ModelError, match='the teacher has no feature map "logits"'):
        layer_pairs(student, teacher, {"out_relu": "logits"})


def test_features_come_with_the_logits_of_the_same_network() -> None:
    _keras.reset(0)
    teacher = build_teacher("resnet_small", image_size=32, num_classes=3, weights="none")
    pixels = RANDOM.uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    logits, maps = with_features(teacher, ["stage1_block1_relu2", "stage2_block1_relu2"])(pixels, False)
    np.testing.assert_allclose(logits, teacher(pixels, training=False), rtol=1e-6)
    assert [tuple(item.shape) for item in maps] == [(2, 16, 16, 64), (2, 8, 8, 128)]
    alone, none = with_features(teacher, [])(pixels, False)
    np.testing.assert_allclose(alone, logits, rtol=1e-6)
    assert none == []
