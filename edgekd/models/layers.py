"""What the networks that are built here share."""

from __future__ import annotations

from typing import Any

from edgekd._keras import tf_keras

# Keras applications use 0.999. After a thousand steps such an average has not arrived, and evaluation is at chance.
BATCH_NORM_MOMENTUM = 0.9


def conv_bn(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """Convolution without bias, batch normalisation: ``(n, h, w, c)`` to ``(n, h / stride, w / stride, channels)``."""
    layers = tf_keras.layers
    x = layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def with_momentum(model: Any) -> Any:
    """Set the momentum of every batch normalisation, whoever built it; returns the model."""
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return model
