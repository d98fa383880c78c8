"""Batch normalization over the batch of all workers.

What ``tf_keras`` has for it, ``BatchNormalization(synchronized=True)``, sends three sums a layer, one after the other,
and as many back for the gradient; it takes the variance as ``E[x**2] - E[x]**2``, which loses digits where the mean is
large, and its moving variance is another than that of the fused kernel that one worker uses. Here a layer sends its
moments once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from edgekd._keras import tf, tf_keras


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
        axes = [axis for axis in range(inputs.shape.rank) if axis not in layer.axis]
        num_samples, mean, variance = moments(inputs, axes)
        # The fused kernel of one worker keeps the unbiased variance.
        kept = variance * num_samples / (num_samples - 1) if layer.fused else variance
        for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, kept)):
            moving.assign_sub((1.0 - layer.momentum) * (moving - tf.reshape(new, moving.shape)))
        gamma, beta = (
            None if weight is None else tf.reshape(weight, mean.shape) for weight in (layer.gamma, layer.beta)
        )
        return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, layer.epsilon)

    return call


def moments(inputs: Any, axes: list[int]) -> tuple[Any, Any, Any]:
    """How many values, their mean and their (biased) variance over the batch of all workers.

    From those of each worker's slice: ``mean = sum(n_i m_i) / n`` and ``variance = sum(n_i (v_i + (m_i - mean)**2)) /
    n``, with ``n = sum(n_i)`` (Chan et al. 1979, "Updating formulae and a pairwise algorithm for computing sample
    variances").

    Args:
        inputs: of this worker; inside ``strategy.run``.
        axes: over which the moments are taken; they stay, with size 1.
    """
    context = tf.distribute.get_replica_context()
    own_mean, own_variance = tf.nn.moments(inputs, axes, keepdims=True)
    own_count = tf.cast(tf.size(inputs) / tf.size(own_mean), inputs.dtype)
    mine = tf.stack([tf.fill(own_mean.shape, own_count), own_mean, own_variance])
    place = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync, dtype=inputs.dtype)
    everyones = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.tensordot(place, mine, axes=0))
    counts, means, variances = tf.unstack(everyones, axis=1)
    counts = tf.stop_gradient(counts)
    num_samples = tf.reduce_sum(counts, axis=0)
    mean = tf.reduce_sum(counts * means, axis=0) / num_samples
    return num_samples, mean, tf.reduce_sum(counts * (variances + tf.square(means - mean)), axis=0) / num_samples
