"""Change a .tflite through the object form of its schema, and write it back with its buffers aligned."""

from __future__ import annotations

import functools
from typing import Any

import flatbuffers
import numpy as np

from edgekd._litert import schema
from edgekd.errors import ConversionError
from edgekd.tasks import SIGMOID

# ``force_align: 16`` of Buffer.data in the public schema, which the generated Python writer does not know of.
_ALIGNMENT = 16
_BRIDGE_VERSIONS = {"QUANTIZE": 1, "DEQUANTIZE": 2}  # the first that know int8


def unpack(content: bytes) -> Any:
    """The file as a tree of mutable objects (``ModelT``)."""
    return schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))


def pack(model: Any) -> bytes:
    """Write the tree; every constant starts at a multiple of 16 bytes. Equal trees give equal bytes.

    Scales and zero points that two tensors share are written once.
    """
    size = sum(0 if buffer.data is None else len(buffer.data) for buffer in model.buffers)
    builder = flatbuffers.Builder(size + (1 << 16))
    for buffer in model.buffers:
        buffer.Pack = functools.partial(_pack_buffer, buffer)
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        if tensor.quantization is not None:
            tensor.quantization.Pack = functools.cache(tensor.quantization.Pack)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _pack_buffer(buffer: Any, builder: Any) -> int:
    data = None if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()
    if data:
        builder.StartVector(1, len(data), _ALIGNMENT)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        vector = builder.EndVector()
    schema().BufferStart(builder)
    if data:
        schema().BufferAddData(builder, vector)
    offset: int = schema().BufferEnd(builder)
    return offset


def name_output(content: bytes, name: str) -> bytes:
    """Give the only output tensor a name."""
    model = unpack(content)
    _output(model).name = name
    return pack(model)


def append_head(content: bytes, head: str, name: str) -> bytes:
    """Put a float32 SOFTMAX or LOGISTIC behind the only output; behind an int8 output, a DEQUANTIZE before it.

    The exponential of INT8 logits in INT8 leaves about 140 distinct probabilities; in float it leaves 256 levels.

    Args:
        content: a model that gives logits, float32 or int8.
        head: ``softmax`` or ``sigmoid``.
        name: of the new output tensor.

    Raises:
        ConversionError: the model ends in a head already, or gives another type.
    """
    model = unpack(content)
    graph, types, operators = model.subgraphs[0], schema().TensorType, schema().BuiltinOperator
    logits = _output(model)
    ends_in = {operators.SOFTMAX: "softmax", operators.LOGISTIC: "sigmoid"}.get(
        operator_code(model, graph.operators[-1])
    )
    if ends_in:
        raise ConversionError(f"the model ends in a {ends_in} already; convert a model that gives logits")
    if logits.type == types.INT8:
        _append(model, "DEQUANTIZE", schema().DequantizeOptionsT(), "dequantized_logits")
    elif logits.type != types.FLOAT32:
        raise ConversionError(
            f"logits of schema type {logits.type}: float32 (0) and int8 (9) can have a {head} behind them"
        )
    if head == SIGMOID:
        _append(model, "LOGISTIC", None, name)
    else:
        options = schema().SoftmaxOptionsT()
        options.beta = 1.0
        _append(model, "SOFTMAX", options, name)
    return pack(model)


def cut_float_tail(content: bytes) -> bytes:
    """Take off the DEQUANTIZE at the end, and a SOFTMAX or LOGISTIC in floats behind it; integers come out then.

    A model that does not end so comes back as it was, but for what :func:`pack` lays out anew.
    """
    model = unpack(content)
    _output(model)
    graph, operators = model.subgraphs[0], schema().BuiltinOperator
    for codes in ((operators.SOFTMAX, operators.LOGISTIC), (operators.DEQUANTIZE,)):
        last = graph.operators[-1]
        if _output(model).type == schema().TensorType.FLOAT32 and operator_code(model, last) in codes:
            graph.operators.pop()
            graph.outputs = [int(last.inputs[0])]
    drop_unused(model)
    return pack(model)


def drop_unused(model: Any) -> None:
    """Take out the tensors that no operator touches, and the buffers that nothing refers to; the rest is renumbered."""
    graph = model.subgraphs[0]
    touched = {*graph.inputs, *graph.outputs, -1}
    touched |= {index for operator in graph.operators for index in (*operator.inputs, *operator.outputs)}
    kept = [index for index in range(len(graph.tensors)) if index in touched]
    place = {-1: -1, **{index: new for new, index in enumerate(kept)}}
    graph.tensors = [graph.tensors[index] for index in kept]
    graph.inputs, graph.outputs = ([place[index] for index in indices] for indices in (graph.inputs, graph.outputs))
    for operator in graph.operators:
        operator.inputs = [place[index] for index in operator.inputs]
        operator.outputs = [place[index] for index in operator.outputs]
    users = [*graph.tensors, *(model.metadata or [])]
    # Buffer 0 is the empty one in every file.
    buffers = sorted({0, *(user.buffer for user in users)})
    moved = {index: new for new, index in enumerate(buffers)}
    model.buffers = [model.buffers[index] for index in buffers]
    for user in users:
        user.buffer = moved[user.buffer]
    codes = sorted({operator.opcodeIndex for operator in graph.operators})
    model.operatorCodes = [model.operatorCodes[index] for index in codes]
    for operator in graph.operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)


def _output(model: Any) -> Any:
    graph = model.subgraphs[0]
    if len(model.subgraphs) != 1 or len(graph.outputs) != 1 or model.signatureDefs:
        raise ConversionError(
            f"the converter gave {len(model.subgraphs)} subgraphs, {len(graph.outputs)} outputs and "
            f"{len(model.signatureDefs or [])} signatures; one graph with one output and no signature is wanted"
        )
    return graph.tensors[graph.outputs[0]]


def operator_code(model: Any, operator: Any) -> int:
    """The ``BuiltinOperator`` of an operator; codes below 128 stand in both fields, or in the old one alone."""
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def opcode_index(model: Any, name: str) -> int:
    """Number of an operator in the model's list, to which it is added where it is not there."""
    wanted, version = getattr(schema().BuiltinOperator, name), _BRIDGE_VERSIONS.get(name, 1)
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == wanted and code.version == version:
            return index
    code = schema().OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = wanted
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def operator_of(model: Any, name: str, options: Any, source: int, target: int) -> Any:
    """An operator from one tensor to another; it is not part of a graph yet."""
    operator = schema().OperatorT()
    operator.opcodeIndex = opcode_index(model, name)
    operator.inputs, operator.outputs = [source], [target]
    if options is not None:
        operator.builtinOptionsType = getattr(schema().BuiltinOptions, type(options).__name__.removesuffix("T"))
        operator.builtinOptions = options
    return operator


def bridge(model: Any, name: str, source: int, target: int) -> Any:
    """A QUANTIZE from float32 to int8, or the DEQUANTIZE back."""
    options = {"QUANTIZE": schema().QuantizeOptionsT, "DEQUANTIZE": schema().DequantizeOptionsT}[name]
    return operator_of(model, name, options(), source, target)


def _append(model: Any, operator_name: str, options: Any, tensor_name: str) -> None:
    """Add one operator that reads the output tensor and writes a new float32 output of the same shape."""
    graph = model.subgraphs[0]
    previous = graph.outputs[0]
    tensor = schema().TensorT()
    tensor.name = tensor_name
    tensor.type = schema().TensorType.FLOAT32
    tensor.shape = graph.tensors[previous].shape
    tensor.buffer = 0  # buffer 0 is empty in every file: the tensor is computed
    tensor.hasRank = graph.tensors[previous].hasRank
    graph.tensors.append(tensor)
    graph.operators.append(operator_of(model, operator_name, options, previous, len(graph.tensors) - 1))
    graph.outputs = [len(graph.tensors) - 1]
