"""TFRecord files of ``tf.train.Example``: an encoded image and its label in every record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.config.data import Data
from edgekd.data import columns
from edgekd.data.rows import Rows
from edgekd.data.source import Item, Listing
from edgekd.data.spelling import split_of
from edgekd.errors import DataError, did_you_mean
from edgekd.preprocessing import Picture, open_image, shorter_side

SUFFIXES = (".tfrecord", ".tfrecords", ".tfrec", ".record")
IMAGE_FEATURES = ("image/encoded", "image", "image_raw", "encoded", "jpeg", "png")
# Before each record: its length, and a checksum of that; behind it, its checksum.
HEAD, TAIL = 12, 4
MAX_VALUES, MAX_TEXT = 100, 1000


@dataclass(frozen=True)
class RecordRef:
    """An encoded image in a record: a :class:`~edgekd.data.source.PictureRef`.

    Attributes:
        path: of the file.
        name: relative to the data folder, with the record's number.
        offset, length: where the record lies in the file, in bytes.
        feature: key of the image.
    """

    path: Path
    name: str
    offset: int
    length: int
    feature: str

    def read(self) -> Picture:
        """Decode it. Raises DataError."""
        return open_image(self._image(), self.name)

    def shorter_side(self) -> int:
        """Shorter side in pixels, from the header. Raises DataError."""
        return shorter_side(self._image(), self.name)

    def digest(self) -> str:
        """SHA-256 of the record."""
        return hashlib.sha256(self._record()).hexdigest()

    def _record(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)

    def _image(self) -> bytes:
        try:
            values = _features(self._record())[self.feature]
            return bytes(values[0])
        except (OSError, KeyError, IndexError, TypeError) as error:
            raise DataError(f'"{self.name}" has no image in "{self.feature}" ({type(error).__name__})') from None


def is_tfrecord(path: Path) -> bool:
    """Whether a file is TFRecord by its name; shards may be numbered behind it: ``train.tfrecord-00000-of-00010``."""
    return any(end in SUFFIXES for end in (path.suffix.lower(), f".{_stem(path).lower()}"))


def _stem(path: Path) -> str:
    """``tfrecord`` of ``train.tfrecord-00000-of-00010``."""
    return path.name.rpartition(".")[2].partition("-")[0]


def list_records(files: Sequence[Path], root: Path, config: Data) -> Listing:
    """List the records of some files; their features are read as the columns of a table.

    Splits come from ``data.split_column``, or from the names of the files (``train-00000-of-00010.tfrecord``).

    Raises:
        DataError: a broken file, features that are not there or have several values.
    """
    refs, cells = [], []
    for path in files:
        name = path.relative_to(root).as_posix()
        for number, (offset, record) in enumerate(_records(path, name)):
            refs.append((path, f"{name}[{number}]", offset, len(record)))
            cells.append(_cells(_features(record, f"{name}[{number}]"), config.label_separator))
    where = f'"{files[0].relative_to(root).as_posix()}"' if len(files) == 1 else f'"{root}"'
    if not refs:
        raise DataError(f"{where} has no records")
    image = _image_feature(cells[0], config, where)
    names = sorted({name for row in cells for name in row} - {image})
    rows = Rows(where, tuple(names), tuple(tuple(row.get(name, "") for name in names) for row in cells))
    notes = [f'image from feature "{image}"']
    reading = columns.interpret(rows, config, [])
    by_name = {path: _split_of_file(path, root) for path in files}
    named = all(by_name.values()) and not any(fact.split for fact in reading.facts)
    items = [
        Item(
            RecordRef(*ref, image),
            fact.labels,
            by_name[ref[0]] if named else fact.split,
            fact.group,
            fact.columns,
        )
        for ref, fact in zip(refs, reading.facts, strict=True)
    ]
    return Listing(root.resolve().name, where, items, reading.several, notes=(*notes, *reading.notes))


def _split_of_file(path: Path, root: Path) -> str:
    """By its name, ``train-00000-of-00010.tfrecord``, or else by its folder below the root."""
    beginning = re.split(r"[-._]", path.name)[0]
    return split_of(beginning) or (split_of(path.parent.name) if path.parent != root else "")


def _records(path: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """Every record and where it begins; TensorFlow checks both checksums."""
    from edgekd._keras import tf

    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            raise DataError(f'"{name}" is compressed; gunzip it first, so that single records can be read')
    count, offset = 0, HEAD
    try:
        # Not tf.data, which would start TensorFlow before a build has chosen its threads.
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            yield offset, record
            count += 1
            offset += len(record) + TAIL + HEAD
    except tf.errors.OpError as error:
        raise DataError(f'"{name}" is broken after {count} records ({type(error).__name__})') from None


def _features(record: bytes, name: str = "") -> Mapping[str, Sequence[Any]]:
    """The features of an Example: lists of bytes, floats or whole numbers. Nothing in it is executed."""
    from google.protobuf.message import DecodeError

    from edgekd._keras import tf

    try:
        example = tf.train.Example.FromString(record)
    except DecodeError:
        raise DataError(f'"{name}" is no tf.train.Example') from None
    lists = {
        key: getattr(value, value.WhichOneof("kind") or "", None) for key, value in example.features.feature.items()
    }
    return {key: list(values.value) if values is not None else [] for key, values in lists.items()}


def _image_feature(features: Mapping[str, str], config: Data, where: str) -> str:
    chosen = config.path_column or next((name for name in IMAGE_FEATURES if name in features), "")
    if not chosen:
        raise DataError(
            f"{where}: which feature is the image? The records have {', '.join(sorted(features))}; name one with "
            "--set data.path_column=..."
        )
    if chosen not in features:
        raise DataError(
            f'data.path_column = "{chosen}": the records have no such feature{did_you_mean(chosen, features)}'
        )
    return chosen


def _cells(features: Mapping[str, Sequence[Any]], separator: str) -> dict[str, str]:
    """Features as the cells of a table, several values joined; what is too long for a label is left empty."""
    return {
        name: separator.join(map(_text, values)) if len(values) <= MAX_VALUES else ""
        for name, values in features.items()
    }


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip() if len(value) <= MAX_TEXT else ""
    return str(int(value) if float(value).is_integer() else value)
