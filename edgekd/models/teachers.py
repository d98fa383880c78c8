"""Teachers by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekd._keras import tf_keras
from edgekd.errors import ModelError
from edgekd.models.layers import conv_bn, with_momentum
from edgekd.registry import Registry

TeacherBuilder = Callable[[int, int, str], Any]

TEACHERS: Registry[TeacherBuilder] = Registry("teacher", "edgekd.teachers", ModelError)


def build_teacher(name: str, *, image_size: int, num_classes: int, weights: str) -> Any:
    """Build a teacher with a fresh head.

    Args:
        name: a name in ``TEACHERS``.
        image_size: side of the input, in pixels.
        num_classes: logits, at least 2.
        weights: ``"none"``, ``"imagenet"`` or the path of a weights file of the backbone.

    Raises:
        ModelError: unknown name; weights that are not there, do not fit, or cannot be downloaded.
    """
    return with_momentum(TEACHERS[name](image_size, num_classes, weights))


def check_weights(weights: str) -> None:
    """Raise unless ``weights`` is ``"none"``, ``"imagenet"`` or a file."""
    if weights not in ("none", "imagenet") and not Path(weights).is_file():
        raise ModelError(f'teacher.weights = "{weights}": no such file; allowed: none, imagenet, or a path')


@TEACHERS.register("resnet50")
def resnet50(image_size: int, num_classes: int, weights: str) -> Any:
    """ResNet-50 (He et al. 2016, "Deep residual learning"); from ImageNet where weights are given."""
    if image_size < 32:
        raise ModelError(
            f"teacher resnet50 needs images of at least 32 pixels, not {image_size}; set data.image_size = 32"
        )
    pixels = tf_keras.Input((image_size, image_size, 3), name="pixels")
    if weights == "none":
        scaled = tf_keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    else:
        scaled = _imagenet_input(pixels)
    backbone = _resnet50_backbone(scaled, weights)
    features = tf_keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    logits = tf_keras.layers.Dense(num_classes, name="logits")(features)
    model = tf_keras.Model(pixels, logits, name="resnet50")
    if weights != "none":
        _set_imagenet_input(model.get_layer("imagenet_input"))
    return model


def _resnet50_backbone(inputs: Any, weights: str) -> Any:
    check_weights(weights)
    make = functools.partial(tf_keras.applications.ResNet50, include_top=False)
    backbone = make(input_tensor=inputs, weights=None)
    if weights == "none":
        return backbone
    try:
        # Keras counts the layers of a weights file, and the layer before the backbone would be one too many.
        for layer in make(weights=weights).layers:
            if layer.weights:
                backbone.get_layer(layer.name).set_weights(layer.get_weights())
        return backbone
    except Exception as error:  # downloads and HDF5 files fail in many ways of their own
        remedy = (
            "the download failed; fetch resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 elsewhere and set "
            'teacher.weights to its path, or train from scratch with teacher.weights = "none"'
            if weights == "imagenet"
            else "the file must hold the weights of tf_keras.applications.ResNet50(include_top=False)"
        )
        raise ModelError(
            f'teacher.weights = "{weights}": {remedy} ({(str(error) or type(error).__name__).splitlines()[0]})'
        ) from error


# What tf_keras.applications.resnet50.preprocess_input does, as a frozen 1x1 convolution, so that the saved model needs
# no code of ours: RGB to BGR, minus the ImageNet mean.
_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


def _imagenet_input(pixels: Any) -> Any:
    return tf_keras.layers.Conv2D(3, 1, trainable=False, name="imagenet_input")(pixels)


def _set_imagenet_input(layer: Any) -> None:
    import numpy as np

    layer.set_weights(
        [np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3), -np.array(_IMAGENET_MEAN_BGR, np.float32)]
    )


@TEACHERS.register("resnet_small")
def resnet_small(image_size: int, num_classes: int, weights: str) -> Any:
    """A residual network of 14 layers for small images and quick runs.

    Three stages of two basic blocks with 32, 64 and 128 channels (He et al. 2016, section 4.2, wider and shallower),
    0.7 million parameters.
    """
    if weights != "none":
        raise ModelError(f'teacher.weights = "{weights}": resnet_small has none to load; allowed: none')
    layers = tf_keras.layers
    pixels = tf_keras.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    x = conv_bn(x, 32, 3, 2 if image_size > 40 else 1, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, channels in enumerate((32, 64, 128)):
        for block in range(2):
            x = _basic_block(x, channels, 2 if stage and not block else 1, f"stage{stage}_block{block}")
    features = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(num_classes, name="logits")(features)
    return tf_keras.Model(pixels, logits, name="resnet_small")


def _basic_block(x: Any, channels: int, stride: int, name: str) -> Any:
    layers = tf_keras.layers
    y = layers.ReLU(name=f"{name}_relu1")(conv_bn(x, channels, 3, stride, f"{name}_1"))
    y = conv_bn(y, channels, 3, 1, f"{name}_2")
    if stride != 1 or x.shape[-1] != channels:
        x = conv_bn(x, channels, 1, stride, f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, y]))
