"""What quantization does to each layer: signal against noise, of one layer alone and of the whole model.

``SNR = 10 log10(sum x**2 / sum (x - x')**2)`` in decibels, x of the float model and x' of the quantized one, over all
images and elements. Two figures a layer, because one does not tell enough. The noise of a layer's output, in the INT8
model, holds that of all layers before it, and a channel a thousand times as large as the others hides that they are
lost. So each layer is also put alone into the float model, with the weights and the output that INT8 has there, and
the noise is measured where it matters: in the logits. By this figure layers are ranked.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import _litert
from edgekd._litert import schema
from edgekd.errors import ModelError
from edgekd.tflite import cost, edit
from edgekd.tflite.layers import layer_of, layers_of
from edgekd.tflite.view import Operator, View, open_view


@dataclass(frozen=True)
class LayerError:
    """One operator.

    Attributes:
        layer: of the Keras model.
        operator: of TensorFlow Lite.
        tensor: name of what it computes.
        logits_snr_db: of the logits, this operator alone being quantized; infinite where nothing changes.
        output_snr_db: of its output, the whole model being quantized.
    """

    layer: str
    operator: str
    tensor: str
    logits_snr_db: float
    output_snr_db: float


def layer_errors(fp32: bytes, int8: bytes, images: NDArray[np.uint8]) -> list[LayerError]:
    """Rank the operators of an INT8 model by what their quantization does to the logits, worst first.

    Operators that only move values (padding, reshaping, pooling by maximum) quantize nothing and are left out.

    Args:
        fp32, int8: of one frozen model, with the same head.
        images: uint8 ``(n, h, w, 3)``, real ones.

    Raises:
        ModelError: files that cannot be read, or that are not of one model.
    """
    view = open_view(int8)
    steps = [step for operators in layers_of(view).values() for step in operators if not carries(view, step)]
    names = [view.tensors[step.outputs[0]].name for step in steps]
    place = _places(fp32)
    missing = [name for name in names if name not in place]
    if missing or not names:
        raise ModelError(
            "the two files are not of one model"
            + (f': the float file has no tensor "{missing[0]}"' if missing else " in INT8")
            + "; build them anew"
        )
    outputs = _output_noise(fp32, int8, images, names)
    alone = _Alone(fp32, int8, images)
    rows = [
        LayerError(layer_of(view, step), step.name, name, alone.snr_db(name), outputs[name])
        for step, name in zip(steps, names, strict=True)
    ]
    return sorted(rows, key=lambda row: row.logits_snr_db)


def carries(view: View, operator: Operator) -> bool:
    """Whether an operator's output is quantized as one of its computed inputs is: it adds no rounding of its own."""
    target = view.tensors[operator.outputs[0]]
    sources = [view.tensors[index] for index in operator.inputs if index >= 0]
    # What multiplies or adds rounds anew, though the scales may be equal by chance.
    moves = operator.name in ("PAD", "PADV2", "MIRROR_PAD", "RESHAPE", "MAX_POOL_2D", "SQUEEZE", "TRANSPOSE", "SLICE")
    return moves and any(
        source.values is None and (source.scale, source.zero_point) == (target.scale, target.zero_point)
        for source in sources
    )


def snr_db(signal: float, noise: float) -> float:
    """``10 log10(signal / noise)`` of two sums of squares; infinite without noise."""
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")


def _places(content: bytes) -> dict[str, int]:
    return {tensor.name: index for index, tensor in enumerate(open_view(content).tensors)}


def _output_noise(fp32: bytes, int8: bytes, images: NDArray[np.uint8], names: list[str]) -> dict[str, float]:
    """SNR of each named tensor, the INT8 file against the float file, image by image."""
    view = open_view(int8)
    floats, integers = ([places[name] for name in names] for places in (_places(fp32), _places(int8)))
    runs = [
        _litert.tensors_of(_litert.open_interpreter(content, "builtin", preserve_all_tensors=True), images, indices)
        for content, indices in ((fp32, floats), (int8, integers))
    ]
    signal, noise = np.zeros(len(names)), np.zeros(len(names))
    for exact, quantized in zip(*runs, strict=True):
        for row, (float_index, index) in enumerate(zip(floats, integers, strict=True)):
            tensor = view.tensors[index]
            wanted = exact[float_index].astype(np.float64)
            found = quantized[index].astype(np.float64)
            if tensor.scale:
                found = tensor.scale[0] * (found - tensor.zero_point[0])
            signal[row] += np.sum(wanted**2)
            noise[row] += np.sum((wanted - found) ** 2)
    return {name: snr_db(*sums) for name, sums in zip(names, zip(signal, noise, strict=True), strict=True)}


class _Alone:
    """The float model with one operator at a time as the INT8 model has it; neither tree is changed."""

    def __init__(self, fp32: bytes, int8: bytes, images: NDArray[np.uint8]):
        self.fp32, self.int8, self.images = edit.unpack(fp32), edit.unpack(int8), images
        self.view = open_view(int8)
        self.interpreter = _litert.open_interpreter(int8, "builtin", preserve_all_tensors=True)
        # One image, so that weights which are stored sparse are there.
        list(_litert.tensors_of(self.interpreter, images[:1], []))
        graph = self.fp32.subgraphs[0]
        self.steps = {graph.tensors[step.outputs[0]].name.decode(): step for step in graph.operators}
        quantized = self.int8.subgraphs[0]
        self.twins = {quantized.tensors[step.outputs[0]].name.decode(): step for step in quantized.operators}
        last, kinds = graph.operators[-1], schema().BuiltinOperator
        headed = edit.operator_code(self.fp32, last) in (kinds.SOFTMAX, kinds.LOGISTIC)
        self.logits = int(last.inputs[0] if headed else graph.outputs[0])
        self.exact = self._run(self._copy(), self.logits)

    def snr_db(self, name: str) -> float:
        """SNR of the logits with the operator that writes ``name`` quantized, and no other."""
        model, twin = self._copy(), self.twins[name]
        graph = model.subgraphs[0]
        step = next(one for one in graph.operators if one.outputs[0] == self.steps[name].outputs[0])
        step.inputs = [
            self._add_constant(model, theirs, self._dequantized(ours)) if self._is_quantized_constant(ours) else theirs
            for theirs, ours in zip(step.inputs, twin.inputs, strict=True)
        ]
        rounded = self._round(model, int(step.outputs[0]), int(twin.outputs[0]))
        found = self._run(model, rounded if step.outputs[0] == self.logits else self.logits)
        return snr_db(float(np.sum(self.exact**2)), float(np.sum((self.exact - found) ** 2)))

    def _is_quantized_constant(self, index: int) -> bool:
        return index >= 0 and bool(self.view.tensors[index].scale) and cost.constant(self.view, index) is not None

    def _dequantized(self, index: int) -> NDArray[np.float32]:
        """A constant of the INT8 file as real numbers, ``scale * (q - zero_point)``."""
        stored = self.interpreter.get_tensor(index).astype(np.float64)
        found = self.interpreter.get_tensor_details()[index]["quantization_parameters"]
        shape = [1] * stored.ndim
        if len(found["scales"]) > 1:
            shape[found["quantized_dimension"]] = -1
        scale, zero_point = (found[name].reshape(shape).astype(np.float64) for name in ("scales", "zero_points"))
        return np.asarray(scale * (stored - zero_point), np.float32)

    @staticmethod
    def _add_constant(model: Any, like: int, values: NDArray[np.float32]) -> int:
        """Another tensor of the same name and shape with values of its own; others may share what it replaces."""
        graph = model.subgraphs[0]
        buffer, tensor = schema().BufferT(), copy.copy(graph.tensors[like])
        buffer.data = np.ascontiguousarray(values).ravel().view(np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def _copy(self) -> Any:
        """A copy whose lists can be changed; what they hold is shared."""
        model = copy.copy(self.fp32)
        graph = copy.copy(model.subgraphs[0])
        graph.tensors, graph.operators = list(graph.tensors), [copy.copy(step) for step in graph.operators]
        model.subgraphs, model.buffers, model.operatorCodes = [graph], list(model.buffers), list(model.operatorCodes)
        return model

    def _round(self, model: Any, index: int, twin: int) -> int:
        """Put a QUANTIZE and a DEQUANTIZE behind a tensor, with INT8's scale there; return the new tensor."""
        graph = model.subgraphs[0]
        stored, back = copy.copy(graph.tensors[index]), copy.copy(graph.tensors[index])
        original = self.int8.subgraphs[0].tensors[twin]
        stored.type, stored.quantization, stored.name = original.type, original.quantization, "stored"
        back.name = "rounded"
        graph.tensors += [stored, back]
        first, second = len(graph.tensors) - 2, len(graph.tensors) - 1
        place = next(number for number, step in enumerate(graph.operators) if index in step.outputs) + 1
        for step in graph.operators[place:]:
            step.inputs = [second if source == index else source for source in step.inputs]
        graph.operators[place:place] = [
            edit.bridge(model, "QUANTIZE", index, first),
            edit.bridge(model, "DEQUANTIZE", first, second),
        ]
        return second

    def _run(self, model: Any, output: int) -> NDArray[np.float64]:
        model.subgraphs[0].outputs = [output]
        # What stands behind the new output is computed in vain: the head alone.
        interpreter = _litert.open_interpreter(edit.pack(model))
        return _litert.run(interpreter, self.images).astype(np.float64)
