"""A Keras model file as one of our networks: its layers behind an input of ours, and logits at its end."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekd._keras import tf_keras
from edgekd.errors import ModelError
from edgekd.models.given import Input, classes_differ
from edgekd.models.graft import graft
from edgekd.tasks import SIGMOID, SOFTMAX

_LINEAR = "linear"


def as_teacher(model: Any, takes: Input, *, image_size: int, num_classes: int, title: str, head: str = SOFTMAX) -> Any:
    """The same network from pixels ``(n, s, s, 3)``, RGB in 0..255, to logits ``(n, K)``, flat, of built-in layers.

    What its input is scaled with stands in layers before it; the head, a softmax or a sigmoid, is taken off its end.

    Raises:
        ModelError: an input of another layout, another number of outputs than of classes, an end that gives no logits.
    """
    whole = _behind_pixels(model, takes, image_size, title, "given_")
    found = _activation(whole)
    if found not in (head, _LINEAR):
        raise ModelError(
            f'{title} ends with the activation "{found}"; a {head} or none is known for this data. Give it as ONNX or '
            "as a SavedModel, whose answers teacher.file.output describes"
        )
    logits = _without_head(whole)
    if len(logits.shape) != 2 or logits.shape[1] != num_classes:
        raise ModelError(classes_differ(title, int(np.prod(logits.shape[1:])), num_classes))
    return tf_keras.Model(whole.input, logits, name="given")


def as_classifier(model: Any, takes: Input, *, image_size: int, title: str) -> tuple[Any, str, str]:
    """The same of a network whose data is not known; layers keep their names.

    A softmax at its end, or none, is a choice among K classes, and a sigmoid of several outputs as many labels. A
    sigmoid of one output is the choice between two classes, whose logits are ``(0, z)``.

    Returns:
        The network; the head that makes probabilities of its logits; what the model itself answers with,
        ``probabilities`` or ``logits``.

    Raises:
        ModelError: as :func:`as_teacher`; another activation at the end; one output without a sigmoid.
    """
    whole = _behind_pixels(model, takes, image_size, title, "")
    found = _activation(whole)
    if found not in (SOFTMAX, SIGMOID, _LINEAR):
        raise ModelError(
            f'{title} ends with the activation "{found}"; a classifier ends with a softmax, a sigmoid, or none (logits)'
        )
    logits, head = _without_head(whole), SIGMOID if found == SIGMOID else SOFTMAX
    if len(logits.shape) != 2:
        raise ModelError(f"{title} answers with a tensor of shape {tuple(logits.shape)}; a classifier gives (n, K)")
    if logits.shape[1] == 1:
        if found != SIGMOID:
            raise ModelError(
                f"{title} answers with one number and ends with {found}; a classifier of one output ends with a sigmoid"
            )
        both = tf_keras.layers.Dense(2, use_bias=False, trainable=False, name="both_classes")
        logits = both(logits)
        both.set_weights([np.array([[0.0, 1.0]], np.float32)])
        head = SOFTMAX
    answer = "logits" if found == _LINEAR else "probabilities"
    return tf_keras.Model(whole.input, logits, name="network"), head, answer


def _behind_pixels(model: Any, takes: Input, image_size: int, title: str, prefix: str) -> Any:
    """Flat copies of the model's layers, on pixels."""
    if takes.layout != "nhwc":
        raise ModelError(f"{title} takes nchw, which Keras does not run on a CPU; give it as ONNX")
    pixels = tf_keras.Input((image_size, image_size, 3), name="pixels")
    seen = pixels
    if takes.size != (image_size, image_size):
        seen = tf_keras.layers.Resizing(*takes.size, interpolation="bilinear", name="resize")(pixels)
    functional = tf_keras.Model(model.inputs, model.outputs)
    return tf_keras.Model(pixels, graft(functional, _scaled(seen, takes), prefix))


def _scaled(pixels: Any, takes: Input) -> Any:
    """Bring pixels into the model's range; colours are mixed or exchanged by a frozen 1x1 convolution."""
    matrix, offset = np.array(takes.matrix), np.array(takes.offset)
    factors = np.diag(matrix) if matrix.shape == (3, 3) else np.empty(0)
    if len(factors) and np.array_equal(matrix, np.diag(factors)):
        if (factors == 1).all() and (offset == 0).all():
            return pixels
        alike = np.ptp(factors) == 0 and np.ptp(offset) == 0
        numbers = (float(factors[0]), float(offset[0])) if alike else (factors.tolist(), offset.tolist())
        return tf_keras.layers.Rescaling(*numbers, name="given_input")(pixels)
    scale = tf_keras.layers.Conv2D(len(offset), 1, trainable=False, name="given_input")
    scaled = scale(pixels)
    scale.set_weights([np.float32(matrix).reshape(1, 1, *matrix.shape), np.float32(offset)])
    return scaled


def _activation(model: Any) -> str:
    """Name of the activation at the end."""
    last = model.output._keras_history.layer
    if isinstance(last, tf_keras.layers.Softmax):
        return SOFTMAX
    return str(getattr(getattr(last, "activation", None), "__name__", _LINEAR))


def _without_head(model: Any) -> Any:
    """The output before that activation."""
    last = model.output._keras_history.layer
    if isinstance(last, (tf_keras.layers.Softmax, tf_keras.layers.Activation)):
        return model.output if _activation(model) == _LINEAR else last.input
    if _activation(model) != _LINEAR:
        last.activation = tf_keras.activations.linear
    return model.output
