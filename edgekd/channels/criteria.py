"""How much each channel of a group is worth. Low scores go first.

Scores are a mapping from the name of each prunable group to (n,) float64, one for each of its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekd._keras import tf
from edgekd.channels.groups import Group, Structure
from edgekd.channels.weights import Weight, weights
from edgekd.errors import ModelError, TrainingError

Scores = Mapping[str, NDArray[np.float64]]


def l1(structure: Structure) -> Scores:
    """Mean magnitude of the weights that make a channel, relative to its layer (Li et al. 2017).

    ``score[k] = mean over layers of (mean |w[..., k]| / mean |w|)``, of the kernels that the group writes with,
    depthwise ones included. Being relative, layers of different scale can be ranked together.
    """
    scores = {}
    for group in structure.prunable:
        sizes = [
            _magnitude(structure, group, layer, weight)
            for layer, weight in _written(structure, group)
            if weight.attribute.endswith("kernel")
        ]
        scores[group.name] = np.mean([size / max(size.mean(), np.finfo(float).tiny) for size in sizes], axis=0)
    return scores


def bn_scale(structure: Structure) -> Scores:
    """Magnitude of the factor gamma that batch normalization puts on a channel (Liu et al. 2017, "network slimming").

    ``score[k] = mean over the group's normalizations of |gamma[k]|``.

    Raises:
        ModelError: a group without such a factor; the message names its layer.
    """
    scores = {}
    for group in structure.prunable:
        sizes = [
            _magnitude(structure, group, layer, weight)
            for layer, weight in _written(structure, group)
            if weight.attribute == "gamma"
        ]
        if not sizes:
            raise ModelError(
                f'criterion bn_scale: the channels of layer "{group.name}" have no batch normalization with a scale; '
                "protect that layer or use another criterion (l1, taylor)"
            )
        scores[group.name] = np.mean(sizes, axis=0)
    return scores


def taylor(structure: Structure, batches: Iterable[Any], loss: Callable[[Any], Any]) -> Scores:
    """How much the loss would change without a channel, to first order (Molchanov et al. 2017 and 2019).

    ``score[k] = mean over batches of |sum of w * dL/dw|``, over the weights that put a channel to zero: gamma and beta
    where it is normalized, kernel and bias where it is not. For gamma and beta that is activation times gradient,
    summed over images and positions. Scores are in units of the loss, so that layers can be ranked together.

    Args:
        structure: of the model that the loss runs.
        batches: at least one; each goes to ``loss`` as it is.
        loss: from a batch to a scalar, with ``training=False``; a ``tf.function`` is faster.

    Raises:
        TrainingError: no batch, a loss that is not a number, or one that does not depend on the model.
    """
    terms = [
        (group, layer, weight)
        for group in structure.prunable
        for layer, weight in _written(structure, group)
        if weight.attribute in ("gamma", "beta")
        or (weight.attribute.endswith(("kernel", "bias")) and not _is_normalized(structure, layer))
    ]
    variables = [weight.variable for _, _, weight in terms]
    batch_scores = []
    for batch in batches:
        change = {group.name: np.zeros(len(group)) for group in structure.prunable}
        for (group, layer, weight), gradient in zip(terms, _gradients(batch, loss, variables), strict=True):
            if gradient is not None:
                product = weight.variable.numpy().astype(np.float64) * gradient.numpy()
                change[group.name] += _per_channel(structure, group, layer, weight, product)
        batch_scores.append(change)
    if not batch_scores:
        raise TrainingError("criterion taylor: no batch to measure on")
    return {
        group.name: np.mean([np.abs(change[group.name]) for change in batch_scores], axis=0)
        for group in structure.prunable
    }


def _gradients(batch: Any, loss: Callable[[Any], Any], variables: list[Any]) -> list[Any]:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        value = loss(batch)
    if not np.isfinite(value):
        raise TrainingError(f"criterion taylor: the loss of a batch is {float(value)}")
    gradients: list[Any] = tape.gradient(value, variables)
    if all(gradient is None for gradient in gradients):
        raise TrainingError("criterion taylor: the loss does not depend on the model's weights")
    return gradients


def _is_normalized(structure: Structure, layer: str) -> bool:
    """All that reads the layer is batch normalization with a gamma, which decides what comes of its channels."""
    readers = [node for node in structure.nodes.values() if layer in node.inputs]
    return all(node.kind == "BatchNormalization" and node.layer.scale for node in readers)


def _written(structure: Structure, group: Group) -> list[tuple[str, Weight]]:
    return [
        (layer, weight) for layer in group.layers for weight in weights(structure.nodes[layer].layer) if weight.written
    ]


def _per_channel(
    structure: Structure, group: Group, layer: str, weight: Weight, values: ArrayLike
) -> NDArray[np.float64]:
    """(n,) sums of ``values``, which have the weight's shape, over all that each channel of the group is written by."""
    ((axis, role),) = weight.written.items()
    sums = np.moveaxis(np.asarray(values, np.float64), axis, -1)
    sums = sums.reshape(-1, sums.shape[-1]).sum(axis=0)
    units = structure.along(layer, role)
    here = np.isin(units, group.units)
    return np.bincount(np.searchsorted(group.units, units[here]), sums[here], len(group)).astype(np.float64)


def _magnitude(structure: Structure, group: Group, layer: str, weight: Weight) -> NDArray[np.float64]:
    """(n,) mean absolute value of a weight for each channel of the group."""
    values = np.abs(weight.variable.numpy())
    return _per_channel(structure, group, layer, weight, values) / _per_channel(
        structure, group, layer, weight, np.ones_like(values)
    )
