"""What a .tflite costs and is made of: multiply-accumulates, parameters, zeros, number types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from edgekd.errors import ModelError
from edgekd.tflite.view import Operator, Tensor, View

# Where the data, the weights and the bias stand among an operator's inputs.
_DATA = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 2}
_WEIGHTS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
_ELEMENTWISE = ("ADD", "SUB", "MUL", "DIV", "PRELU")


def macs(view: View) -> int:
    """Multiply-accumulates of one inference: those of each operator, see :func:`operator_macs`."""
    return sum(operator_macs(view, operator) for operator in view.operators)


def operator_macs(view: View, operator: Operator) -> int:
    """Multiply-accumulates of one operator.

    Counted: convolution (``out * kh * kw * in_channels / groups``), depthwise (``out * kh * kw``), fully connected
    (``out * in``), transposed convolution (``in_pixels * weights``), batched matrix product (``out * inner``). Element
    by element operations are not, as in the published figures.
    """

    def tensor(position: int) -> Tensor:
        return view.tensors[operator.inputs[position]]

    out = view.tensors[operator.outputs[0]] if operator.outputs else None
    if out is None:
        return 0
    match operator.name:
        case "CONV_2D":  # weights (out, kh, kw, in / groups)
            _, height, width, channels = tensor(1).shape
            return out.size * height * width * channels
        case "DEPTHWISE_CONV_2D":  # weights (1, kh, kw, out)
            _, height, width, _ = tensor(1).shape
            return out.size * height * width
        case "FULLY_CONNECTED":  # weights (out, in)
            return out.size * tensor(1).shape[1]
        case "TRANSPOSE_CONV":  # inputs: output shape, weights (out, kh, kw, in), images
            return tensor(2).size // tensor(1).shape[3] * tensor(1).size
        case "BATCH_MATMUL":  # (rows, inner) or its transpose, times something that gives (rows, columns)
            return out.size * (tensor(0).shape[-1] * tensor(0).shape[-2] // out.shape[-2])
    return 0


def constant(view: View, index: int) -> Tensor | None:
    """The constant behind a tensor, seen through DEQUANTIZE and DENSIFY; None where the tensor is computed."""
    while index >= 0:
        if view.tensors[index].values is not None:
            return view.tensors[index]
        producer = view.producers.get(index)
        if producer is None or producer.name not in ("DEQUANTIZE", "DENSIFY"):
            return None
        index = producer.inputs[0]
    return None


def weights(view: View, operators: Iterable[Operator] | None = None) -> Iterator[tuple[Operator, Tensor]]:
    """Each convolution or fully connected operator with its constant weights; of all, or of those given."""
    for operator in view.operators if operators is None else operators:
        if operator.name in _WEIGHTS:
            tensor = constant(view, operator.inputs[_WEIGHTS[operator.name]])
            if tensor is not None:
                yield operator, tensor


def num_params(view: View) -> int:
    """Learned numbers in the file: weights, biases, and constant vectors of element-by-element operations.

    A batch normalization counts as what it was folded into. Each tensor counts once, a single number not at all (the
    scale and offset of the input).
    """
    found: dict[int, int] = {}
    for operator in view.operators:
        places: tuple[int | None, ...] = (_WEIGHTS.get(operator.name), _BIAS.get(operator.name))
        if operator.name in _ELEMENTWISE:
            places = (0, 1)
        for place in places:
            if place is None or place >= len(operator.inputs):
                continue
            tensor = constant(view, operator.inputs[place])
            if tensor is not None and (tensor.size > 1 or operator.name not in _ELEMENTWISE):
                found[id(tensor)] = tensor.size
    return sum(found.values())


def measured_sparsity(view: View, *, depthwise: bool = True) -> float:
    """Fraction of zeros among the weights of convolutions and fully connected layers, biases left out.

    A quantized weight is zero where it equals the zero point. Pruning leaves depthwise kernels alone; with
    ``depthwise=False`` they are left out here too.

    Raises:
        ModelError: weights of a type whose values cannot be read, or no weights at all.
    """
    size = non_zeros = 0
    counted = {id(tensor): tensor for step, tensor in weights(view) if depthwise or step.name != "DEPTHWISE_CONV_2D"}
    for tensor in counted.values():
        if tensor.values is None or tensor.values.dtype.name != tensor.dtype:
            raise ModelError(f'weights "{tensor.name}" are {tensor.dtype}, whose zeros cannot be counted')
        zero = tensor.zero_point[0] if len(tensor.zero_point) == 1 else 0
        size += tensor.size
        non_zeros += int(np.count_nonzero(tensor.values != zero))
    if not size:
        raise ModelError("the model has no convolution and no fully connected layer with weights of its own")
    return (size - non_zeros) / size


def dtype(view: View) -> str:
    """The kind of arithmetic, read off the tensors; ``mixed`` where it is none of these.

    ============  ================================  =======================================
    kind          weights                           what flows between the layers
    ============  ================================  =======================================
    ``fp32``      float32                           float32
    ``fp16``      float16                           float32
    ``dynamic``   int8 (small ones may be float32)  float32
    ``int8``      int8                              int8 but for a float head or tail
    ``int16x8``   int8                              int16 but for a float head or tail
    ============  ================================  =======================================
    """
    stored, flowing = set(), set()
    for operator, kernel in weights(view):
        stored.add(kernel.dtype)
        flowing |= {view.tensors[index].dtype for index in (operator.inputs[_DATA[operator.name]], operator.outputs[0])}
    if not stored:
        return "fp32" if {tensor.dtype for tensor in (*view.inputs, *view.outputs)} == {"float32"} else "mixed"
    if flowing == {"float32"}:
        if stored <= {"int8", "float32"} and "int8" in stored:
            return "dynamic"
        return {"float32": "fp32", "float16": "fp16"}.get("".join(stored), "mixed")
    if stored == {"int8"} and flowing in ({"int8"}, {"int16"}) and not float_islands(view):
        return "int8" if flowing == {"int8"} else "int16x8"
    return "mixed"


def float_islands(view: View) -> list[str]:
    """Names of the operators of an integer model that read or write floating point where they should not.

    Allowed are a QUANTIZE of the input, and at the end a DEQUANTIZE with or without a SOFTMAX or LOGISTIC after it.
    """
    allowed = {
        index
        for index in view.input_indices
        if all(operator.name == "QUANTIZE" for operator in view.operators if index in operator.inputs)
    }
    for output in view.output_indices:
        step = view.producers.get(output)
        if step is not None and step.name in ("SOFTMAX", "LOGISTIC"):
            allowed.add(output)
            output = step.inputs[0]
            step = view.producers.get(output)
        if step is not None and step.name == "DEQUANTIZE":
            allowed.add(output)
    return [
        operator.name
        for operator in view.operators
        if any(
            index >= 0 and index not in allowed and view.tensors[index].dtype.startswith("float")
            for index in (*operator.inputs, *operator.outputs)
        )
    ]
