"""What a .tflite is made of: inputs and outputs, operators, number types, weights, and where it leaves the integers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekd.tflite import cost
from edgekd.tflite.view import Operator, Tensor, View

FLOATS = ("float16", "float32", "float64")


def tensor_row(tensor: Tensor) -> dict[str, Any]:
    """Name, shape and type of a tensor; of a quantized one scale, zero point and the real numbers that it can hold."""
    row: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    if len(tensor.scale) == 1 and len(tensor.zero_point) == 1:
        row |= {"scale": tensor.scale[0], "zero_point": tensor.zero_point[0]}
        if tensor.dtype in ("int8", "uint8", "int16"):
            ends = np.iinfo(tensor.dtype)
            row["range"] = [tensor.scale[0] * (int(end) - tensor.zero_point[0]) for end in (ends.min, ends.max)]
    return row


def operator_rows(view: View) -> list[dict[str, Any]]:
    """One row an operator name: count, multiply-accumulates, granularity of the weights; the costliest first."""
    granularity: dict[str, set[str]] = defaultdict(set)
    for operator, kernel in cost.weights(view):
        granularity[operator.name].add(weight_granularity(kernel))
    macs: Counter[str] = Counter()
    for operator in view.operators:
        macs[operator.name] += cost.operator_macs(view, operator)
    rows = [
        {"name": name, "count": count, "macs": macs[name], "weights": sorted(granularity[name])}
        for name, count in view.operator_counts.items()
    ]
    return sorted(rows, key=lambda row: (-row["macs"], -row["count"], row["name"]))


def weight_granularity(kernel: Tensor) -> str:
    """``per_channel``, ``per_tensor``, or the type of weights that are not quantized."""
    if not kernel.scale:
        return kernel.dtype
    return "per_channel" if len(kernel.scale) > 1 else "per_tensor"


def weight_types(view: View) -> dict[str, int]:
    """How many weights (numbers, not tensors) of convolutions and dense layers are stored in each type."""
    found = {id(kernel): kernel for _, kernel in cost.weights(view)}
    counts: Counter[str] = Counter()
    for kernel in found.values():
        counts[kernel.dtype] += kernel.size
    return dict(counts.most_common())


def activation_types(view: View) -> dict[str, int]:
    """How many computed tensors flow in each type."""
    flowing = {index for operator in view.operators for index in computed(view, operator)}
    return dict(Counter(view.tensors[index].dtype for index in sorted(flowing)).most_common())


def sparsity(view: View) -> float | None:
    """Fraction of zeros among the weights; None where there are none, or none that can be read."""
    kernels = [kernel for _, kernel in cost.weights(view)]
    readable = all(kernel.values is not None and kernel.values.dtype.name == kernel.dtype for kernel in kernels)
    return cost.measured_sparsity(view) if kernels and readable else None


def computed(view: View, operator: Operator) -> list[int]:
    """Tensors of an operator that are neither missing nor constant (nor a constant behind DEQUANTIZE or DENSIFY)."""
    return [
        index for index in (*operator.inputs, *operator.outputs) if index >= 0 and cost.constant(view, index) is None
    ]


def float_islands(view: View) -> list[list[str]]:
    """Stretches of floating point between integers, each as the names of its operators in the order of execution.

    Operators that hand floats to each other make one stretch. It is an island where a DEQUANTIZE of a computed tensor
    begins it and a QUANTIZE ends it: a pair of these two alone is the smallest. A float head or tail of the model is
    none, nor is a model that computes in floats throughout.
    """
    stretch: dict[int, int] = {}
    members: dict[int, list[int]] = defaultdict(list)
    for position, operator in enumerate(view.operators):
        floats = [index for index in computed(view, operator) if view.tensors[index].dtype in FLOATS]
        if not floats:
            continue
        known = sorted({stretch[index] for index in floats if index in stretch})
        label = known[0] if known else position
        for other in known[1:]:
            members[label] += members.pop(other)
            stretch |= {index: label for index, found in stretch.items() if found == other}
        members[label].append(position)
        stretch |= dict.fromkeys(floats, label)
    names = [[view.operators[position].name for position in sorted(found)] for found in members.values()]
    return [found for found in names if "DEQUANTIZE" in found and "QUANTIZE" in found]


def anatomy(view: View) -> Mapping[str, Any]:
    """All of the above, in names of the JSON document."""
    return {
        "dtype": cost.dtype(view),
        "inputs": [tensor_row(tensor) for tensor in view.inputs],
        "outputs": [tensor_row(tensor) for tensor in view.outputs],
        "weight_types": weight_types(view),
        "activation_types": activation_types(view),
        "operators": operator_rows(view),
        "macs": cost.macs(view),
        "num_params": cost.num_params(view),
        "measured_sparsity": sparsity(view),
        "float_islands": float_islands(view),
        "num_subgraphs": view.num_subgraphs,
    }
