"""Scores of channels, by hand and against the change that they predict."""

from __future__ import annotations

from typing import Any

import channel_models
import numpy as np
import pytest
from channel_models import conv, head, image, images, layers, randomized

from edgekd import _keras, channels
from edgekd._keras import tf, tf_keras
from edgekd.errors import ModelError, TrainingError


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def one_convolution() -> Any:
    x = image(1)
    return head(x, conv(x, 4, "a"))


def test_l1_is_relative_to_the_layer() -> None:
    """Magnitudes 1, 2, 3 and 6 have the mean 3."""
    model = one_convolution()
    model.get_layer("a").set_weights([np.reshape([1.0, -2.0, 3.0, -6.0], (1, 1, 1, 4)), np.full(4, 100.0)])
    np.testing.assert_allclose(channels.l1(channels.follow(model))["a"], [1 / 3, 2 / 3, 1, 2], rtol=1e-6)


def test_l1_of_layers_that_go_together() -> None:
    """The mean of the convolution's and the depthwise convolution's, of which two outputs belong to each input."""
    x = image(1)
    wide = layers.DepthwiseConv2D(1, depth_multiplier=2, name="dw")(conv(x, 2, "a"))
    model = head(x, wide)
    model.get_layer("a").set_weights([np.reshape([1.0, 3.0], (1, 1, 1, 2)), np.zeros(2)])
    model.get_layer("dw").set_weights([np.reshape([[5.0, 7.0], [1.0, 3.0]], (1, 1, 2, 2)), np.zeros(4)])
    # a: 1 and 3 over 2. dw: means 6 and 2 over 4.
    np.testing.assert_allclose(channels.l1(channels.follow(model))["a"], [(0.5 + 1.5) / 2, (1.5 + 0.5) / 2], rtol=1e-6)


def test_l1_of_a_dead_layer_is_zero() -> None:
    model = one_convolution()
    model.get_layer("a").set_weights([np.zeros((1, 1, 1, 4)), np.zeros(4)])
    assert channels.l1(channels.follow(model))["a"].tolist() == [0, 0, 0, 0]


def test_scores_are_given_for_what_may_go() -> None:
    structure = channels.follow(channel_models.shared_tensor(), protected=["d"])
    assert {name: scores.shape for name, scores in channels.l1(structure).items()} == {"a": (16,)}


def test_bn_scale_is_the_mean_magnitude_of_gamma() -> None:
    x = image()
    a = layers.BatchNormalization(name="one")(conv(x, 3, "a"))
    model = head(x, layers.Add(name="add")([a, layers.BatchNormalization(name="two")(conv(x, 3, "b"))]))
    model.get_layer("one").gamma.assign([1.0, -2.0, 3.0])
    model.get_layer("two").gamma.assign([0.0, 4.0, -1.0])
    assert channels.bn_scale(channels.follow(model))["a"].tolist() == [0.5, 3.0, 2.0]


def test_bn_scale_needs_a_gamma() -> None:
    with pytest.raises(ModelError, match=r'^criterion bn_scale: the channels of layer "d" have no batch normalization'):
        channels.bn_scale(channels.follow(channel_models.shared_tensor()))
    structure = channels.follow(channel_models.shared_tensor(), protected=["d"])
    assert channels.bn_scale(structure)["a"].tolist() == [1] * 16


def linear() -> Any:
    """At (1, 2) the hidden channels are 1 and 6, and the output 4 * 1 - 6 = -2."""
    x = tf_keras.Input((2,), name="features")
    model = tf_keras.Model(x, layers.Dense(1, name="out")(layers.Dense(2, name="hidden")(x)))
    model.set_weights([np.diag([1.0, 3.0]), np.zeros(2), np.array([[4.0], [-1.0]]), np.zeros(1)])
    return model


def test_taylor_by_hand() -> None:
    """Without the first channel the output falls by 4, without the second it rises by 6."""
    model = linear()
    scores = channels.taylor(
        channels.follow(model), [[[1.0, 2.0]]], lambda batch: tf.reduce_mean(model(tf.constant(batch)))
    )
    assert scores["hidden"].tolist() == [4, 6]


def test_taylor_averages_magnitudes_over_batches_and_sums_within_one() -> None:
    model = linear()
    structure = channels.follow(model)

    def loss(batch: Any) -> Any:
        return tf.reduce_mean(model(tf.constant(batch)))

    one, other = [1.0, 2.0], [-3.0, -2.0]
    assert channels.taylor(structure, [[one], [other]], loss)["hidden"].tolist() == [(4 + 12) / 2, (6 + 6) / 2]
    # In one batch: mean of 4 and -12, mean of -6 and 6.
    assert channels.taylor(structure, [[one, other]], loss)["hidden"].tolist() == [4, 0]


@pytest.mark.parametrize("traced", [False, True])
def test_taylor_is_exact_where_the_loss_is_linear_in_the_channel(traced: bool) -> None:
    """Behind the normalization all is linear, so the first order is the whole change of the loss."""
    x = image()
    hidden = layers.Dropout(0.5)(layers.BatchNormalization(name="bn")(conv(x, 12, "a", 3, activation="relu")))
    model = randomized(head(x, hidden))
    model.get_layer("bn").trainable = False
    structure, pixels = channels.follow(model), images(model, 8, 3.0)
    direction = tf.constant([1.0, -2.0])

    def loss(batch: Any) -> Any:
        return tf.reduce_mean(model(batch, training=False) @ direction[:, tf.newaxis])

    found = channels.taylor(structure, [pixels], tf.function(loss) if traced else loss)["a"]
    original, before = model.get_weights(), float(loss(pixels))
    expected = []
    for channel in range(12):
        model.set_weights(channels.zeroed_weights(structure, channels.Plan({"a": (channel,)})))
        expected.append(abs(float(loss(pixels)) - before))
        model.set_weights(original)
    assert min(expected) > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_taylor_of_a_sum_counts_what_is_added() -> None:
    """Two convolutions are added: taking channel k away takes both parts away."""
    x = image()
    model = randomized(head(x, layers.Add(name="add")([conv(x, 8, "a", 3), conv(x, 8, "b")])))
    structure, pixels = channels.follow(model), images(model, 4, 3.0)

    def loss(batch: Any) -> Any:
        return tf.reduce_sum(model(batch, training=False))

    found = channels.taylor(structure, [pixels], loss)["a"]
    pooled = tf_keras.Model(model.input, model.get_layer("pool").output)(pixels).numpy()
    weight = model.get_layer("logits").kernel.numpy().sum(axis=1)
    np.testing.assert_allclose(found, np.abs(pooled.sum(axis=0) * weight), rtol=1e-4, atol=1e-5)


def test_taylor_says_what_it_lacks() -> None:
    model = linear()
    structure = channels.follow(model)
    with pytest.raises(TrainingError, match=r"^criterion taylor: no batch to measure on$"):
        channels.taylor(structure, [], lambda batch: 0.0)
    with pytest.raises(TrainingError, match=r"^criterion taylor: the loss of a batch is nan$"):
        channels.taylor(structure, [[[np.nan, 0.0]]], lambda batch: tf.reduce_mean(model(tf.constant(batch))))
    with pytest.raises(TrainingError, match=r"^criterion taylor: the loss does not depend on the model's weights$"):
        channels.taylor(structure, [[0.0]], lambda batch: tf.reduce_mean(tf.constant(batch)))
