from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.data import npz
from edgekd.data.npz import load_npz
from edgekd.data.source import Source
from edgekd.errors import DataError
from edgekd.recipe import Data

MakeNpz = Callable[..., Path]


def load(path: Path, name: str = "") -> Source:
    return load_npz(path, name, Data(path=str(path)))


def test_labels_of_both_shapes_and_images_of_three_forms(make_npz: MakeNpz) -> None:
    grey = load(make_npz())
    assert grey.splits["train"].pictures.shape == (24, 28, 28)
    assert grey.splits["train"].labels.tolist() == [0, 1] * 12
    column = load(make_npz("column.npz", train_labels=(np.arange(24) % 2)[:, None].astype(np.int32)))
    np.testing.assert_array_equal(column.splits["train"].labels, grey.splits["train"].labels)
    rgb = np.random.default_rng(0).integers(0, 256, (24, 28, 28, 3), dtype=np.uint8)
    np.testing.assert_array_equal(load(make_npz("rgb.npz", train_images=rgb)).splits["train"].pictures, rgb)
    one = load(make_npz("one.npz", train_images=rgb[..., :1]))
    np.testing.assert_array_equal(one.splits["train"].pictures, rgb[..., 0])


def test_a_path_alone_gives_numbered_classes(make_npz: MakeNpz) -> None:
    source = load(make_npz("cells.npz"))
    assert (source.name, source.class_names, source.public) == ("cells", ("class_0", "class_1"), False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_labels": None, "test_images": None}, "lacks val_labels, test_images; it holds train_images"),
        ({"train_images": np.zeros((24, 28, 28), np.float32)}, "train_images is float32 with shape"),
        ({"train_images": np.zeros((24, 28), np.uint8)}, r"\(24, 28\); uint8 with shape \(n, h, w\)"),
        ({"train_images": np.zeros((24, 28, 28, 4), np.uint8)}, "uint8 with shape"),
        ({"test_images": np.zeros((0, 28, 28), np.uint8)}, "test_images is empty"),
        ({"test_labels": np.zeros(0, np.uint8)}, "test_labels is empty"),
        ({"val_labels": np.zeros(8, np.float64)}, "val_labels is float64 .*whole numbers"),
        ({"val_labels": np.zeros((8, 2), np.uint8)}, r"val_labels is uint8 with shape \(8, 2\)"),
        ({"val_labels": np.zeros(7, np.uint8)}, "val has 8 images and 7 labels"),
        ({"val_labels": np.full(8, -1)}, "val_labels go from -1 to -1; with 2 classes 0 to 1 are allowed"),
        ({"val_labels": np.full(8, 3)}, "train has no image of class 2"),
        ({"val_labels": np.full(8, 2**62)}, "train has no image of class 2"),
        ({"train_labels": np.array([["a", "b"] * 12])}, "train_labels is <U1"),
        (
            {f"{split}_labels": np.zeros(n, np.uint8) for split, n in (("train", 24), ("val", 8), ("test", 10))},
            "one class",
        ),
    ],
)
def test_what_is_wrong_is_named(make_npz: MakeNpz, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(make_npz(**changes))


def test_object_arrays_are_never_unpickled(make_npz: MakeNpz) -> None:
    with pytest.raises(DataError, match="pickles, which are never read"):
        load(make_npz(train_labels=np.array([{"a": 1}] * 24, object)))


def test_a_class_that_val_lacks_is_named_by_prepare(make_npz: MakeNpz, tmp_path: Path) -> None:
    path = make_npz(val_labels=np.zeros(8, np.uint8))
    with pytest.raises(DataError, match='val has no image of class "class_1"'):
        data.prepare(Data(path=str(path), image_size=16), tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'odd.npz" cannot be read as NPZ'):
        load(path)


def test_flipped_bytes_never_end_in_a_traceback(make_npz: MakeNpz, tmp_path: Path) -> None:
    content = make_npz().read_bytes()
    packed = tmp_path / "packed.npz"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, zipfile.ZipFile(io.BytesIO(content)) as plain:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    content = packed.read_bytes()
    generator = np.random.default_rng(0)
    messages = []
    for _ in range(150):
        broken = bytearray(content)
        broken[generator.integers(len(content))] ^= int(generator.integers(1, 256))
        packed.write_bytes(broken)
        try:
            load(packed)
        except DataError as error:
            messages.append(str(error))
    assert not [message for message in messages if "\n" in message]
    assert len(messages) > 100  # CRC-32 sees every change in the packed arrays


def test_a_header_that_claims_a_petabyte_is_refused(make_npz: MakeNpz, tmp_path: Path) -> None:
    path = tmp_path / "claims.npz"
    with zipfile.ZipFile(make_npz()) as plain, zipfile.ZipFile(path, "w") as archive:
        for name in plain.namelist():
            if name != "train_images.npy":
                archive.writestr(name, plain.read(name))
        header = io.BytesIO()
        shape = (2**40, 32, 32)
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        archive.writestr("train_images.npy", header.getvalue())
    with pytest.raises(DataError, match="cannot be read as NPZ"):
        load(path)


def test_a_bomb_is_refused_before_it_is_unpacked(make_npz: MakeNpz, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to"):
        load(make_npz())


def test_a_medmnist_name_brings_its_table_and_a_warning(make_npz: MakeNpz) -> None:
    source = data.load_source(Data(path=str(make_npz("breastmnist.npz"))))
    assert source.class_names == ("malignant", "normal, benign")
    assert (source.name, source.licence, source.public) == ("breastmnist", "CC BY 4.0", True)
    assert source.warnings == (
        "breastmnist.npz is not the official breastmnist file (its MD5 differs); figures are for these bytes",
        "breastmnist.npz has (24, 8, 10) images in train, val and test; breastmnist has (546, 78, 156)",
    )


def test_pneumoniamnist_is_read_as_its_readme_says(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "pneumoniamnist.npz"
    artifact = data.prepare(Data(name="pneumoniamnist", path=str(path), image_size=32), tmp_path)
    dataset, facts = data.Dataset.open(artifact), artifact.facts
    assert (facts["task"], facts["licence"]) == ("binary", "CC BY 4.0")
    assert dataset.class_names == ["normal", "pneumonia"]
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    assert {name: np.bincount(split.labels).tolist() for name, split in splits.items()} == {
        "train": [1214, 3494],
        "val": [135, 389],
        "test": [234, 390],
    }
    assert any("not the official pneumoniamnist file" in warning for warning in facts["warnings"])
    assert "8 image(s) stand in both train and val, pixel for pixel" in facts["warnings"]
    assert dataset.calibration_images.shape == (256, 32, 32, 3)
    assert str(shared_data) not in str(facts)


def test_breastmnist_by_its_file_name(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    shutil.copyfile(shared_data / "breastmnist.npz", path)
    (tmp_path / "out").mkdir()
    facts = data.prepare(Data(path=str(path), image_size=28), tmp_path / "out").facts
    assert (facts["num_train"], facts["num_val"], facts["num_test"]) == (546, 78, 156)
    assert "1 image(s) stand in both train and test, pixel for pixel" in facts["warnings"]
