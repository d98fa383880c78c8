"""The memory that the tensors of a model take while it runs."""

from __future__ import annotations

import numpy as np

from edgekd.tflite import cost
from edgekd.tflite.view import Tensor, View


def live_bytes(view: View) -> int:
    """Bytes of the computed tensors that live at once, at the step where these are most.

    A tensor lives from the operator that writes it (an input of the model: from the start) to the last one that reads
    it (an output: to the end), operators in the order of the file. This is what the tensors themselves need where
    nothing is overwritten in place; a runtime adds scratch and its own tables, and rounds up. Constants are in the
    file and count as nothing; so do tensors of a size that the file does not tell.
    """
    steps = len(view.operators)
    born = dict.fromkeys(view.input_indices, 0)
    dies = dict.fromkeys((*view.input_indices, *view.output_indices), 0)
    for step, operator in enumerate(view.operators):
        for index in operator.outputs:
            born.setdefault(index, step)
            dies[index] = step
        for index in operator.inputs:
            dies[index] = step
    dies |= dict.fromkeys(view.output_indices, steps - 1)
    computed = {index: place for index, place in born.items() if index >= 0 and cost.constant(view, index) is None}
    alive = [
        sum(_bytes(view.tensors[index]) for index, place in computed.items() if place <= step <= dies[index])
        for step in range(steps)
    ]
    return max(alive, default=0)


def _bytes(tensor: Tensor) -> int:
    try:
        return tensor.size * np.dtype(tensor.dtype).itemsize
    except TypeError:  # strings, resources, half a byte: no numpy type
        return 0
