"""Small models and images that the tests of conversion share."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from PIL import Image

from edgekd import _keras, tflite

SIDE = 16
NUM_CLASSES = 3


def smooth_images(count: int, side: int = SIDE, *, seed: int = 0, largest: int = 255) -> Any:
    """Coloured clouds; white noise would be averaged away and give the same logits for every image."""
    noise = np.random.default_rng(seed).integers(0, largest + 1, (count, 3, 3, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BILINEAR)) for small in noise]
    )


def tiny_cnn(*, softmax: bool = False, activation: Any = "relu", sparsity: float = 0.0) -> Any:
    """Convolution, depthwise and pointwise convolution, dense; weights from a fixed generator, logits of order 1."""
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((SIDE, SIDE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.Activation(activation, name="stem_act")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(64, 1, name="pointwise")(x)
    x = layers.ReLU(name="pointwise_act")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(NUM_CLASSES, activation="softmax" if softmax else None, name="logits")(x)
    model = _keras.tf_keras.Model(pixels, logits, name="tiny_cnn")
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [rng.uniform(0.5, 1.5, shape), *rng.normal(0, 0.2, (2, *shape)), rng.uniform(0.5, 1.5, shape)]
            )
        elif layer.weights:
            kernel, *rest = layer.get_weights()
            fan_in = kernel.size / kernel.shape[-1] if layer.name != "depthwise" else 9
            kernel = rng.normal(0, (2 / fan_in) ** 0.5, kernel.shape)
            if layer.name == "logits":
                kernel *= 4
            if layer.name in ("stem", "pointwise", "logits") and sparsity:
                flat = kernel.ravel()
                flat[np.argsort(np.abs(flat))[: round(sparsity * flat.size)]] = 0
            layer.set_weights([kernel, *(rng.normal(0, 0.1, bias.shape) for bias in rest)])
    return model


@functools.cache
def tiny_frozen() -> Any:
    """``freeze`` of the tiny network, once for all tests."""
    return tflite.freeze(tiny_cnn())


@functools.cache
def tiny_file(variant: str) -> bytes:
    """A file of the tiny network, once for all tests."""
    return tflite.convert(tiny_frozen(), variant, smooth_images(64, seed=1))


def keras_logits(model: Any, images: Any) -> Any:
    """Logits by Keras, in float64."""
    return model(np.float32(images), training=False).numpy().astype(np.float64)


def softmax(logits: Any) -> Any:
    """The textbook formula."""
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)
