"""The networks of ``tf_keras.applications`` as teachers: RGB pixels in 0..255 in, a head of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekd._keras import tf_keras
from edgekd.models.graft import graft
from edgekd.models.weights import load_weights

# Mean and deviation of ImageNet's red, green and blue in 0..1.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
# Mean of ImageNet's blue, green and red in 0..255, as the first residual networks and VGG take it off.
_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Application:
    """One network of ``tf_keras.applications``.

    Attributes:
        constructor: its name there.
        paper: where it was published, for the attribution of its ImageNet weights.
        licence: of those weights.
        scaling: what they take as input: ``symmetric`` (x / 127.5 - 1), ``standard`` (RGB by ImageNet's mean and
            deviation), ``bgr`` (BGR minus ImageNet's mean), ``inside`` (0..255: its own layers scale).
        min_size: least side of its input, in pixels.
        widths: width multipliers that have ImageNet weights; empty where the network has one width.
    """

    constructor: str
    paper: str
    licence: str = "Apache-2.0"
    scaling: str = "symmetric"
    min_size: int = 32
    widths: tuple[float, ...] = ()


def _table() -> dict[str, Application]:
    resnet = 'Kaiming He et al., "Deep Residual Learning for Image Recognition" (2016)'
    resnet_v2 = 'Kaiming He et al., "Identity Mappings in Deep Residual Networks" (2016)'
    densenet = 'Gao Huang et al., "Densely Connected Convolutional Networks" (2017)'
    efficientnet = 'Mingxing Tan and Quoc Le, "EfficientNet: Rethinking Model Scaling" (2019)'
    efficientnet_v2 = 'Mingxing Tan and Quoc Le, "EfficientNetV2: Smaller Models and Faster Training" (2021)'
    vgg = 'Karen Simonyan and Andrew Zisserman, "Very Deep Convolutional Networks" (2015)'
    mobilenet_v3 = 'Andrew Howard et al., "Searching for MobileNetV3" (2019)'
    mit, bsd = "MIT", "BSD-3-Clause"
    table = {
        "mobilenet": Application(
            "MobileNet", 'Andrew Howard et al., "MobileNets" (2017)', widths=(0.25, 0.5, 0.75, 1.0)
        ),
        "mobilenet_v2": Application(
            "MobileNetV2", 'Mark Sandler et al., "MobileNetV2" (2018)', widths=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
        ),
        "inception_v3": Application(
            "InceptionV3", 'Christian Szegedy et al., "Rethinking the Inception Architecture" (2016)', min_size=75
        ),
        "xception": Application("Xception", 'François Chollet, "Xception" (2017)', mit, min_size=71),
    }
    for name in ("Small", "Large"):
        table[f"mobilenet_v3_{name.lower()}"] = Application(
            f"MobileNetV3{name}", mobilenet_v3, scaling="inside", widths=(0.75, 1.0)
        )
    for depth in (50, 101, 152):
        table[f"resnet{depth}"] = Application(f"ResNet{depth}", resnet, mit, "bgr")
        table[f"resnet{depth}_v2"] = Application(f"ResNet{depth}V2", resnet_v2, mit)
    for depth in (121, 169, 201):
        table[f"densenet{depth}"] = Application(f"DenseNet{depth}", densenet, bsd, "standard")
    for depth in (16, 19):
        table[f"vgg{depth}"] = Application(f"VGG{depth}", vgg, "CC BY 4.0", "bgr")
    for size in range(8):
        table[f"efficientnet_b{size}"] = Application(f"EfficientNetB{size}", efficientnet, scaling="inside")
    for name in ("B0", "B1", "B2", "B3", "S", "M", "L"):
        table[f"efficientnet_v2_{name.lower()}"] = Application(
            f"EfficientNetV2{name}", efficientnet_v2, scaling="inside"
        )
    return table


APPLICATIONS: Mapping[str, Application] = _table()


def build(name: str, pixels: Any, num_classes: int, weights: str, width_multiplier: float) -> Any:
    """Scale the pixels as the network's weights want them, run it, pool, and add a fresh head.

    Args:
        name: in ``APPLICATIONS``.
        pixels: Keras tensor ``(n, s, s, 3)``, RGB in 0..255.
        num_classes: logits.
        weights: ``"none"``, ``"imagenet"`` or the path of a file with the weights of the network without its top.
        width_multiplier: factor on the channels, where the network has one.

    Returns:
        Keras tensor of logits ``(n, K)``.

    Raises:
        ModelError: weights that do not fit or cannot be downloaded.
    """
    application = APPLICATIONS[name]
    options = {"alpha": width_multiplier} if application.widths else {}
    constructor = getattr(tf_keras.applications, application.constructor)
    make = functools.partial(constructor, include_top=False, **options)
    backbone = make(weights=None, input_shape=tuple(pixels.shape[1:]))
    if weights != "none":
        _load(backbone, make, weights, application)
    for layer in backbone.layers:
        if isinstance(layer, tf_keras.layers.Normalization) and layer.input_mean is None:
            # EfficientNet's weights files hold the deviation as variance, and Keras mends that for its own download
            # alone, by a function; here the layer is given what it stands for.
            layer.set_weights([np.array(_MEAN), np.square(_DEVIATION), 0])
    scaling = application.scaling if weights != "none" or application.scaling == "inside" else "symmetric"
    features = graft(backbone, _SCALINGS[scaling](pixels))
    pooled = tf_keras.layers.GlobalAveragePooling2D(name="pool")(features)
    return tf_keras.layers.Dense(num_classes, name="logits")(pooled)


def _load(backbone: Any, make: Callable[..., Any], weights: str, application: Application) -> None:
    remedy = (
        "the download failed; fetch that file elsewhere and set teacher.weights to its path, or train from scratch "
        'with teacher.weights = "none"'
        if weights == "imagenet"
        else f"the file must hold the weights of tf_keras.applications.{application.constructor}(include_top=False)"
        f"{' of teacher.width_multiplier' if application.widths else ''}"
    )
    load_weights(lambda: copy_published(backbone, make, weights), key="teacher.weights", weights=weights, remedy=remedy)


def copy_published(backbone: Any, make: Callable[..., Any], weights: str) -> None:
    """Fill a network without its top with the weights that Keras publishes for it, or with those of a file.

    Args:
        backbone: as ``make`` makes it, of any input size.
        make: of Keras's arguments ``weights`` and ``input_shape``.
        weights: ``"imagenet"``, or the path of a file.
    """
    # At the size of the published weights: at others some networks warn that the weights are not for theirs.
    backbone.set_weights(make(weights=weights, input_shape=(224, 224, 3)).get_weights())


def _symmetric(pixels: Any) -> Any:
    return tf_keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)


def _standard(pixels: Any) -> Any:
    scale = [1 / (255 * deviation) for deviation in _DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)]
    return tf_keras.layers.Rescaling(scale, offset=offset, name="normalise")(pixels)


def _bgr(pixels: Any) -> Any:
    # A frozen 1x1 convolution reverses the channels, so that the saved model needs no code of ours.
    layer = tf_keras.layers.Conv2D(3, 1, trainable=False, name="imagenet_input")
    scaled = layer(pixels)
    reversal = np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)
    layer.set_weights([reversal, -np.array(_IMAGENET_MEAN_BGR, np.float32)])
    return scaled


_SCALINGS: Mapping[str, Callable[[Any], Any]] = {
    "symmetric": _symmetric,
    "standard": _standard,
    "bgr": _bgr,
    "inside": lambda pixels: pixels,
}
