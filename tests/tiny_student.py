"""A student that trains in no time, for tests of what trains it."""

from __future__ import annotations

from typing import Any

from edgekd import _keras

SIDE = 16


def tiny_student(seed: int = 0) -> Any:
    """Pixels ``(16, 16, 3)`` to two logits: a convolution of 4 channels, batch normalization, and a dense layer."""
    _keras.reset(seed)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((SIDE, SIDE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    x = layers.Conv2D(4, 3, strides=4, name="conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name="bn")(x)
    x = layers.Flatten(name="flat")(layers.ReLU(name="relu")(x))
    return _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x), name="tiny")
