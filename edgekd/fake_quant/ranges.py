"""Ranges of INT8: taken from calibration images, and put into the graph that is converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import tf, tf_keras

Ranges = Mapping[str, tuple[float, float]]
"""``{layer: (low, high)}`` with ``low <= 0 <= high``"""

PIXELS = (0.0, 255.0)
"""What goes in; with it the input's scale is exactly 1."""


def calibrate(model: Any, images: NDArray[np.uint8], batch_size: int = 256) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value of every layer's output, 0 included, over calibration images.

    An all-0 and an all-255 image are added, as in a calibration after training.

    Args:
        model: flat, with one tensor out of each layer.
        images: uint8 ``(n, h, w, 3)``.
    """
    layers = [layer for layer in model.layers if not isinstance(layer, tf_keras.layers.InputLayer)]
    outputs = tf_keras.Model(model.input, [layer.output for layer in layers])
    ends = tf.function(
        lambda pixels: [
            (tf.minimum(tf.reduce_min(x), 0.0), tf.maximum(tf.reduce_max(x), 0.0))
            for x in outputs(tf.cast(pixels, tf.float32), training=False)
        ],
        reduce_retracing=True,
    )
    extremes = np.stack([np.full(images.shape[1:], value, np.uint8) for value in PIXELS])
    pictures = np.concatenate([extremes, images])
    found = np.array([ends(pictures[start : start + batch_size]) for start in range(0, len(pictures), batch_size)])
    lows, highs = found[..., 0].min(axis=0), found[..., 1].max(axis=0)
    return {layer.name: (float(low), float(high)) for layer, low, high in zip(layers, lows, highs, strict=True)}


@dataclass(frozen=True)
class Ranged:
    """A student whose outputs are bounded by ranges, for the converter: its weights are left to that.

    Callable as a Keras model is, ``(pixels, training=False) -> logits``.
    """

    model: Any
    input_shape: tuple[int | None, ...]

    def __call__(self, pixels: Any, training: bool = False) -> Any:
        """Logits ``(n, K)`` of float32 pixels ``(n, h, w, 3)``."""
        return self.model(_rounded(pixels, *PIXELS), training=training)


def with_ranges(model: Any, ranges: Ranges) -> Ranged:
    """Put each range behind its layer.

    Layers that run as one in INT8 (convolution, batch normalization, ReLU) have one range, behind the last of them: as
    :func:`edgekd.fake_quant.read_ranges` gives them.

    The converter takes ranges from the graph and rounds the weights itself, to the same numbers as in training: it
    scales a channel by its largest weight, and what batch normalization multiplies the channel by scales both alike.
    """

    def bounded(layer: Any) -> Any:
        copy = type(layer).from_config(layer.get_config())
        return _Bounded(copy, *ranges[layer.name]) if layer.name in ranges else copy

    copy = tf_keras.models.clone_model(model, clone_function=bounded)
    copy.set_weights(model.get_weights())
    return Ranged(copy, model.input_shape)


class _Bounded(tf_keras.layers.Layer):  # type: ignore[misc]  # tf_keras has no types
    """A layer, and the range of its output."""

    def __init__(self, layer: Any, low: float, high: float):
        super().__init__(name=layer.name)
        self.layer, self.low, self.high = layer, low, high

    def build(self, input_shape: Any) -> None:
        self.layer.build(input_shape)
        super().build(input_shape)

    def call(self, x: Any) -> Any:
        layer = self.layer
        if isinstance(layer, tf_keras.layers.Rescaling) and layer.scale != 1 and layer.offset:
            # Two operations in the file, and the converter wants a range behind each.
            x = _rounded(x * layer.scale, self.low - layer.offset, self.high - layer.offset) + layer.offset
        elif isinstance(layer, tf_keras.layers.BatchNormalization):
            x = layer.call(x, training=False)
        else:
            # Not called as a layer: in the file it has the name that it has without a range.
            x = layer.call(x)
        return _rounded(x, self.low, self.high)


def _rounded(x: Any, low: float, high: float) -> Any:
    return tf.quantization.fake_quant_with_min_max_args(x, min(low, 0.0), max(high, 0.0))
