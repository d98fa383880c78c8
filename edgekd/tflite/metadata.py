"""TensorFlow Lite Metadata: what a foreign client (MediaPipe Tasks, the older task library) needs to feed a classifier.

Written with plain ``flatbuffers``, by the field numbers of the public schema (``metadata_schema.fbs``, identifier
``M001``). The labels are a file in a zip archive appended to the model, as that format wants it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types

from edgekd._litert import schema
from edgekd.errors import ConversionError
from edgekd.tasks import SIGMOID, SOFTMAX
from edgekd.tflite import edit

METADATA_NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"
IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"
TENSOR_AXIS_LABELS = 2  # AssociatedFileType
_RGB = 1  # ColorSpaceType
_IMAGE_PROPERTIES = 2  # member of the union ContentProperties
_MEANINGS = {
    SOFTMAX: "Probability of each class; they sum to 1.",
    SIGMOID: "Probability of each label on its own; any number of them may be present.",
}
NORMALIZATION_OPTIONS = 1  # member of the union ProcessUnitOptions


def add_metadata(
    content: bytes,
    *,
    labels: Sequence[str],
    name: str,
    description: str,
    licence: str = "",
    version: str = "1",
    author: str = "edgekd",
    head: str = SOFTMAX,
) -> bytes:
    """Return the model with metadata and labels inside. Equal arguments give equal bytes.

    Args:
        content: a model with one image in and one vector of probabilities out.
        labels: a name for each class, in the order of the output.
        head: ``softmax`` or ``sigmoid``: whether the probabilities sum to 1.

    Raises:
        ConversionError: the number of labels is not that of the classes, a label has a line break or is empty, or the
            file has metadata already.
    """
    model = edit.unpack(content)
    graph = model.subgraphs[0]
    num_classes = int(graph.tensors[graph.outputs[0]].shape[-1])
    if len(labels) != num_classes:
        raise ConversionError(f"{len(labels)} labels for a model of {num_classes} classes")
    broken = [label for label in labels if not label.strip() or label.splitlines() != [label]]
    if broken:
        raise ConversionError(f"label {broken[0]!r} is not one line of text; rename the class")
    if any(entry.name == METADATA_NAME.encode() for entry in model.metadata or []):
        raise ConversionError("the model has metadata already")
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(_write(name, description, version, author, licence, head), np.uint8)
    entry = schema().MetadataT()
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return _append_file(edit.pack(model), LABELS_FILE, "\n".join(labels).encode())


def _append_file(content: bytes, name: str, member: bytes) -> bytes:
    """Append a zip archive of one stored file; its offsets count from the start of the model."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system = 3  # ZipInfo's default depends on the platform
        archive.writestr(entry, member)
    return file.getvalue()


@dataclass(frozen=True)
class _Offset:
    """Position of a child in the buffer, told apart from a plain number."""

    position: int


def _write(name: str, description: str, version: str, author: str, licence: str, head: str) -> bytes:
    """The flatbuffer ``ModelMetadata``; children come before their parents, as the format wants it."""
    builder = flatbuffers.Builder(1024)

    def table(*fields: tuple[int, Any]) -> int:
        """A table of ``(field number, value)``: offsets as :class:`_Offset`, other numbers as bytes."""
        builder.StartObject(max(number for number, _ in fields) + 1)
        for number, value in fields:
            if isinstance(value, _Offset):
                builder.PrependUOffsetTRelativeSlot(number, value.position, 0)
            else:
                builder.PrependUint8Slot(number, value, 0)
        return int(builder.EndObject())

    def text(value: str) -> _Offset:
        return _Offset(builder.CreateString(value))

    def floats(value: float) -> _Offset:
        return _Offset(builder.CreateNumpyVector(np.array([value], np.float32)))

    def tables(position: int) -> _Offset:
        builder.StartVector(number_types.UOffsetTFlags.bytewidth, 1, number_types.UOffsetTFlags.bytewidth)
        builder.PrependUOffsetTRelative(position)
        return _Offset(builder.EndVector())

    image = _Offset(table((0, _RGB)))
    content = _Offset(table((0, _IMAGE_PROPERTIES), (1, image)))
    normalization = _Offset(table((0, floats(0.0)), (1, floats(1.0))))
    process_unit = table((0, NORMALIZATION_OPTIONS), (1, normalization))
    input_stats = _Offset(table((0, floats(255.0)), (1, floats(0.0))))
    input_tensor = table(
        (0, text("image")),
        (1, text("RGB pixels, 0 to 255; normalisation is inside the model.")),
        (3, content),
        (4, tables(process_unit)),
        (5, input_stats),
    )
    labels_file = table((0, text(LABELS_FILE)), (1, text("Name of each class, a line each.")), (2, TENSOR_AXIS_LABELS))
    output_stats = _Offset(table((0, floats(1.0)), (1, floats(0.0))))
    output_tensor = table(
        (0, text("probability")),
        (1, text(_MEANINGS[head])),
        (5, output_stats),
        (6, tables(labels_file)),
    )
    subgraph = table((2, tables(input_tensor)), (3, tables(output_tensor)))
    root = table(
        (0, text(name)),
        (1, text(description)),
        (2, text(version)),
        (3, tables(subgraph)),
        (4, text(author)),
        (5, text(licence)),
        (7, text(_MIN_PARSER_VERSION)),
    )
    builder.Finish(root, file_identifier=IDENTIFIER)
    return bytes(builder.Output())
