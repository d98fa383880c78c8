"""The kernels that compression works on, and what is to stay of them while a student trains on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from edgekd import _keras
from edgekd._keras import tf

PRESERVED = ("nothing", "zeros", "values")


def is_prunable(layer: Any) -> bool:
    """Convolutions and dense layers. Depthwise kernels are few, and tfmot leaves them alone."""
    layers = _keras.tf_keras.layers
    return isinstance(layer, (layers.Conv2D, layers.Dense)) and not isinstance(layer, layers.DepthwiseConv2D)


def prunable(model: Any) -> dict[str, Any]:
    """These layers by name, in the model's order."""
    return {layer.name: layer for layer in model.layers if is_prunable(layer)}


def distinct_values(model: Any, names: Iterable[str]) -> dict[str, int]:
    """How many different numbers the kernels of these layers hold, by the layer's name."""
    return {name: len(np.unique(model.get_layer(name).kernel.numpy())) for name in names}


def sparsity(model: Any) -> float:
    """Fraction of zeros among these kernels."""
    found = [layer.kernel.numpy() for layer in prunable(model).values()]
    return float(sum(np.sum(kernel == 0) for kernel in found) / sum(kernel.size for kernel in found))


def keeper(kernels: list[Any], what: str) -> Callable[[], None]:
    """A function that brings kernels which have been trained on back to what they are now.

    ``zeros``: what is zero now becomes zero again. ``values``: weights that are equal now become equal again, to their
    mean, which is the projection onto all kernels with these equalities; so a kernel of 16 values stays one.

    Args:
        kernels: variables of any shape.
        what: of ``PRESERVED``.
    """
    if what == "zeros":
        masks = [tf.constant(kernel.numpy() != 0, kernel.dtype) for kernel in kernels]

        @tf.function  # type: ignore[untyped-decorator]
        def restore() -> None:
            for kernel, mask in zip(kernels, masks, strict=True):
                kernel.assign(kernel * mask)

    elif what == "values":
        places = [np.unique(kernel.numpy(), return_inverse=True)[1].reshape(-1) for kernel in kernels]

        @tf.function  # type: ignore[untyped-decorator]
        def restore() -> None:
            for kernel, place in zip(kernels, places, strict=True):
                values = tf.math.unsorted_segment_mean(tf.reshape(kernel, [-1]), place, int(place.max()) + 1)
                kernel.assign(tf.reshape(tf.gather(values, place), kernel.shape))

    else:

        def restore() -> None:
            pass

    return restore  # type: ignore[no-any-return]
