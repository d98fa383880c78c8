"""A subnet run on parts of the largest network's weights, and taken out of it.

Of every kernel a subnet uses the first channels, and of a depthwise filter the middle (Cai et al. 2020, "Once-for-all",
without their transformation matrices); of a stage it uses the first blocks. The choice is a tensor: one traced graph
runs every subnet, each at its own cost.

Batch normalization takes its statistics of the rows that are there, as in training: those of the largest network fit no
other (Yu and Huang 2019, "Universally slimmable networks").
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import tf
from edgekd.config.blocks import Blocks
from edgekd.models import build_student
from edgekd.supernet.space import Space, rows_of
from edgekd.training import Predict

ACTIVATE: dict[str, Callable[[Any], Any]] = {
    "relu6": tf.nn.relu6,
    "relu": tf.nn.relu,
    "hard_swish": lambda x: x * tf.nn.relu6(x + 3.0) / 6.0,
}
BATCH_SIZE = 256


def logits(model: Any, space: Space, pixels: Any, choice: Any, num_estimating: int | None = None) -> Any:
    """Run a subnet.

    Args:
        model: the student ``blocks`` of ``space.largest``.
        space: what ``choice`` is of.
        pixels: float32 ``(n, h, w, 3)``.
        choice: int32 ``(stages, 4)``, see :func:`edgekd.supernet.space.rows_of`.
        num_estimating: how many of the rows, from the first on, batch normalization takes its statistics of; None: all,
            as in training.

    Returns:
        float32 ``(n, K)``.
    """
    net = _Weights(model, ACTIVATE[space.base.activation], num_estimating)
    x = net.conv((pixels - 128.0) / 128.0, space.base.stem_channels, "stem", stride=2)
    for stage, (allowed, stride) in enumerate(zip(space.stages, space.base.strides, strict=True)):
        depth, kernel, expansion, channels = tf.unstack(choice[stage])
        for index in range(allowed.depths[-1]):
            run = functools.partial(
                net.block,
                *(x, channels, kernel, expansion, 1 if index else stride, f"stage{stage}_block{index}"),
                first=index == 0,
            )
            sure = index < allowed.depths[0]
            x = run() if sure else tf.cond(index < depth, run, functools.partial(tf.identity, x))
    if space.base.head_channels:
        x = net.conv(x, space.base.head_channels, "head")
    features = tf.reduce_mean(x, [1, 2])
    last = model.get_layer("logits")
    return tf.matmul(features, last.kernel[: tf.shape(features)[-1]]) + last.bias


class _Weights:
    """The largest network's weights, and the operations on parts of them."""

    def __init__(self, model: Any, activate: Callable[[Any], Any], num_estimating: int | None):
        self.model, self.activate, self.num_estimating = model, activate, num_estimating

    def conv(self, x: Any, channels: Any, name: str, stride: int = 1, *, linear: bool = False) -> Any:
        """Convolution on the first channels on both sides, batch normalization, activation."""
        kernel = self.model.get_layer(f"{name}_conv").kernel[:, :, : tf.shape(x)[-1], :channels]
        return self.normed(tf.nn.conv2d(x, kernel, stride, "SAME"), name, linear=linear)

    def normed(self, x: Any, name: str, *, linear: bool = False) -> Any:
        layer, count = self.model.get_layer(f"{name}_bn"), tf.shape(x)[-1]
        gamma, beta = layer.gamma[:count], layer.beta[:count]
        if self.num_estimating is None:
            x, _, _ = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=layer.epsilon, is_training=True)
        else:
            mean, variance = tf.nn.moments(x[: self.num_estimating], [0, 1, 2])
            x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, layer.epsilon)
        return x if linear else self.activate(x)

    def block(self, x: Any, channels: Any, kernel: Any, expansion: Any, stride: int, name: str, *, first: bool) -> Any:
        """An inverted residual. Only the first of a stage can change the number of channels."""
        wide = self.widened(x, expansion, f"{name}_expand")
        filters = middle(self.model.get_layer(f"{name}_depthwise").depthwise_kernel, kernel)
        filters = filters[:, :, : tf.shape(wide)[-1]]
        y = tf.nn.depthwise_conv2d(wide, filters, [1, stride, stride, 1], "SAME")
        y = self.conv(self.normed(y, f"{name}_depthwise"), channels, f"{name}_project", linear=True)
        if not first:
            return x + y
        return y if stride > 1 else tf.cond(tf.shape(x)[-1] == channels, lambda: x + y, lambda: y)

    def widened(self, x: Any, expansion: Any, name: str) -> Any:
        """As many times the channels; once is the input itself."""
        if f"{name}_conv" not in {layer.name for layer in self.model.layers}:
            return x
        return tf.cond(expansion > 1, lambda: self.conv(x, expansion * tf.shape(x)[-1], name), lambda: x)


def middle(filters: Any, kernel: Any) -> Any:
    """The ``kernel`` by ``kernel`` middle of square filters ``(k, k, ...)`` with odd sides.

    The larger filter and its middle look at the same pixel, at stride 2 too: TensorFlow's SAME pads a wider kernel by
    as much more on either side.
    """
    start = (filters.shape[0] - kernel) // 2
    return filters[start : start + kernel, start : start + kernel]


def predictor(model: Any, space: Space, images: NDArray[np.uint8]) -> Callable[[Blocks], Predict]:
    """Ask any subnet, its batch normalization estimated on ``images``: uint8 ``(m, h, w, 3)``."""
    count = len(images)
    run = tf.function(
        lambda pixels, choice: logits(model, space, tf.cast(pixels, tf.float32), choice, count)[count:],
        reduce_retracing=True,
    )

    def of(blocks: Blocks) -> Predict:
        choice = tf.constant(rows_of(blocks))

        def predict(asked: NDArray[np.uint8]) -> NDArray[np.float32]:
            parts = [asked[start : start + BATCH_SIZE] for start in range(0, len(asked), BATCH_SIZE)]
            return np.concatenate([run(tf.constant(np.concatenate([images, part])), choice).numpy() for part in parts])

        return predict

    return of


def extracted(model: Any, space: Space, blocks: Blocks) -> Any:
    """A subnet as a student of its own, with its part of the weights.

    The statistics of its batch normalization are not there yet: see :func:`edgekd.batchnorm.reestimate`.
    """
    size, num_classes = model.input_shape[1], model.output_shape[-1]
    student = build_student("blocks", image_size=size, num_classes=num_classes, width_multiplier=1.0, blocks=blocks)
    for layer in student.layers:
        for mine, shared in zip(layer.trainable_weights, model.get_layer(layer.name).trainable_weights, strict=True):
            mine.assign(_part(shared.numpy(), tuple(mine.shape), layer.name.endswith("_depthwise")))
    return student


def _part(weights: NDArray[np.float32], shape: tuple[int, ...], depthwise: bool) -> NDArray[np.float32]:
    if depthwise:
        weights = middle(weights, shape[0])
    return weights[tuple(slice(count) for count in shape)]
