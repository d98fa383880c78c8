"""Put layers of the float file into the INT8 file: a model in two number types that names what is in which.

The converter's own list of operators to leave alone matches fused strings, passes over those that match nothing, and
turns the input into float. Both files come from one frozen graph, so that their tensors have the same names, and an
operator can be exchanged by name: nothing is guessed, and what does not fit is an error.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from edgekd._litert import schema
from edgekd.errors import ConversionError, RecipeError
from edgekd.tflite import cost, edit
from edgekd.tflite.convert import check
from edgekd.tflite.layers import check_layers, layers_of
from edgekd.tflite.view import open_view


def keep_float(int8: bytes, fp32: bytes, layers: Collection[str], key: str = "quantize.float_layers") -> bytes:
    """The INT8 model with some layers computed in float32, as the float model computes them.

    What flows between two such layers is never quantized. Input and output are those of the INT8 model.

    Args:
        int8: of the variant ``int8``.
        fp32: of the same frozen model.
        layers: names of Keras layers, as :func:`~edgekd.tflite.layers.layers_of` tells them.
        key: of the recipe, for messages.

    Raises:
        RecipeError: a name that is not there, or that nothing with weights would be left in INT8.
        ConversionError: files that are not of one model.
    """
    view = open_view(int8)
    check_layers(view, layers, key)
    steps = layers_of(view)
    names = {view.tensors[step.outputs[0]].name for layer in layers for step in steps[layer]}
    if {view.tensors[step.outputs[0]].name for step, _ in cost.weights(view)} <= names:
        raise RecipeError(f"{key}: no layer with weights would be left in INT8; the float model is the variant fp32")
    content = _Exchange(edit.unpack(int8), edit.unpack(fp32)).of(names)
    if layers:
        check(open_view(content), "mixed")
    return content


class _Exchange:
    """One pass over the operators of the INT8 graph; ``target`` is changed, ``source`` is read."""

    def __init__(self, target: Any, source: Any):
        self.target, self.source = target, source
        self.tensors = target.subgraphs[0].tensors
        self.donors = {
            _name(source, step.outputs[0]): step for step in source.subgraphs[0].operators if len(step.outputs)
        }
        self.floats: dict[int, int] = {}  # float form of a tensor of the INT8 graph
        self.quantized: set[int] = set()  # of these, those whose INT8 form is computed too
        self.operators: list[Any] = []

    def of(self, names: Collection[str]) -> bytes:
        """The model with the operators that write these tensors in float."""
        graph = self.target.subgraphs[0]
        for operator in graph.operators:
            if _name(self.target, operator.outputs[0]) in names:
                self._put_float(operator)
            elif (
                edit.operator_code(self.target, operator) == schema().BuiltinOperator.DEQUANTIZE
                and operator.inputs[0] in self.floats
            ):
                self.floats[operator.outputs[0]] = self.floats[operator.inputs[0]]
            else:
                operator.inputs = [self._as_stored(index) for index in operator.inputs]
                self.operators.append(operator)
        graph.operators = self.operators
        edit.drop_unused(self.target)
        return edit.pack(self.target)

    def _put_float(self, operator: Any) -> None:
        name = _name(self.target, operator.outputs[0])
        donor = self.donors.get(name)
        if donor is None or len(donor.inputs) != len(operator.inputs):
            raise ConversionError(f'the float file does not compute "{name}" as the INT8 file does; build both anew')
        step = copy.copy(donor)
        step.opcodeIndex = self._add_code(self.source.operatorCodes[donor.opcodeIndex])
        step.inputs = [
            self._constant(theirs) if self._is_constant(theirs) else self._as_float(ours)
            for theirs, ours in zip(donor.inputs, operator.inputs, strict=True)
        ]
        step.outputs = [self._float_copy(index) for index in operator.outputs]
        self.floats |= dict(zip(operator.outputs, step.outputs, strict=True))
        self.operators.append(step)

    def _as_float(self, index: int) -> int:
        """A tensor of the INT8 graph in float32, behind a DEQUANTIZE where nothing else computes it."""
        if index not in self.floats:
            self.floats[index] = self._float_copy(index)
            self.quantized.add(index)
            self.operators.append(edit.bridge(self.target, "DEQUANTIZE", index, self.floats[index]))
        return self.floats[index]

    def _as_stored(self, index: int) -> int:
        """The same in the type that the INT8 graph has, behind a QUANTIZE where it was computed in float."""
        if index not in self.floats or index in self.quantized:
            return index
        if self.tensors[index].type == schema().TensorType.FLOAT32:  # what a DEQUANTIZE gave, before it was left out
            return self.floats[index]
        self.quantized.add(index)
        self.operators.append(edit.bridge(self.target, "QUANTIZE", self.floats[index], index))
        return index

    def _add_code(self, code: Any) -> int:
        same = ("builtinCode", "deprecatedBuiltinCode", "version", "customCode")
        for index, other in enumerate(self.target.operatorCodes):
            if all(getattr(code, name) == getattr(other, name) for name in same):
                return index
        self.target.operatorCodes.append(copy.copy(code))
        return len(self.target.operatorCodes) - 1

    def _is_constant(self, index: int) -> bool:
        return index < 0 or self._data(index) is not None

    def _data(self, index: int) -> Any:
        tensor = self.source.subgraphs[0].tensors[index]
        data = self.source.buffers[tensor.buffer].data
        return data if data is not None and len(data) else None

    def _constant(self, index: int) -> int:
        if index < 0:
            return index
        tensor = copy.copy(self.source.subgraphs[0].tensors[index])
        buffer = schema().BufferT()
        buffer.data = self._data(index)
        self.target.buffers.append(buffer)
        tensor.buffer = len(self.target.buffers) - 1
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _float_copy(self, index: int) -> int:
        tensor = copy.copy(self.tensors[index])
        # Where both forms are computed, readers of the file have to tell them apart.
        tensor.name = tensor.name.decode() + "_float"
        tensor.type, tensor.quantization = schema().TensorType.FLOAT32, None
        tensor.buffer = 0
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def _name(model: Any, index: int) -> str:
    name: bytes | str = model.subgraphs[0].tensors[index].name
    return name if isinstance(name, str) else name.decode()
