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
_DEQUANTIZE_OF_INT8_VERSION = 2


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
        _append(model, "DEQUANTIZE", _DEQUANTIZE_OF_INT8_VERSION, schema().DequantizeOptionsT(), "dequantized_logits")
    elif logits.type != types.FLOAT32:
        raise ConversionError(
            f"logits of schema type {logits.type}: float32 (0) and int8 (9) can have a {head} behind them"
        )
    if head == SIGMOID:
        _append(model, "LOGISTIC", 1, None, name)
    else:
        options = schema().SoftmaxOptionsT()
        options.beta = 1.0
        _append(model, "SOFTMAX", 1, options, name)
    return pack(model)


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


def _append(model: Any, operator_name: str, version: int, options: Any, tensor_name: str) -> None:
    """Add one operator that reads the output tensor and writes a new float32 output of the same shape."""
    graph = model.subgraphs[0]
    previous = graph.outputs[0]
    code = schema().OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema().BuiltinOperator, operator_name)
    code.version = version
    model.operatorCodes.append(code)

    tensor = schema().TensorT()
    tensor.name = tensor_name
    tensor.type = schema().TensorType.FLOAT32
    tensor.shape = graph.tensors[previous].shape
    tensor.buffer = 0  # buffer 0 is empty in every file: the tensor is computed
    tensor.hasRank = graph.tensors[previous].hasRank
    graph.tensors.append(tensor)

    operator = schema().OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [previous], [len(graph.tensors) - 1]
    if options is not None:
        operator.builtinOptionsType = getattr(schema().BuiltinOptions, type(options).__name__.removesuffix("T"))
        operator.builtinOptions = options
    graph.operators.append(operator)
    graph.outputs = [len(graph.tensors) - 1]
