"""A Keras 2 model file as a teacher: its layers behind an input of ours, and logits at its end."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekd._keras import tf_keras
from edgekd.errors import ModelError
from edgekd.models.given import Input, classes_differ
from edgekd.models.graft import graft
from edgekd.tasks import SOFTMAX


def as_teacher(model: Any, takes: Input, *, image_size: int, num_classes: int, title: str, head: str = SOFTMAX) -> Any:
    """The same network from pixels ``(n, s, s, 3)``, RGB in 0..255, to logits ``(n, K)``, flat, of built-in layers.

    What its input is multiplied with stands in a frozen 1x1 convolution; the head, a softmax or a sigmoid, is taken
    off its end.

    Raises:
        ModelError: an input of another layout, another number of outputs than of classes, an end that gives no logits.
    """
    if takes.layout != "nhwc":
        raise ModelError(f"{title} takes nchw, which Keras does not run on a CPU; give it as ONNX")
    pixels = tf_keras.Input((image_size, image_size, 3), name="pixels")
    seen = pixels
    if takes.size != (image_size, image_size):
        seen = tf_keras.layers.Resizing(*takes.size, interpolation="bilinear", name="resize")(pixels)
    scale = tf_keras.layers.Conv2D(len(takes.offset), 1, trainable=False, name="given_input")
    scaled = scale(seen)
    matrix = np.array(takes.matrix, np.float32)
    scale.set_weights([matrix.reshape(1, 1, *matrix.shape), np.array(takes.offset, np.float32)])
    logits = graft(_without_head(model, title, head), scaled, "given_")
    if len(logits.shape) != 2 or logits.shape[1] != num_classes:
        raise ModelError(classes_differ(title, int(np.prod(logits.shape[1:])), num_classes))
    return tf_keras.Model(pixels, logits, name="given")


def _without_head(model: Any, title: str, head: str) -> Any:
    """The model up to its logits, as a functional one.

    Raises:
        ModelError: another activation than the head at the end.
    """
    last, expected = model.layers[-1], getattr(tf_keras.activations, head)
    activation = getattr(last, "activation", tf_keras.activations.linear)
    if (isinstance(last, tf_keras.layers.Softmax) and head == SOFTMAX) or (
        isinstance(last, tf_keras.layers.Activation) and activation is expected
    ):
        return tf_keras.Model(model.inputs, last.input)
    if activation is expected:
        last.activation = tf_keras.activations.linear
    elif activation is not tf_keras.activations.linear or isinstance(last, tf_keras.layers.Softmax):
        name = "softmax" if isinstance(last, tf_keras.layers.Softmax) else activation.__name__
        raise ModelError(
            f'{title} ends with the activation "{name}"; a {head} or none is known for this data. Give it as ONNX or '
            "as a SavedModel, whose answers teacher.file.output describes"
        )
    return tf_keras.Model(model.inputs, model.outputs)
