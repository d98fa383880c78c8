"""Batch normalization over all workers; that two workers are one stands in test_workers.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekd._keras import tf, tf_keras
from edgekd.synchronize import synchronized


def step_of(layer: Any, inputs: Any, upstream: Any) -> list[Any]:
    """What a layer gives in training, its gradients, and what it keeps; from its first moving averages."""
    for moving, first in ((layer.moving_mean, 0.5), (layer.moving_variance, 2.0)):
        moving.assign(np.full(moving.shape, first, np.float32))
    variables = [inputs, *layer.trainable_variables]

    @tf.function
    def step() -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        return outputs, tape.gradient(outputs, variables, upstream)

    outputs, gradients = step()
    return [outputs.numpy(), *(value.numpy() for value in gradients), *(v.numpy() for v in layer.non_trainable_weights)]


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6, 5, 4, 3), {}),
        ((9, 7), {}),
        ((6, 3, 5, 4), {"axis": 1}),
        ((6, 5, 4, 3), {"axis": [1, 3]}),
        ((6, 5, 4, 3), {"scale": False, "center": False}),
        ((6, 5, 4, 3), {"epsilon": 0.1, "momentum": 0.5}),
    ],
)
def test_one_worker_computes_as_keras(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    layer = tf_keras.layers.BatchNormalization(**options)
    layer.build(shape)
    for weight in layer.trainable_weights:
        weight.assign(generator.uniform(0.5, 2.0, weight.shape))
    # A mean that is large against the spread: E[x**2] - E[x]**2 would be wrong in its third digit.
    inputs = tf.constant(generator.normal(100.0, 2.0, shape), tf.float32)
    upstream = tf.constant(generator.normal(size=shape), tf.float32)
    expected = step_of(layer, inputs, upstream)
    with synchronized([layer]):
        found = step_of(layer, inputs, upstream)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)
    assert "call" not in vars(layer)


def test_outside_of_training_nothing_is_synchronized() -> None:
    layer = tf_keras.layers.BatchNormalization()
    layer.build((2, 3))
    layer.moving_mean.assign([1.0, 2.0, 3.0])
    with synchronized([layer]):
        outputs = layer(tf.constant([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]]), training=False)
    expected = np.array([[0, 0, 0], [1, 0, -1]]) / np.sqrt(1 + layer.epsilon)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
