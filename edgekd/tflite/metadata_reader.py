"""Read TensorFlow Lite Metadata, ours or a stranger's, by the field numbers of the public schema."""

from __future__ import annotations

from dataclasses import dataclass

from flatbuffers import number_types
from flatbuffers.table import Table

from edgekd.errors import ModelError
from edgekd.tflite.metadata import IDENTIFIER, METADATA_NAME, NORMALIZATION_OPTIONS, TENSOR_AXIS_LABELS
from edgekd.tflite.view import View


@dataclass(frozen=True)
class Metadata:
    """What :func:`read_metadata` finds; texts that are not there are empty.

    Attributes:
        name, description, version, author, licence, min_parser_version: of ``ModelMetadata``.
        input_name, output_name: of the first input and output tensor.
        mean, std: of the input's NormalizationOptions.
        input_range: smallest and largest value of the input's Stats.
        labels_file: name of the output's TENSOR_AXIS_LABELS file.
        labels: its lines.
    """

    name: str
    description: str
    version: str
    author: str
    licence: str
    min_parser_version: str
    input_name: str
    output_name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_range: tuple[float, ...]
    labels_file: str
    labels: tuple[str, ...]


def read_metadata(view: View) -> Metadata | None:
    """Read the metadata of a model, ours or a stranger's; None where there is none.

    Raises:
        ModelError: metadata that is not sound.
    """
    data = view.metadata.get(METADATA_NAME)
    if data is None:
        return None
    if data[4:8] != IDENTIFIER:
        raise ModelError(f"the metadata has identifier {data[4:8]!r}, not {IDENTIFIER!r}; write it again")
    try:
        return _read(data, view)
    except Exception as error:  # as in view.open_view
        raise ModelError(f"the metadata is damaged ({type(error).__name__}: {error}); write it again") from error


def _read(data: bytes, view: View) -> Metadata:
    root = _Reader(data, int.from_bytes(data[:4], "little"))
    subgraph = root.first(3)
    input_tensor, output_tensor = subgraph.first(2), subgraph.first(3)
    normalization = input_tensor.first(4)
    options = normalization.child(1) if normalization.byte(0) == NORMALIZATION_OPTIONS else _Reader(data, None)
    stats = input_tensor.child(5)
    files = [file for file in output_tensor.all(6) if file.byte(2) == TENSOR_AXIS_LABELS]
    labels_file = files[0].text(0) if files else ""
    return Metadata(
        name=root.text(0),
        description=root.text(1),
        version=root.text(2),
        author=root.text(4),
        licence=root.text(5),
        min_parser_version=root.text(7),
        input_name=input_tensor.text(0),
        output_name=output_tensor.text(0),
        mean=options.floats(0),
        std=options.floats(1),
        input_range=(*stats.floats(1), *stats.floats(0)),
        labels_file=labels_file,
        labels=tuple(view.associated_files.get(labels_file, b"").decode().splitlines()),
    )


class _Reader:
    """Fields of a table by number; a table that is not there reads as an empty one."""

    def __init__(self, data: bytes, position: int | None):
        self.data = data
        self.table = None if position is None else Table(data, position)

    def _field(self, number: int) -> int:
        return 0 if self.table is None else int(self.table.Offset(4 + 2 * number))

    def text(self, number: int) -> str:
        field = self._field(number)
        return self.table.String(field + self.table.Pos).decode() if self.table and field else ""

    def byte(self, number: int) -> int:
        field = self._field(number)
        return self.data[field + self.table.Pos] if self.table and field else 0

    def floats(self, number: int) -> tuple[float, ...]:
        field = self._field(number)
        if not self.table or not field:
            return ()
        return tuple(float(value) for value in self.table.GetVectorAsNumpy(number_types.Float32Flags, field))

    def child(self, number: int) -> _Reader:
        field = self._field(number)
        position = self.table.Indirect(field + self.table.Pos) if self.table and field else None
        return _Reader(self.data, position)

    def all(self, number: int) -> list[_Reader]:
        field = self._field(number)
        if not self.table or not field:
            return []
        start = self.table.Vector(field)
        return [
            _Reader(self.data, self.table.Indirect(start + 4 * index)) for index in range(self.table.VectorLen(field))
        ]

    def first(self, number: int) -> _Reader:
        return next(iter(self.all(number)), _Reader(self.data, None))
