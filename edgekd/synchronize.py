"""Batch normalization over the batch of all workers.

What ``tf_keras`` has for it, ``BatchNormalization(synchronized=True)``, sends three sums a layer, one after the other,
and as many back for the gradient; it takes the variance as ``E[x**2] - E[x]**2``, which loses digits where the mean is
large, and its moving variance is another than that of the fused kernel that one worker uses. Here a layer sends its
moments once and the sums of its gradient once, and all passes over the values are those of the fused kernels: written
out in single operations they take three to four times as long on a CPU, which is more than a second worker brings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from edgekd._keras import tf, tf_keras
from edgekd.workers import everyones


@contextmanager
def synchronized(networks: Iterable[Any], wanted: bool = True) -> Iterator[None]:
    """Let all batch normalization in networks, traced within the block, look at the batch of all workers.

    The networks are as before after it, and are saved as ordinary ones.
    """
    layers = {
        id(part): part
        for network in networks
        for part in (network, *network.submodules)
        if isinstance(part, tf_keras.layers.BatchNormalization)
    }
    for layer in layers.values() if wanted else ():
        layer.call = _call_of(layer)
    try:
        yield
    finally:
        for layer in layers.values():
            layer.__dict__.pop("call", None)


def _call_of(layer: Any) -> Any:
    plain = layer.call

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if not training or not layer.trainable:
            return plain(inputs, training=training)
        order = [axis for axis in range(inputs.shape.rank) if axis not in layer.axis] + list(layer.axis)
        channels_last = tf.transpose(inputs, order)
        width = math.prod(inputs.shape[axis] for axis in layer.axis)
        gamma, beta = (
            tf.fill([width], absent) if weight is None else tf.reshape(weight, [width])
            for weight, absent in ((layer.gamma, 1.0), (layer.beta, 0.0))
        )
        # The fused kernels take maps as they are faster than the same values as one long column.
        as_maps = inputs.shape.rank == 4 and len(layer.axis) == 1
        maps = channels_last if as_maps else tf.reshape(channels_last, [-1, 1, 1, width])
        outputs, num_samples, mean, variance = normalized(maps, gamma, beta, layer.epsilon)
        # The fused kernel of one worker keeps the unbiased variance.
        kept = variance * num_samples / (num_samples - 1) if layer.fused else variance
        for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, kept)):
            moving.assign_sub((1.0 - layer.momentum) * (moving - tf.reshape(new, moving.shape)))
        back = [order.index(axis) for axis in range(len(order))]
        return tf.transpose(tf.reshape(outputs, tf.shape(channels_last)), back)

    return call


def normalized(maps: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any, Any]:
    """Normalize by the moments of the batch of all workers.

    ``y = gamma x_hat + beta``, ``x_hat = (x - mean) / sqrt(variance + epsilon)``. Its gradient, with the sums over the
    batch of all workers (Ioffe and Szegedy 2015): ``dx = gamma / sqrt(variance + epsilon) (dy - sum(dy) / n - x_hat
    sum(dy x_hat) / n)``.

    Args:
        maps: of this worker, shape ``(own samples, h, w, c)``; inside ``strategy.run``.
        gamma: shape ``(c,)``.
        beta: shape ``(c,)``.
        epsilon: added to the variance.

    Returns:
        The maps normalized, and :func:`moments`, through which no gradient flows.
    """

    def function(maps: Any, gamma: Any, beta: Any) -> Any:
        num_samples, mean, variance = moments(maps)

        def scaled(scale: Any, offset: Any) -> Any:
            return _fused(maps, scale, offset, mean=mean, variance=variance, epsilon=epsilon, is_training=False)[0]

        def gradient(upstream: Any, *_: Any) -> tuple[Any, Any, Any]:
            by_maps, by_gamma, by_beta, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream,
                x=maps,
                scale=gamma,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=tf.zeros([0]),
                epsilon=epsilon,
                is_training=False,  # as if the moments stood still; how they move comes next
            )
            sums = tf.reduce_sum(everyones(tf.stack([by_gamma, by_beta])), axis=0)
            shares = -gamma * tf.math.rsqrt(variance + epsilon) * sums / num_samples
            return by_maps + scaled(shares[0], shares[1]), by_gamma, by_beta

        return (scaled(gamma, beta), num_samples, mean, variance), gradient

    found: tuple[Any, Any, Any, Any] = tf.custom_gradient(function)(maps, gamma, beta)
    return found


def moments(maps: Any) -> tuple[Any, Any, Any]:
    """How many pixels the workers have together, their mean and their (biased) variance, each of shape ``(c,)``.

    From those of each worker's slice: ``mean = sum(n_i m_i) / n`` and ``variance = sum(n_i (v_i + (m_i - mean)**2)) /
    n``, with ``n = sum(n_i)`` (Chan et al. 1979, "Updating formulae and a pairwise algorithm for computing sample
    variances").

    Args:
        maps: of this worker, ``n_i`` pixels, shape ``(own samples, h, w, c)``; inside ``strategy.run``.
    """
    width, nothing = maps.shape[-1], tf.zeros([0])
    ones, zeros = tf.ones([width]), tf.zeros([width])
    _, own_mean, unbiased, *_ = _fused(maps, ones, zeros, mean=nothing, variance=nothing, epsilon=1.0, is_training=True)
    own_count = tf.cast(tf.size(maps) // width, maps.dtype)
    mine = tf.stack([tf.fill([width], own_count), own_mean, unbiased * (own_count - 1) / own_count])
    counts, means, variances = tf.unstack(everyones(mine), axis=1)
    num_samples = tf.reduce_sum(counts, axis=0)
    mean = tf.reduce_sum(counts * means, axis=0) / num_samples
    return num_samples, mean, tf.reduce_sum(counts * (variances + tf.square(means - mean)), axis=0) / num_samples


def _fused(maps: Any, scale: Any, offset: Any, **options: Any) -> Any:
    return tf.raw_ops.FusedBatchNormV3(x=maps, scale=scale, offset=offset, exponential_avg_factor=1.0, **options)
