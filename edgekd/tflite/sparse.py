"""The sparse encoding of weights in a .tflite: the places and values of the non-zeros instead of every element."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._litert import schema
from edgekd.tflite import edit

# What an encoded tensor adds beside its numbers: a DENSIFY, the tensor that it writes, the tables of the dimensions.
_TABLE_BYTES = 256
# Strangers' files may claim any size; no weights of a network for a phone have so many elements.
_MAX_ELEMENTS = 1 << 28


def encode(content: bytes, operators: tuple[str, ...] = ("CONV_2D",)) -> tuple[bytes, int]:
    """Encode the INT8 weights of convolutions, where that takes fewer bytes; a DENSIFY brings them back at run time.

    Each row of the last axis (the input channels) becomes its non-zeros and their places, in the numbers of one or two
    bytes that suffice. Quantization is untouched, so that the results are the dense file's, bit for bit. The classifier
    stays dense: LiteRT's default interpreter refuses a FULLY_CONNECTED with such weights.

    Args:
        content: a .tflite without files appended to it.
        operators: whose weights, the second input, are encoded.

    Returns:
        The file, and how many tensors were encoded.
    """
    model = edit.unpack(content)
    graph = model.subgraphs[0]
    codes = {getattr(schema().BuiltinOperator, name) for name in operators}
    added = []
    for index, readers in _readers(graph).items():
        tensor = graph.tensors[index]
        is_kernel = all(place == 1 and edit.operator_code(model, reader) in codes for reader, place in readers)
        dense = _plain_int8(model, tensor) if is_kernel else None
        if dense is None:
            continue
        values, segments, places = compress(dense)
        if values.nbytes + segments.nbytes + places.nbytes + _TABLE_BYTES >= dense.nbytes:
            continue
        graph.tensors.append(_densified(tensor))
        tensor.sparsity = _parameters(tensor.shape, segments, places)
        model.buffers[tensor.buffer].data = values.view(np.uint8)
        target = len(graph.tensors) - 1
        for reader, place in readers:
            reader.inputs = [*reader.inputs[:place], target, *reader.inputs[place + 1 :]]
        added.append(_densify(index, target, len(model.operatorCodes)))
    if added:
        code = schema().OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema().BuiltinOperator.DENSIFY
        code.version = 1
        model.operatorCodes.append(code)
        graph.operators = [*added, *graph.operators]
    return edit.pack(model), len(added)


def compress(dense: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Compressed sparse rows of the last axis.

    Args:
        dense: shape ``(..., columns)``.

    Returns:
        The non-zeros in the order of memory; where each row's begin and the last one's end, shape ``(rows + 1,)``; the
        column of each.
    """
    rows = dense.reshape(-1, dense.shape[-1])
    row, column = np.nonzero(rows)
    segments = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))])
    return rows[row, column], _narrow(segments, len(row)), _narrow(column, rows.shape[1] - 1)


def decode(sparsity: Any, shape: tuple[int, ...], stored: NDArray[Any]) -> NDArray[Any]:
    """All elements, flat, of a tensor that is stored by its non-zeros.

    Follows ``SparsityParameters`` of the public schema: dimensions are visited in the traversal order, each dense or
    compressed; those from ``len(shape)`` on are the inner ones of blocks, the block map naming the outer.

    Args:
        sparsity: the object form of the schema.
        shape: of the tensor.
        stored: the non-zeros.

    Raises:
        ValueError: encoding that is not sound, or too large.
    """
    size = int(np.prod(shape, dtype=np.int64))
    if not 0 <= size <= _MAX_ELEMENTS:
        raise ValueError(f"a sparse tensor of {size} elements")
    order, block_map = list(sparsity.traversalOrder), _list(sparsity.blockMap)
    levels = list(sparsity.dimMetadata)
    if sorted(order) != list(range(len(levels))) or len(levels) != len(shape) + len(block_map):
        raise ValueError("a sparse tensor whose dimensions do not fit its shape")
    coordinates = np.zeros((len(levels), 1), np.int64)
    for axis, level in zip(order, levels, strict=True):
        counts, places = _visited(level, coordinates.shape[1])
        if counts.sum() > _MAX_ELEMENTS or len(places) != counts.sum():
            raise ValueError("a sparse tensor with more places than elements")
        coordinates = np.repeat(coordinates, counts, axis=1)
        coordinates[axis] = places
    outer = coordinates[: len(shape)]
    for inner, axis in enumerate(block_map, start=len(shape)):
        outer[axis] = outer[axis] * levels[order.index(inner)].denseSize + coordinates[inner]
    if outer.shape[1] != len(stored):
        raise ValueError(f"a sparse tensor with {len(stored)} values for {outer.shape[1]} places")
    dense = np.zeros(size, stored.dtype)
    dense[np.ravel_multi_index(tuple(outer), shape)] = stored
    return dense


def _visited(level: Any, parents: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """How many places one dimension has below each of its parents, and which."""
    if level.format == schema().DimensionType.DENSE:
        side = int(level.denseSize)
        if not 0 <= side * parents <= _MAX_ELEMENTS:
            raise ValueError("a sparse tensor with more places than elements")
        return np.full(parents, side), np.tile(np.arange(side), parents)
    segments, places = np.asarray(level.arraySegments.values), np.asarray(level.arrayIndices.values)
    counts = np.diff(segments.astype(np.int64))
    if len(counts) != parents or np.any(counts < 0):
        raise ValueError("a sparse tensor whose rows do not fit its dimensions")
    return counts, places.astype(np.int64)


def _readers(graph: Any) -> dict[int, list[tuple[Any, int]]]:
    """Which operators read a tensor, and at which place of their inputs; by tensor index."""
    found: dict[int, list[tuple[Any, int]]] = {}
    for operator in graph.operators:
        for place, index in enumerate(operator.inputs):
            if index >= 0:
                found.setdefault(int(index), []).append((operator, place))
    return found


def _plain_int8(model: Any, tensor: Any) -> NDArray[np.int8] | None:
    """The values of a constant of its own, not sparse yet, in which a stored zero is a weight of zero; else None."""
    owners = [other for other in model.subgraphs[0].tensors if other.buffer == tensor.buffer]
    zero_points = [] if tensor.quantization is None else _list(tensor.quantization.zeroPoint)
    data = model.buffers[tensor.buffer].data
    is_plain = tensor.type == schema().TensorType.INT8 and tensor.sparsity is None and not any(zero_points)
    if not is_plain or data is None or len(owners) > 1:
        return None
    return np.asarray(data, np.uint8).view(np.int8).reshape(tensor.shape)


def _densified(tensor: Any) -> Any:
    """The tensor that a DENSIFY writes: as the one before it was encoded, and computed."""
    made = schema().TensorT()
    made.name, made.type, made.shape = "densified", tensor.type, tensor.shape
    made.quantization, made.hasRank = tensor.quantization, tensor.hasRank
    made.buffer = 0
    return made


def _densify(source: int, target: int, opcode: int) -> Any:
    made = schema().OperatorT()
    made.opcodeIndex = opcode
    made.inputs, made.outputs = [source], [target]
    made.builtinOptionsType = schema().BuiltinOptions.DensifyOptions
    made.builtinOptions = schema().DensifyOptionsT()
    return made


def _parameters(shape: Any, segments: NDArray[Any], places: NDArray[Any]) -> Any:
    made = schema().SparsityParametersT()
    made.traversalOrder = list(range(len(shape)))
    made.dimMetadata = []
    for side in shape:
        level = schema().DimensionMetadataT()
        level.format, level.denseSize = schema().DimensionType.DENSE, int(side)
        made.dimMetadata.append(level)
    last = made.dimMetadata[-1]
    last.format, last.denseSize = schema().DimensionType.SPARSE_CSR, 0
    last.arraySegmentsType, last.arraySegments = _vector(segments)
    last.arrayIndicesType, last.arrayIndices = _vector(places)
    return made


def _narrow(values: NDArray[Any], largest: int) -> NDArray[Any]:
    """In the smallest type that the schema has for whole numbers of dimensions."""
    kinds = ((0xFF, np.uint8), (0xFFFF, np.uint16), (0x7FFFFFFF, np.int32))
    return values.astype(next(kind for limit, kind in kinds if largest <= limit))


def _vector(values: NDArray[Any]) -> tuple[int, Any]:
    name = {"uint8": "Uint8Vector", "uint16": "Uint16Vector", "int32": "Int32Vector"}[values.dtype.name]
    made = getattr(schema(), f"{name}T")()
    made.values = values
    return getattr(schema().SparseIndexVector, name), made


def _list(vector: Any) -> list[int]:
    return [] if vector is None else [int(value) for value in vector]
