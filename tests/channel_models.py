"""Small graphs for the tests of channel pruning, and weights under which nothing is equal by accident."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekd._keras import tf_keras

layers = tf_keras.layers
SIDE = 8


def image(channels: int = 3) -> Any:
    return tf_keras.Input((SIDE, SIDE, channels), name="image")


def conv(x: Any, channels: int, name: str, size: int = 1, **options: Any) -> Any:
    return layers.Conv2D(channels, size, padding="same", name=name, **options)(x)


def head(inputs: Any, x: Any) -> Any:
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(2, name="logits")(pooled), name="hand_made")


def chain() -> Any:
    """Multiply-accumulates: a 64 * 3 * 16 = 3,072, b 64 * 16 * 16 = 16,384, logits 16 * 2 = 32; in all 19,488."""
    x = image()
    return head(x, conv(layers.ReLU(name="relu")(conv(x, 16, "a")), 16, "b"))


def shared_tensor() -> Any:
    """Two residual branches that start from one tensor."""
    x = image()
    a = layers.BatchNormalization(name="a_bn")(conv(x, 16, "a", 3))
    one = layers.Add(name="add_b")([a, layers.ReLU(name="relu_b")(conv(a, 16, "b", 3))])
    two = layers.Add(name="add_c")([a, conv(a, 16, "c", 3)])
    return head(x, layers.Add(name="add")([conv(one, 24, "d"), conv(two, 24, "e")]))


def concatenation() -> Any:
    x = image()
    both = layers.Concatenate(name="concat")([conv(x, 16, "a", 3), conv(x, 24, "b", 3)])
    return head(x, conv(layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(both)), 16, "c", 3))


def nested_concatenation() -> Any:
    """A concatenation within a concatenation, in which ``a`` stands twice."""
    x = image()
    a, b, c = (conv(x, channels, name, 3) for channels, name in ((16, "a"), (24, "b"), (8, "c")))
    inner = layers.Concatenate(name="inner")([a, b])
    outer = layers.Concatenate(axis=3, name="outer")([c, inner, a])
    return head(x, conv(layers.BatchNormalization(name="bn")(outer), 16, "d", 3))


def sum_of_concatenation() -> Any:
    """``c`` is made whole, and falls into two groups by what it is added to."""
    x = image()
    both = layers.Concatenate(name="concat")([conv(x, 16, "a", 3), conv(x, 24, "b", 3)])
    return head(x, layers.ReLU(name="relu")(layers.Add(name="add")([both, conv(x, 40, "c", 3)])))


def depthwise_multiplier() -> Any:
    x = image()
    wide = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="dw")(conv(x, 16, "a", activation="relu"))
    return head(x, conv(layers.ReLU(6.0, name="relu")(layers.BatchNormalization(name="dw_bn")(wide)), 24, "b", 3))


def squeeze_excite() -> Any:
    """Gate by Dense layers and a sigmoid, which is 0.5 at zero."""
    x = image()
    a = layers.ReLU(name="relu")(layers.BatchNormalization(name="a_bn")(conv(x, 32, "a", 3)))
    gate = layers.Dense(16, activation="relu", name="squeeze")(layers.GlobalAveragePooling2D(name="gap")(a))
    gate = layers.Dense(32, activation="sigmoid", name="excite")(gate)
    scaled = layers.Multiply(name="scale")([a, layers.Reshape((1, 1, 32), name="reshape")(gate)])
    return head(x, conv(scaled, 16, "b", 3))


def sigmoid_before_convolution() -> Any:
    x = image()
    return head(x, conv(layers.Activation("sigmoid", name="sigmoid")(conv(x, 16, "a", 3)), 24, "b", 3))


def two_heads() -> Any:
    """A user's model: flattened features into Dense layers, two outputs."""
    x = image(1)
    a = layers.MaxPooling2D(name="max")(conv(x, 16, "a", 3, activation="relu"))
    flat = layers.Dropout(0.5, name="dropout")(layers.Flatten(name="flatten")(a))
    hidden = layers.BatchNormalization(scale=False, name="hidden_bn")(layers.Dense(24, name="hidden")(flat))
    hidden = layers.LeakyReLU(name="leaky")(hidden)
    kind = layers.Dense(3, activation="softmax", name="kind")(hidden)
    size = layers.Dense(1, name="size")(layers.Dense(16, activation="tanh", name="size_hidden")(flat))
    return tf_keras.Model(x, {"kind": kind, "size": size}, name="two_heads")


def odd_layers() -> Any:
    """Separable and transposed convolutions, PReLU with and without weights for each channel, arithmetic on tensors."""
    x = image()
    a = layers.PReLU(shared_axes=[1, 2], name="prelu")(conv(x * 2.0 - 1.0, 16, "a", 3))
    b = layers.SeparableConv2D(24, 3, depth_multiplier=2, padding="same", name="sep")(a)
    b = layers.PReLU(shared_axes=[1, 2, 3], name="prelu_shared")(b)
    c = layers.Conv2DTranspose(16, 3, strides=2, padding="same", name="up")(b)
    c = layers.AveragePooling2D(3, 2, padding="same", name="average")(layers.ELU(name="elu")(c))
    d = layers.Cropping2D(1, name="crop")(layers.ZeroPadding2D(1, name="pad")(c))
    maximum = layers.Maximum(name="maximum")([d, conv(a, 16, "e")])
    return head(x, -maximum / 2.0)


def attention_map() -> Any:
    """One channel that weighs every position of all others."""
    x = image()
    a = conv(x, 16, "a", 3)
    return head(x, conv(layers.Multiply(name="weigh")([a, conv(a, 1, "map", activation="sigmoid")]), 16, "b"))


HAND_MADE = {
    build.__name__: build
    for build in (
        chain,
        shared_tensor,
        concatenation,
        nested_concatenation,
        sum_of_concatenation,
        depthwise_multiplier,
        squeeze_excite,
        two_heads,
        odd_layers,
        attention_map,
    )
}


def randomized(model: Any, seed: int = 0) -> Any:
    """Biases, normalization statistics, gammas of both signs and slopes at random; kernels as they were initialised."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        kind = variable.name.rpartition("/")[2].partition(":")[0]
        match kind:
            case "gamma":
                value = rng.uniform(0.5, 1.5, variable.shape) * rng.choice([-1, 1], variable.shape)
            case "moving_variance":
                value = rng.uniform(0.5, 1.5, variable.shape)
            case "beta" | "bias" | "moving_mean" | "alpha":
                value = rng.normal(0, 0.3, variable.shape)
            case _:
                continue
        variable.assign(value)
    return model


def calibrated(model: Any, pixels: Any) -> Any:
    """A randomized model whose normalization has seen the images, but for a tenth; else a deep one is blind to them."""
    norms = [layer for layer in randomized(model).layers if isinstance(layer, layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(pixels, training=True)
    rng = np.random.default_rng(0)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
        layer.moving_mean.assign(layer.moving_mean * rng.uniform(0.9, 1.1, layer.moving_mean.shape))
        layer.moving_variance.assign(layer.moving_variance * rng.uniform(0.9, 1.1, layer.moving_variance.shape))
    return model


def images(model: Any, count: int = 4, largest: float = 255.0) -> Any:
    return np.random.default_rng(1).uniform(0, largest, (count, *model.input_shape[1:])).astype(np.float32)
