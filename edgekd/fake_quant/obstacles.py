"""Which students can learn with the rounding of INT8: said of the layers, before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekd._keras import tf, tf_keras
from edgekd.errors import ModelError


def check(model: Any) -> None:
    """Raise where a student cannot be trained so.

    Raises:
        ModelError: names the layer, what is wrong with it and the remedy.
    """
    for layer in model.layers:
        if obstacle := _obstacle(layer):
            raise ModelError(
                f'quantize.method = "qat": layer "{layer.name}" {obstacle}; or set quantize.method = "ptq"'
            )


def _obstacle(layer: Any) -> str | None:
    """Why a layer has no range, or would have floating point between two; None where all is well."""
    layers = tf_keras.layers
    if isinstance(layer, tf_keras.Model):
        return "is a model within the model; build the student of layers alone"
    if len(layer.inbound_nodes) > 1:
        return "is used twice, and each use wants a range of its own; give each use a layer"
    if type(layer) is layers.BatchNormalization:
        sources = tf.nest.flatten(layer.inbound_nodes[0].inbound_layers)
        followed = all(type(source) in _with_kernel() and len(source.outbound_nodes) == 1 for source in sources)
        return None if followed else "does not follow a convolution or dense layer, alone; put it behind one"
    if type(layer) not in _known():
        return (
            f"is of class {type(layer).__name__}, which has no form with ranges; use "
            f"{', '.join(sorted(kind.__name__ for kind in _known() if kind is not layers.InputLayer))}"
        )
    activation = getattr(layer, "activation", None)
    if activation is not None and activation.__name__ not in ("linear", "relu"):
        return f'has the activation "{activation.__name__}"; use relu or linear'
    if type(layer) is layers.ReLU and (layer.negative_slope or layer.threshold):
        return "is a ReLU with a slope or a threshold; use a plain one or max_value"
    if type(layer) is layers.Rescaling and np.ndim(layer.scale) + np.ndim(layer.offset):
        return "scales each channel in its own way; use one scale and one offset"
    return None


def _with_kernel() -> tuple[type, ...]:
    layers = tf_keras.layers
    return layers.Conv2D, layers.DepthwiseConv2D, layers.Dense


def _known() -> tuple[type, ...]:
    layers = tf_keras.layers
    shapes = (layers.Flatten, layers.Reshape, layers.ZeroPadding2D, layers.MaxPooling2D, layers.Dropout)
    sums = (layers.Add, layers.Concatenate, layers.AveragePooling2D, layers.GlobalAveragePooling2D)
    return *_with_kernel(), *shapes, *sums, layers.ReLU, layers.Activation, layers.Rescaling, layers.InputLayer
