"""Teachers by name, and ensembles of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from edgekd._keras import tf_keras
from edgekd.config.teacher import Teacher
from edgekd.errors import ModelError, RecipeError
from edgekd.models import applications
from edgekd.models.applications import APPLICATIONS
from edgekd.models.given import check_file
from edgekd.models.graft import graft
from edgekd.models.layers import conv_bn, with_momentum
from edgekd.models.weights import check_weights
from edgekd.registry import Registry

TeacherBuilder = Callable[[Any, int, str, float], Any]
"""``(pixels, num_classes, weights, width_multiplier) -> logits``: from a Keras tensor ``(n, s, s, 3)``, RGB in 0..255,
to one of shape ``(n, K)``, the output of a dense layer that is called ``logits``."""

TEACHERS: Registry[TeacherBuilder] = Registry("teacher", "edgekd.teachers", ModelError)
for _name in APPLICATIONS:
    TEACHERS.register(_name)(functools.partial(applications.build, _name))


def build_teacher(
    name: str, *, image_size: int, num_classes: int, weights: str, width_multiplier: float = 1.0, seen_size: int = 0
) -> Any:
    """Build a teacher with a fresh head.

    Args:
        name: a name in ``TEACHERS``.
        image_size: side of the input, in pixels.
        num_classes: logits, at least 2.
        weights: ``"none"``, ``"imagenet"`` or the path of a weights file of the backbone.
        width_multiplier: factor on the channels of every layer, where the network has one.
        seen_size: side to which the input is resized inside the graph, bilinearly; 0: as it is. So a teacher of large
            images sees the very view that its student sees.

    Raises:
        ModelError: unknown name; weights that are not there, do not fit, or cannot be downloaded.
        RecipeError: a width that the network does not have, images that are too small for it.
    """
    config = Teacher(model=name, weights=weights, width_multiplier=width_multiplier, image_size=seen_size)
    check_teacher(config, "teacher")
    check_size(config, "teacher", image_size)
    pixels = tf_keras.Input((image_size, image_size, 3), name="pixels")
    seen = pixels
    if seen_size not in (0, image_size):
        seen = tf_keras.layers.Resizing(seen_size, seen_size, interpolation="bilinear", name="resize")(pixels)
    logits = TEACHERS[name](seen, num_classes, weights, width_multiplier)
    return with_momentum(tf_keras.Model(pixels, logits, name=name))


def build_ensemble(members: Mapping[str, Any]) -> Any:
    """One flat network whose logits are the mean of its members' logits.

    Of logits and not of probabilities: every loss softens or compares logits, at temperatures of its own, and the mean
    of logits is one teacher at all of them (the geometric mean of the members' probabilities, scaled to sum 1).

    Args:
        members: at least two models of one input size and one number of classes, by name; a layer ``x`` of member
            ``a`` is called ``a_x``.
    """
    first = next(iter(members.values()))
    pixels = tf_keras.Input(first.input_shape[1:], name="pixels")
    logits = [graft(model, pixels, f"{name}_") for name, model in members.items()]
    return tf_keras.Model(pixels, tf_keras.layers.Average(name="logits")(logits), name="ensemble")


def check_teacher(config: Teacher, key: str) -> None:
    """Raise where a teacher cannot be had as configured; ``key`` is the dotted key of its table.

    Raises:
        ModelError: an unknown name, weights that are not there.
        RecipeError: a width that the network or its weights do not have.
    """
    check_file(config, key)
    if config.is_file:
        return
    TEACHERS[config.model]
    if config.model == "resnet_small" and config.weights != "none":
        raise ModelError(f'{key}.weights = "{config.weights}": resnet_small has none to load; allowed: none')
    check_weights(config.weights, f"{key}.weights")
    application = APPLICATIONS.get(config.model)
    if application is None:
        return
    width = config.width_multiplier
    if width != 1 and not application.widths:
        raise RecipeError(f"{key}.width_multiplier = {width:g}: {config.model} has one width; allowed: 1")
    if config.weights == "imagenet" and application.widths and width not in application.widths:
        widths = ", ".join(f"{each:g}" for each in application.widths)
        raise RecipeError(f"{key}.width_multiplier = {width:g}: ImageNet weights of {config.model} exist for {widths}")


def check_size(config: Teacher, key: str, image_size: int) -> None:
    """Raise RecipeError where a teacher cannot see images of the data's size, in pixels, as configured."""
    application = APPLICATIONS.get(config.model)
    seen = config.image_size or image_size
    if application is not None and seen < application.min_size:
        raise RecipeError(
            f"teacher {config.model} needs images of at least {application.min_size} pixels, not {seen}; "
            f"set {key}.image_size = {application.min_size}, which resizes them inside its graph"
        )


@TEACHERS.register("resnet_small")
def resnet_small(pixels: Any, num_classes: int, weights: str, width_multiplier: float) -> Any:
    """A residual network of 14 layers for small images and quick runs.

    Three stages of two basic blocks with 32, 64 and 128 channels (He et al. 2016, section 4.2, wider and shallower),
    0.7 million parameters.
    """
    layers = tf_keras.layers
    widths = [round(channels * width_multiplier) for channels in (32, 64, 128)]
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    x = conv_bn(x, widths[0], 3, 2 if pixels.shape[1] > 40 else 1, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, channels in enumerate(widths):
        for block in range(2):
            x = _basic_block(x, channels, 2 if stage and not block else 1, f"stage{stage}_block{block}")
    features = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(num_classes, name="logits")(features)


def _basic_block(x: Any, channels: int, stride: int, name: str) -> Any:
    layers = tf_keras.layers
    y = layers.ReLU(name=f"{name}_relu1")(conv_bn(x, channels, 3, stride, f"{name}_1"))
    y = conv_bn(y, channels, 3, 1, f"{name}_2")
    if stride != 1 or x.shape[-1] != channels:
        x = conv_bn(x, channels, 1, stride, f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, y]))
