"""What the networks that are built here share."""

from __future__ import annotations

from typing import Any

from edgekd._keras import tf_keras

# Keras applications use 0.999. After a thousand steps such an average has not arrived, and evaluation is at chance.
BATCH_NORM_MOMENTUM = 0.9


def conv_bn(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """Convolution without bias, batch normalisation: ``(n, h, w, c)`` to ``(n, h / stride, w / stride, channels)``."""
    layers = tf_keras.layers
    x = layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


ACTIVATIONS = ("relu6", "relu", "hard_swish")


def activated(x: Any, activation: str, name: str) -> Any:
    """ReLU6, ReLU, or hard swish: ``x relu6(x + 3) / 6`` (Howard et al. 2019)."""
    layers = tf_keras.layers
    if activation != "hard_swish":
        return layers.ReLU(6.0 if activation == "relu6" else None, name=name)(x)
    gate = layers.ReLU(6.0, name=f"{name}_gate")(layers.Rescaling(1.0, offset=3.0, name=f"{name}_shift")(x))
    return layers.Multiply(name=name)([x, layers.Rescaling(1 / 6, name=f"{name}_sixth")(gate)])


def inverted_residual(
    x: Any, channels: int, kernel: int, stride: int, expansion: int, name: str, activation: str = "relu6"
) -> Any:
    """Widen, filter each channel, narrow (Sandler et al. 2018); with a shortcut where the shapes allow one."""
    layers = tf_keras.layers
    y = x
    if expansion > 1:
        y = activated(conv_bn(y, expansion * x.shape[-1], 1, 1, f"{name}_expand"), activation, f"{name}_expand_relu")
    depthwise = layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}_depthwise"
    )
    y = layers.BatchNormalization(name=f"{name}_depthwise_bn")(depthwise(y))
    y = conv_bn(activated(y, activation, f"{name}_relu"), channels, 1, 1, f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and x.shape[-1] == channels else y


def normalised_pixels(image_size: int) -> tuple[Any, Any]:
    """Pixels, and pixels between -1 and 1."""
    pixels = tf_keras.Input((image_size, image_size, 3), name="pixels")
    # Two layers: in INT8 the whole-numbered offset is exact, and the scale goes into the first convolution. Scale first
    # and offset second would leave 171 of the 256 grey levels, and halves that each kernel rounds in its own way.
    centred = tf_keras.layers.Rescaling(1.0, offset=-128.0, name="centre")(pixels)
    return pixels, tf_keras.layers.Rescaling(1 / 128, name="normalise")(centred)


def classifier(pixels: Any, feature_map: Any, num_classes: int, name: str) -> Any:
    """The network from ``pixels`` to logits: mean pooling and a dense layer on top of a feature map."""
    features = tf_keras.layers.GlobalAveragePooling2D(name="pool")(feature_map)
    logits = tf_keras.layers.Dense(num_classes, name="logits")(features)
    return tf_keras.Model(pixels, logits, name=name)


def rounded_channels(count: int, width_multiplier: float) -> int:
    """A multiple of 8, as kernels like them; at least 8, and at most 10 % fewer than asked for."""
    wanted = count * width_multiplier
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * wanted else nearest + 8


def with_momentum(model: Any) -> Any:
    """Set the momentum of every batch normalisation, whoever built it; returns the model."""
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return model
