"""Multiply-accumulates of a Keras model, and of what is left of it at any number of channels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.channels.graph import Node, read
from edgekd.channels.groups import Structure
from edgekd.errors import ModelError


@dataclass(frozen=True)
class Table:
    """Multiply-accumulates as a function of the groups' channel counts.

    Term ``t`` is ``factor[t] * (fixed[t] + reads[t] @ counts) * (writes[t] @ counts)``.
    """

    factor: NDArray[np.int64]
    fixed: NDArray[np.int64]
    reads: NDArray[np.int64]
    writes: NDArray[np.int64]

    def __call__(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Multiply-accumulates at ``counts``, (groups,) or (groups, candidates)."""
        fixed = self.fixed if counts.ndim == 1 else self.fixed[:, np.newaxis]
        total: NDArray[np.int64] = self.factor @ ((fixed + self.reads @ counts) * (self.writes @ counts))
        return total


def macs(model: Any) -> int:
    """Multiply-accumulates of one inference, as :func:`edgekd.tflite.macs` counts them in the file made of the model.

    Every weight of a kernel is used once at each position of the output (of a transposed convolution: the input).

    Raises:
        ModelError: a model whose layers cannot be followed, or whose input has no fixed size.
    """
    return sum(
        _positions(node) * sum(prod(getattr(node.layer, kernel).shape) for kernel in _KERNELS[node.kind])
        for node in read(model).values()
        if node.kind in _KERNELS
    )


def table(structure: Structure) -> Table:
    """The multiply-accumulates of a model by the channels of its groups, in the order of ``structure.groups``."""
    rows = [(node, *term) for node in structure.nodes.values() for term in _terms(node)]
    group_of = np.empty(structure.num_units, np.int64)
    sizes = np.empty(len(structure.groups), np.int64)
    for index, group in enumerate(structure.groups.values()):
        group_of[group.units] = index
        sizes[index] = len(group)

    def multiples(node: Node, role: str) -> NDArray[np.int64]:
        if not role:
            return np.zeros(len(sizes), np.int64)
        return np.bincount(group_of[structure.along(node.name, role)], minlength=len(sizes)) // sizes

    return Table(
        np.array([factor for _, factor, _, _ in rows], np.int64),
        np.array([not role_in for _, _, role_in, _ in rows], np.int64),
        np.array([multiples(node, role_in) for node, _, role_in, _ in rows]).reshape(-1, len(sizes)),
        np.array([multiples(node, role_out) for node, _, _, role_out in rows]).reshape(-1, len(sizes)),
    )


_KERNELS = {
    "Conv2D": ("kernel",),
    "Conv2DTranspose": ("kernel",),
    "Dense": ("kernel",),
    "DepthwiseConv2D": ("depthwise_kernel",),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel"),
}


def _positions(node: Node) -> int:
    shape = node.layer.input.shape if node.kind == "Conv2DTranspose" else node.shape
    if None in shape[1:-1]:
        raise ModelError(f'the output of layer "{node.name}" has no fixed size; give the model an input size')
    return prod(shape[1:-1])


def _terms(node: Node) -> list[tuple[int, str, str]]:
    """Multiply-accumulates as factors of the channels of two roles; the empty role is one."""
    if node.kind not in _KERNELS:
        return []
    positions = _positions(node)
    if node.kind == "Dense":
        return [(positions, "i", "o")]
    area = positions * prod(node.layer.kernel_size)
    match node.kind:
        case "DepthwiseConv2D":
            return [(area, "", "o")]
        case "SeparableConv2D":
            return [(area, "", "m"), (positions, "m", "o")]
        case _ if node.layer.groups > 1:  # of a size that stays
            return [(area * node.layer.kernel.shape[2], "", "o")]
        case _:
            return [(area, "i", "o")]
