"""Students by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekd._keras import tf_keras
from edgekd.errors import ModelError
from edgekd.registry import Registry

StudentBuilder = Callable[[int, int, float], Any]

STUDENTS: Registry[StudentBuilder] = Registry("student", "edgekd.students", ModelError)

# Keras applications use 0.999. After a thousand steps such an average has not arrived, and evaluation is at chance.
BATCH_NORM_MOMENTUM = 0.9


def build_student(name: str, *, image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """Build a freshly initialised student.

    Args:
        name: a name in ``STUDENTS``.
        image_size: side of the input, in pixels.
        num_classes: logits, at least 2.
        width_multiplier: factor on the channels of every layer.

    Raises:
        ModelError: unknown name.
    """
    model = STUDENTS[name](image_size, num_classes, width_multiplier)
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return model


@STUDENTS.register("mobilenet_v2")
def mobilenet_v2(image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """MobileNetV2 (Sandler et al. 2018) of any width, without pretrained weights."""
    pixels = tf_keras.Input((image_size, image_size, 3), name="pixels")
    # Two layers: in INT8 the whole-numbered offset is exact, and the scale goes into the first convolution. Scale first
    # and offset second would leave 171 of the 256 grey levels, and halves that each kernel rounds in its own way.
    centred = tf_keras.layers.Rescaling(1.0, offset=-128.0, name="centre")(pixels)
    scaled = tf_keras.layers.Rescaling(1 / 128, name="normalise")(centred)
    backbone = tf_keras.applications.MobileNetV2(
        input_tensor=scaled, alpha=width_multiplier, include_top=False, weights=None
    )
    features = tf_keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    logits = tf_keras.layers.Dense(num_classes, name="logits")(features)
    return tf_keras.Model(pixels, logits, name="mobilenet_v2")
