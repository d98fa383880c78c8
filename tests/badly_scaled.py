"""A network that plain INT8 breaks on purpose: one layer has a channel a thousand times as large as the others."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from tflite_models import SIDE, smooth_images

from edgekd import _keras, tflite

BAD_LAYER, READER = "depthwise", "after"
FACTOR = 1000.0


@functools.cache
def badly_scaled_cnn() -> Any:
    """Stem, a bad depthwise layer, the depthwise layer that reads it and undoes the factor, pointwise, logits.

    ReLU is positively homogeneous: ``relu(c x) = c relu(x)``. So channel 0 of the bad layer times 1000, and the
    reader's kernel for that channel by 1000, is the same function in float. One scale for the tensor between them
    leaves the other channels a step or none.
    """
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((SIDE, SIDE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name=BAD_LAYER)(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name=READER)(x)
    x = layers.Conv2D(16, 1, activation="relu", name="pointwise")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = _keras.tf_keras.Model(pixels, layers.Dense(3, name="logits")(x), name="badly_scaled")
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            fan_in = 9 if "Depthwise" in type(layer).__name__ else kernel.size / kernel.shape[-1]
            layer.set_weights([rng.normal(0, (2 / fan_in) ** 0.5, kernel.shape), rng.normal(0, 0.1, bias.shape)])
    for name in (BAD_LAYER, READER):
        kernel, bias = model.get_layer(name).get_weights()
        # Kernels that let every channel through.
        model.get_layer(name).set_weights([np.abs(kernel), np.abs(bias)])
    _fit_colours(model)
    _times_first_channel(model.get_layer(BAD_LAYER), FACTOR, bias_too=True)
    _times_first_channel(model.get_layer(READER), 1 / FACTOR, bias_too=False)
    return model


def _times_first_channel(layer: Any, factor: float, *, bias_too: bool) -> None:
    kernel, bias = layer.get_weights()
    kernel[..., 0, :] *= factor
    if bias_too:
        bias[0] *= factor
    layer.set_weights([kernel, bias])


def colours(images: Any) -> Any:
    """The class of an image: the colour of which it holds most."""
    return images.reshape(len(images), -1, 3).sum(axis=1, dtype=np.int64).argmax(axis=1)


def _fit_colours(model: Any) -> None:
    """The last layer by least squares, so that the network is right about the colours and has something to lose."""
    features = _keras.tf_keras.Model(model.input, model.get_layer("pool").output)
    images = smooth_images(600, seed=11)
    inputs = np.float64(features(np.float32(images), training=False).numpy())
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    weights = np.linalg.solve(
        inputs.T @ inputs + 0.01 * np.eye(inputs.shape[1]), inputs.T @ (8 * np.eye(3)[colours(images)])
    )
    model.get_layer("logits").set_weights([weights[:-1], weights[-1]])


@functools.cache
def badly_scaled_files() -> tuple[bytes, bytes]:
    """The float file and the INT8 file."""
    frozen = tflite.freeze(badly_scaled_cnn())
    return tflite.convert(frozen, "fp32"), tflite.convert(frozen, "int8", smooth_images(64, seed=1))
