"""The student as a SavedModel that takes pixels and gives probabilities, any number of images at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd._keras import tf
from edgekd.tasks import SIGMOID

SIGNATURE = "serving_default"
INPUT, OUTPUT = "pixels", "probabilities"


def save(model: Any, head: str, folder: Path) -> None:
    """Write a SavedModel with the one signature ``serving_default``.

    ``pixels``, uint8 RGB ``(n, h, w, 3)`` as :mod:`edgekd.preprocessing` makes them, to ``probabilities``, float32
    ``(n, k)``; all between is in the graph. The variables are kept by themselves and not by their Keras layers, each of
    which would be traced as a function of its own: that takes nine tenths of the time and serves no server.

    Args:
        model: Keras, float32 pixels 0..255 to logits.
        head: ``softmax`` or ``sigmoid``.
        folder: is made.
    """
    activation = tf.nn.sigmoid if head == SIGMOID else tf.nn.softmax
    shape = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name=INPUT)

    def serve(pixels: Any) -> dict[str, Any]:
        return {OUTPUT: activation(model(tf.cast(pixels, tf.float32), training=False))}

    module = tf.Module()
    module.variables_of_the_model = list(model.variables)
    signature = tf.function(serve, input_signature=[shape])
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: signature})
