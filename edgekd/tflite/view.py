"""A read-only view of a .tflite file: what goes in, what comes out, and what lies between."""

from __future__ import annotations

import functools
import io
import os
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._litert import schema
from edgekd.errors import ModelError
from edgekd.tflite import sparse

# Label files have kilobytes; a stranger's archive may unpack to anything.
_MAX_ASSOCIATED_BYTES = 1 << 26


@dataclass(frozen=True)
class Tensor:
    """One tensor of the graph; ``real = scale * (q - zero_point)``.

    Attributes:
        name: as the converter left it.
        shape: with the batch; -1 where it is dynamic.
        dtype: ``float32``, ``int8`` ... the schema's names in lower case.
        scale: empty (not quantized), one value (per tensor) or one a channel.
        zero_point: as many as ``scale``.
        values: of a constant, flat; of a sparse one all of them, zeros included; else None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    values: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        """Number of elements, a dynamic side counted as one."""
        return int(np.prod([max(side, 1) for side in self.shape], dtype=np.int64))


@dataclass(frozen=True)
class Operator:
    """One step of the graph; tensors by index, -1 where an optional one is missing."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """The first subgraph of a .tflite, and what is packed beside it.

    Attributes:
        tensors: all tensors.
        operators: in the order of execution.
        input_indices, output_indices: into ``tensors``.
        num_subgraphs: 1 for anything without control flow.
        metadata: buffers by name, as in ``Model.metadata`` of the schema.
        associated_files: members of the zip archive appended to the file, by name.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    input_indices: tuple[int, ...]
    output_indices: tuple[int, ...]
    num_subgraphs: int
    metadata: Mapping[str, bytes]
    associated_files: Mapping[str, bytes]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Input tensors."""
        return tuple(self.tensors[index] for index in self.input_indices)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Output tensors."""
        return tuple(self.tensors[index] for index in self.output_indices)

    @property
    def operator_counts(self) -> dict[str, int]:
        """How often each operator occurs, by name."""
        return dict(sorted(Counter(operator.name for operator in self.operators).items()))

    @functools.cached_property
    def producers(self) -> Mapping[int, Operator]:
        """The operator that writes a tensor, by tensor index."""
        return {index: operator for operator in self.operators for index in operator.outputs}


def open_view(model: str | os.PathLike[str] | bytes) -> View:
    """Read a .tflite; nothing of it is run.

    Args:
        model: path or bytes.

    Raises:
        ModelError: no such file, or not a sound TensorFlow Lite flatbuffer.
    """
    title = "these bytes" if isinstance(model, bytes) else f'"{Path(model).name}"'
    try:
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
    except OSError as error:
        raise ModelError(f"model {title} cannot be read: {error.strerror}") from None
    if content[4:8] != b"TFL3":
        raise ModelError(f"model {title}: not a TensorFlow Lite file; give a .tflite")
    try:
        return _view(content)
    except Exception as error:  # strangers' bytes lead the generated reader into errors of every kind
        raise ModelError(
            f"model {title} is damaged ({type(error).__name__}: {error}); fetch or build it again"
        ) from error


def _view(content: bytes) -> View:
    model = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    tensors = tuple(_tensor(tensor, model.buffers) for tensor in graph.tensors)
    codes = [_code_name(code) for code in model.operatorCodes]
    operators = tuple(
        Operator(codes[operator.opcodeIndex], _indices(operator.inputs), _indices(operator.outputs))
        for operator in _list(graph.operators)
    )
    view = View(
        tensors=tensors,
        operators=operators,
        input_indices=_indices(graph.inputs),
        output_indices=_indices(graph.outputs),
        num_subgraphs=len(model.subgraphs),
        metadata={
            entry.name.decode(): _bytes(model.buffers[entry.buffer].data)
            for entry in _list(model.metadata)
            if entry.name
        },
        associated_files=_associated_files(content),
    )
    named = [view.input_indices, view.output_indices, *(step.inputs + step.outputs for step in operators)]
    if any(not -1 <= index < len(tensors) for indices in named for index in indices):
        raise IndexError("an operator names a tensor that is not there")
    return view


def _tensor(tensor: Any, buffers: list[Any]) -> Tensor:
    dtype = _type_names()[tensor.type]
    quantization = tensor.quantization
    data = buffers[tensor.buffer].data
    values = None if data is None or not len(data) else _values(data, dtype)
    if values is not None and tensor.sparsity is not None:
        values = sparse.decode(tensor.sparsity, _indices(tensor.shape), values)
    return Tensor(
        name=(tensor.name or b"").decode(),
        shape=_indices(tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape),
        dtype=dtype,
        scale=() if quantization is None else tuple(float(value) for value in _list(quantization.scale)),
        zero_point=() if quantization is None else _indices(quantization.zeroPoint),
        values=values,
    )


def _values(data: Any, dtype: str) -> NDArray[Any]:
    """Constants as numbers; of a type that numpy does not have (int4, string), the raw bytes."""
    raw = np.asarray(data, np.uint8)
    try:
        return raw.view(np.dtype(dtype))
    except TypeError:
        return raw


def _associated_files(content: bytes) -> dict[str, bytes]:
    file = io.BytesIO(content)
    if not zipfile.is_zipfile(file):
        return {}
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MAX_ASSOCIATED_BYTES:
            raise ValueError(f"associated files of more than {_MAX_ASSOCIATED_BYTES} bytes")
        return {name: archive.read(name) for name in archive.namelist()}


@functools.cache
def _type_names() -> dict[int, str]:
    return {value: name.lower() for name, value in vars(schema().TensorType).items() if isinstance(value, int)}


@functools.cache
def _operator_names() -> dict[int, str]:
    return {value: name for name, value in vars(schema().BuiltinOperator).items() if isinstance(value, int)}


def _code_name(code: Any) -> str:
    # Codes below 128 stand in both fields in new files, and in the old field alone in old ones.
    name = _operator_names()[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return (code.customCode or b"").decode() if name == "CUSTOM" else name


def _list(vector: Any) -> list[Any]:
    return [] if vector is None else list(vector)


def _indices(vector: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in _list(vector))


def _bytes(data: Any) -> bytes:
    return b"" if data is None else bytes(np.asarray(data, np.uint8))
