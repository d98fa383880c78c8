"""Students by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekd._keras import tf_keras
from edgekd.config.blocks import Blocks
from edgekd.errors import ModelError
from edgekd.models.blocks import NAME as BLOCKS
from edgekd.models.blocks import blocks_of
from edgekd.models.layers import (
    classifier,
    conv_bn,
    inverted_residual,
    normalised_pixels,
    rounded_channels,
    with_momentum,
)
from edgekd.models.published import PUBLISHED, check_start, start_from
from edgekd.registry import Registry

StudentBuilder = Callable[[int, int, float], Any]

STUDENTS: Registry[StudentBuilder] = Registry("student", "edgekd.students", ModelError)


def build_student(
    name: str,
    *,
    image_size: int,
    num_classes: int,
    width_multiplier: float,
    weights: str = "none",
    blocks: Blocks | None = None,
) -> Any:
    """Build a student with a fresh head.

    Args:
        name: a name in ``STUDENTS``.
        image_size: side of the input, in pixels.
        num_classes: logits, at least 2.
        width_multiplier: factor on the channels of every layer.
        weights: ``"none"``, ``"imagenet"``, or the path of a weights file of the backbone: of the network of
            ``tf_keras.applications`` without its top where the student is one of those, else of all that is below the
            student's own head.
        blocks: what the student ``blocks`` is made of; by default as :class:`~edgekd.config.blocks.Blocks` says.

    Raises:
        ModelError: unknown name; weights that do not exist, do not fit, or cannot be downloaded; a student of another
            package that does not map pixels to logits.
    """
    check_start(name, width_multiplier, weights)
    if name == BLOCKS and blocks is not None:
        model = blocks_of(blocks, image_size, num_classes, width_multiplier)
    else:
        model = STUDENTS[name](image_size, num_classes, width_multiplier)
    _check_form(model, name, image_size, num_classes)
    with_momentum(model)
    if weights != "none":
        start_from(model, name, width_multiplier, weights)
    return model


def _check_form(model: Any, name: str, image_size: int, num_classes: int) -> None:
    if not isinstance(model, tf_keras.Model):
        raise ModelError(
            f'student "{name}" is a {type(model).__module__}.{type(model).__name__}; wanted: tf_keras.Model'
        )
    found = (model.input_shape, model.output_shape, model.layers[-1].name)
    wanted = ((None, image_size, image_size, 3), (None, num_classes), "logits")
    if found != wanted:
        raise ModelError(
            f'student "{name}" goes from {found[0]} to {found[1]} and ends in the layer "{found[2]}"; wanted: from RGB '
            f'pixels {wanted[0]} to logits {wanted[1]}, by a last layer "{wanted[2]}"'
        )


def _published(name: str, image_size: int, num_classes: int, width_multiplier: float) -> Any:
    pixels, scaled = normalised_pixels(image_size)
    backbone = PUBLISHED[name].make(input_tensor=scaled, alpha=width_multiplier, weights=None)
    return classifier(pixels, backbone.output, num_classes, name)


@STUDENTS.register("mobilenet_v2")
def mobilenet_v2(image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """MobileNetV2 (Sandler et al. 2018) of any width."""
    return _published("mobilenet_v2", image_size, num_classes, width_multiplier)


@STUDENTS.register("mobilenet_v1")
def mobilenet_v1(image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """MobileNet (Howard et al. 2017) of any width."""
    return _published("mobilenet_v1", image_size, num_classes, width_multiplier)


@STUDENTS.register("mobilenet_v3_small")
def mobilenet_v3_small(image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """MobileNetV3-Small (Howard et al. 2019) in its minimalistic form: 3x3 kernels, ReLU, no squeeze and excite.

    That form has nothing that INT8 kernels are slow or inexact at.
    """
    return _published("mobilenet_v3_small", image_size, num_classes, width_multiplier)


@STUDENTS.register(BLOCKS)
def blocks(image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """Inverted residuals (Sandler et al. 2018) of any depth, width, kernel and expansion: the table distill.blocks."""
    return blocks_of(Blocks(), image_size, num_classes, width_multiplier)


@STUDENTS.register("resnet8")
def resnet8(image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """ResNet-8, the image classifier of MLPerf Tiny (Banbury et al. 2021): three blocks of 16, 32 and 64 channels."""
    layers = tf_keras.layers
    pixels, x = normalised_pixels(image_size)
    first, *rest = (rounded_channels(count, width_multiplier) for count in (16, 16, 32, 64))
    x = layers.ReLU(name="stem_relu")(conv_bn(x, first, 3, 1, "stem"))
    for index, channels in enumerate(rest):
        stride = 1 if index == 0 else 2
        y = layers.ReLU(name=f"block{index}_relu1")(conv_bn(x, channels, 3, stride, f"block{index}_1"))
        y = conv_bn(y, channels, 3, 1, f"block{index}_2")
        shortcut = x if index == 0 else layers.Conv2D(channels, 1, strides=stride, name=f"block{index}_shortcut")(x)
        x = layers.ReLU(name=f"block{index}_relu2")(layers.Add(name=f"block{index}_add")([shortcut, y]))
    return classifier(pixels, x, num_classes, "resnet8")


@STUDENTS.register("ds_cnn")
def ds_cnn(image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """A stem and four depthwise separable blocks of 64 channels, as DS-CNN-S (Zhang et al. 2017), for images."""
    layers = tf_keras.layers
    pixels, x = normalised_pixels(image_size)
    channels = rounded_channels(64, width_multiplier)
    x = layers.ReLU(name="stem_relu")(conv_bn(x, channels, 3, 2, "stem"))
    for index in range(4):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"block{index}_depthwise")(x)
        x = layers.ReLU(name=f"block{index}_relu1")(layers.BatchNormalization(name=f"block{index}_depthwise_bn")(x))
        x = layers.ReLU(name=f"block{index}_relu2")(conv_bn(x, channels, 1, 1, f"block{index}_pointwise"))
    return classifier(pixels, x, num_classes, "ds_cnn")


# Kernel, stride, expansion, channels and repeats of each stage (Tan and Le 2019, table 1; strides as in their code).
_EFFICIENTNET_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


@STUDENTS.register("efficientnet_lite0")
def efficientnet_lite0(image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """EfficientNet-Lite0 (Liu 2020): EfficientNet-B0 (Tan and Le 2019) with ReLU6, without squeeze and excite.

    As in that form, stem (32 channels) and last convolution (1280) keep their width whatever the multiplier. Without
    dropout and stochastic depth, as all students here.
    """
    layers = tf_keras.layers
    pixels, x = normalised_pixels(image_size)
    x = layers.ReLU(6.0, name="stem_relu")(conv_bn(x, 32, 3, 2, "stem"))
    for stage, (kernel, first_stride, expansion, count, repeats) in enumerate(_EFFICIENTNET_STAGES):
        for index in range(repeats):
            stride = 1 if index else first_stride
            channels = rounded_channels(count, width_multiplier)
            x = inverted_residual(x, channels, kernel, stride, expansion, f"stage{stage}_block{index}")
    x = layers.ReLU(6.0, name="last_relu")(conv_bn(x, 1280, 1, 1, "last"))
    return classifier(pixels, x, num_classes, "efficientnet_lite0")
