"""Metadata in the shipped file: what a foreign client finds there, read in three ways."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_models import smooth_images, tiny_file

from edgekd import _litert, tflite
from edgekd.errors import ConversionError, ModelError
from edgekd.tflite import edit

LABELS = ["normal", "pneumonia, bacterial", "Lungenentzündung (viral)"]


ARGUMENTS: dict[str, Any] = {
    "labels": LABELS,
    "name": "tiny lungs",
    "description": "Three kinds of cloud.",
    "licence": "CC BY 4.0",
    "version": "7",
    "author": "ward 3",
}


@functools.cache
def written(variant: str = "int8") -> bytes:
    return tflite.add_metadata(tiny_file(variant), **ARGUMENTS)


class Table:
    """A flatbuffer table, read with ``struct`` alone from the description of the format.

    A table begins with the signed distance back to its vtable; the vtable holds two sizes, then for each field the
    distance from the table, 0 where it is not set.
    """

    def __init__(self, data: bytes, position: int):
        self.data, self.position = data, position
        self.vtable = position - struct.unpack_from("<i", data, position)[0]

    def _place(self, number: int) -> int:
        size = struct.unpack_from("<H", self.data, self.vtable)[0]
        slot = 4 + 2 * number
        offset = struct.unpack_from("<H", self.data, self.vtable + slot)[0] if slot < size else 0
        assert offset, f"field {number} is not set"
        return self.position + int(offset)

    def _target(self, place: int) -> int:
        return place + int(struct.unpack_from("<I", self.data, place)[0])

    def byte(self, number: int) -> int:
        return self.data[self._place(number)]

    def _vector(self, number: int) -> tuple[int, int]:
        start = self._target(self._place(number))
        return start + 4, struct.unpack_from("<I", self.data, start)[0]

    def text(self, number: int) -> str:
        start, length = self._vector(number)
        assert self.data[start + length] == 0, "strings end in a zero byte"
        return self.data[start : start + length].decode()

    def floats(self, number: int) -> list[float]:
        start, length = self._vector(number)
        assert start % 4 == 0, "floats are aligned"
        return list(struct.unpack_from(f"<{length}f", self.data, start))

    def child(self, number: int) -> Table:
        return Table(self.data, self._target(self._place(number)))

    def only(self, number: int) -> Table:
        start, length = self._vector(number)
        assert length == 1
        return Table(self.data, self._target(start))


def buffer_of(content: bytes) -> bytes:
    return tflite.open_view(content).metadata[tflite.METADATA_NAME]


def test_fields_by_the_numbers_of_the_public_schema() -> None:
    """metadata_schema.fbs, root ModelMetadata, read without our reader."""
    data = buffer_of(written())
    assert data[4:8] == b"M001"
    root = Table(data, struct.unpack_from("<I", data)[0])
    assert [root.text(number) for number in (0, 1, 2, 4, 5)] == [
        "tiny lungs",
        "Three kinds of cloud.",
        "7",
        "ward 3",
        "CC BY 4.0",
    ]
    assert root.text(7) == "1.0.0"  # min_parser_version
    subgraph = root.only(3)

    image = subgraph.only(2)  # input_tensor_metadata
    assert image.text(0) == "image"
    assert image.child(3).byte(0) == 2  # Content.content_properties: ImageProperties
    assert image.child(3).child(1).byte(0) == 1  # ImageProperties.color_space: RGB
    assert image.only(4).byte(0) == 1  # ProcessUnit.options: NormalizationOptions
    assert (image.only(4).child(1).floats(0), image.only(4).child(1).floats(1)) == ([0.0], [1.0])  # mean, std
    assert (image.child(5).floats(0), image.child(5).floats(1)) == ([255.0], [0.0])  # Stats: max, min

    probability = subgraph.only(3)  # output_tensor_metadata
    assert probability.text(0) == "probability"
    assert (probability.child(5).floats(0), probability.child(5).floats(1)) == ([1.0], [0.0])
    assert probability.only(6).text(0) == "labels.txt"
    assert probability.only(6).byte(2) == 2  # AssociatedFile.type: TENSOR_AXIS_LABELS


@pytest.mark.parametrize(("head", "meaning"), [("softmax", "they sum to 1"), ("sigmoid", "each label on its own; any")])
def test_the_output_says_whether_its_probabilities_sum_to_one(head: str, meaning: str) -> None:
    content = tflite.add_metadata(tiny_file("int8"), labels=LABELS, name="n", description="d", head=head)
    data = buffer_of(content)
    root = Table(data, struct.unpack_from("<I", data)[0])
    assert meaning in root.only(3).only(3).text(1)


def test_reader_gives_back_what_was_written() -> None:
    found = tflite.read_metadata(tflite.open_view(written()))
    assert found == tflite.Metadata(
        name="tiny lungs",
        description="Three kinds of cloud.",
        version="7",
        author="ward 3",
        licence="CC BY 4.0",
        min_parser_version="1.0.0",
        input_name="image",
        output_name="probability",
        mean=(0.0,),
        std=(1.0,),
        input_range=(0.0, 255.0),
        labels_file="labels.txt",
        labels=tuple(LABELS),
    )


def test_defaults_name_the_tool_and_no_licence() -> None:
    content = tflite.add_metadata(tiny_file("int8"), labels=LABELS, name="n", description="")
    found = tflite.read_metadata(tflite.open_view(content))
    assert found is not None
    assert (found.author, found.version, found.licence, found.description) == ("edgekd", "1", "", "")


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant.tflite", "tf2_mobilenet_v2_1.0_224_ptq.tflite"])
def test_metadata_of_a_stranger(name: str, shared_data: Path) -> None:
    """Models published with metadata that the original library wrote."""
    folder = shared_data / "thirdparty_models"
    view = tflite.open_view(folder / name)
    found = tflite.read_metadata(view)
    assert found is not None
    assert (found.name, found.input_name, found.output_name) == ("ImageClassifier", "image", "probability")
    assert (found.mean, found.std, found.input_range) == ((127.5,), (127.5,), (0.0, 255.0))
    assert len(found.labels) == view.outputs[0].shape[-1] == 1001
    names = (folder / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    assert set(names) - set(found.labels) <= {"background"}


def test_model_without_metadata_has_none() -> None:
    assert tflite.read_metadata(tflite.open_view(tiny_file("int8"))) is None


@pytest.mark.parametrize("variant", ["fp32", "int8"])
@pytest.mark.parametrize("kernel", _litert.KERNELS)
def test_model_still_gives_the_same(variant: str, kernel: str) -> None:
    images = smooth_images(20, seed=5)
    expected = _litert.predict_probs(tiny_file(variant), images, kernel)
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(_litert.predict_probs(written(variant), images, kernel), expected)


def test_graph_is_left_as_it_was() -> None:
    before, after = tflite.open_view(tiny_file("int8")), tflite.open_view(written())
    assert after.operators == before.operators
    assert (after.input_indices, after.output_indices) == (before.input_indices, before.output_indices)
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert dataclasses.replace(new, values=None) == dataclasses.replace(old, values=None)
        np.testing.assert_array_equal(new.values, old.values)
    assert set(after.metadata) == {*before.metadata, tflite.METADATA_NAME}
    assert {name: after.metadata[name] for name in before.metadata} == dict(before.metadata)


def test_packing_what_was_unpacked_changes_nothing_twice() -> None:
    once = edit.pack(edit.unpack(tiny_file("int8")))
    assert edit.pack(edit.unpack(once)) == once


def test_written_twice_gives_the_same_bytes() -> None:
    assert written.__wrapped__("int8") == written("int8")


def test_other_processes_and_days_give_the_same_bytes() -> None:
    """Neither the clock nor the order of hashes gets in."""
    code = (
        "import json, sys, time; time.time = lambda: 1e9; time.localtime = lambda *_: time.gmtime(1e9)\n"
        "from edgekd import tflite\n"
        "content = tflite.add_metadata(sys.stdin.buffer.read(), **json.loads(sys.argv[1]))\n"
        "sys.stdout.buffer.write(content)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "11"}
    command = [sys.executable, "-c", code, json.dumps(ARGUMENTS)]
    done = subprocess.run(command, env=environment, input=tiny_file("int8"), capture_output=True, check=True)
    assert done.stdout == written()


def test_zip_holds_the_labels() -> None:
    content = written()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().split("\n") == LABELS
        entry = archive.getinfo("labels.txt")
    assert entry.compress_type == zipfile.ZIP_STORED
    assert entry.date_time == (1980, 1, 1, 0, 0, 0)
    # The offset counts from the start of the model, which is where clients look.
    assert content[entry.header_offset : entry.header_offset + 4] == b"PK\x03\x04"
    assert tflite.open_view(content).associated_files == {"labels.txt": "\n".join(LABELS).encode()}


def test_model_alone_lies_before_the_zip() -> None:
    """A reader that knows nothing of the archive sees a model; one that cuts it off too."""
    content = written()
    model = content[: content.index(b"PK\x03\x04")]
    images = smooth_images(4)
    np.testing.assert_array_equal(_litert.predict_probs(model, images), _litert.predict_probs(content, images))


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c", "d"], []])
def test_wrong_number_of_labels(labels: list[str]) -> None:
    with pytest.raises(ConversionError, match=f"^{len(labels)} labels for a model of 3 classes$"):
        tflite.add_metadata(tiny_file("int8"), labels=labels, name="n", description="d")


@pytest.mark.parametrize("label", ["", "  ", "two\nlines", "\n", "ends\n", "a\rb", "a\u2028b"])
def test_label_that_is_not_one_line(label: str) -> None:
    with pytest.raises(ConversionError, match="is not one line of text; rename the class") as caught:
        tflite.add_metadata(tiny_file("int8"), labels=["a", label, "c"], name="n", description="d")
    assert repr(label) in str(caught.value)


def test_metadata_is_written_once() -> None:
    with pytest.raises(ConversionError, match="the model has metadata already"):
        tflite.add_metadata(written(), labels=LABELS, name="n", description="d")


def view_with(data: bytes) -> tflite.View:
    return dataclasses.replace(tflite.open_view(written()), metadata={tflite.METADATA_NAME: data})


def test_metadata_of_another_format_is_refused() -> None:
    data = buffer_of(written())
    with pytest.raises(ModelError, match="identifier b'M002', not b'M001'"):
        tflite.read_metadata(view_with(data[:4] + b"M002" + data[8:]))
    with pytest.raises(ModelError, match="identifier"):
        tflite.read_metadata(view_with(b""))


@pytest.mark.parametrize("keep", [8, 40, 0.5])
def test_truncated_metadata_is_damaged(keep: float) -> None:
    data = buffer_of(written())
    with pytest.raises(ModelError, match=r"the metadata is damaged .*; write it again"):
        tflite.read_metadata(view_with(data[: int(keep if keep > 1 else keep * len(data))]))


def test_fields_that_are_not_there_read_as_empty() -> None:
    """The smallest metadata: a root table without a field. Root at 12; its vtable of size 4 at 8."""
    data = struct.pack("<I4sHHi", 12, b"M001", 4, 4, 4)
    found = tflite.read_metadata(view_with(data))
    assert found is not None
    assert set(dataclasses.astuple(found)) == {"", ()}


def test_labels_file_that_is_missing_gives_no_labels() -> None:
    found = tflite.read_metadata(dataclasses.replace(tflite.open_view(written()), associated_files={}))
    assert found is not None
    assert (found.labels_file, found.labels) == ("labels.txt", ())
