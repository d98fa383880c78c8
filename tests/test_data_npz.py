from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.config.data import Data
from edgekd.data import npz
from edgekd.data.npz import load_npz
from edgekd.data.source import Source
from edgekd.data.sources import load_source
from edgekd.errors import DataError

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
    np.testing.assert_array_equal(load(make_npz("rgb.npz", train_images=rgb)).splits["train"].pictures[:], rgb)
    one = load(make_npz("one.npz", train_images=rgb[..., :1]))
    assert one.splits["train"].pictures.shape == (24, 28, 28)
    np.testing.assert_array_equal(one.splits["train"].pictures[:], rgb[..., 0])
    turned = load(make_npz("fortran.npz", train_images=np.asfortranarray(rgb)))
    np.testing.assert_array_equal(turned.splits["train"].pictures, rgb)  # read at once


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
        ({"val_labels": np.zeros((8, 2), np.uint8)}, r"val_labels have shape \(8, 2\); \(8,\) is wanted"),
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
            for split in load(packed).splits.values():
                assert sum(1 for _ in split.pictures) == len(split.labels)
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
    with pytest.raises(DataError, match=r"cannot be read as NPZ: train_images claims the shape .* and has 0 bytes"):
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
    assert any(text.startswith("8 image(s) of val stand in train too, pixel for pixel") for text in facts["warnings"])
    assert dataset.calibration_images.shape == (256, 32, 32, 3)
    assert str(shared_data) not in str(facts)


def test_breastmnist_by_its_file_name(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    shutil.copyfile(shared_data / "breastmnist.npz", path)
    (tmp_path / "out").mkdir()
    facts = data.prepare(Data(path=str(path), image_size=28), tmp_path / "out").facts
    assert (facts["num_train"], facts["num_val"], facts["num_test"]) == (546, 78, 156)
    assert any(text.startswith("1 image(s) of test stand in train too, pixel for pixel") for text in facts["warnings"])


def multi_hot(count: int, seed: int = 0, labels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (count, labels), dtype=np.uint8)


def labelled(**changes: object) -> dict[str, object]:
    return {f"{split}_labels": multi_hot(count) for split, count in (("train", 24), ("val", 8), ("test", 10))} | changes


def test_labels_of_several_columns_are_several_labels(make_npz: MakeNpz) -> None:
    source = load(make_npz(**labelled()))
    np.testing.assert_array_equal(source.splits["train"].labels, multi_hot(24))
    assert source.class_names == ("label_0", "label_1", "label_2")
    assert data.probe(Data(path=str(make_npz(**labelled())))).task == "multi-label"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_labels": 2 * multi_hot(8)}, "val_labels go from 0 to 2; with 3 labels an image 0 to 1 are allowed"),
        ({"val_labels": multi_hot(8, labels=4)}, r"val_labels have shape \(8, 4\); \(8, 3\) is wanted"),
        ({"val_labels": np.zeros(8, np.uint8)}, r"val_labels have shape \(8,\); \(8, 3\) is wanted"),
        ({"val_labels": np.zeros((8, 0), np.uint8)}, r"with shape \(8, 0\)"),
        ({"val_labels": np.zeros((8, 3, 1), np.uint8)}, r"with shape \(8, 3, 1\)"),
    ],
)
def test_several_labels_that_do_not_fit(make_npz: MakeNpz, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(make_npz(**labelled(**changes)))


def test_one_hot_labels_are_told_from_several(make_npz: MakeNpz) -> None:
    counts = {"train": 24, "val": 8, "test": 10}
    one_hot = {f"{split}_labels": np.eye(3, dtype=int)[np.arange(n) % 3] for split, n in counts.items()}
    (warning,) = load(make_npz(**one_hot)).warnings
    assert "every image has exactly one label" in warning
    assert load(make_npz("several.npz", **labelled())).warnings == ()


def test_chestmnist_has_fourteen_labels_and_says_so(make_npz: MakeNpz) -> None:
    arrays = {f"{split}_labels": multi_hot(n, labels=14) for split, n in (("train", 24), ("val", 8), ("test", 10))}
    source = load_source(Data(path=str(make_npz("chestmnist.npz", **arrays))))
    assert (source.task, len(source.class_names), source.class_names[6]) == ("multi-label", 14, "pneumonia")
    with pytest.raises(DataError, match=r"train_labels have shape \(24,\); chestmnist is multi-label"):
        load_source(Data(path=str(make_npz("chestmnist.npz"))))


def test_retinamnist_is_ordinal_unless_asked_otherwise(make_npz: MakeNpz) -> None:
    arrays = {f"{split}_labels": np.arange(n)[:, None] % 5 for split, n in (("train", 24), ("val", 8), ("test", 10))}
    path = str(make_npz("retinamnist.npz", **arrays))
    assert load_source(Data(path=path)).task == "ordinal"
    assert load_source(Data(path=path, task="multi-class")).task == "multi-class"
    with pytest.raises(DataError, match=r'data.task = "multi-label": retinamnist has 5 classes and .* shape \(n,\)'):
        load_source(Data(path=path, task="multi-label"))


def test_an_order_must_be_said_and_needs_three_classes(make_npz: MakeNpz) -> None:
    arrays = {f"{split}_labels": np.arange(n) % 3 for split, n in (("train", 24), ("val", 8), ("test", 10))}
    three, two = str(make_npz("three.npz", **arrays)), str(make_npz("two.npz"))
    assert load_source(Data(path=three)).task == "multi-class"
    assert load_source(Data(path=three, task="ordinal")).task == "ordinal"
    assert [load_source(Data(path=two, task=task)).task for task in ("auto", "multi-class")] == ["binary", "binary"]
    with pytest.raises(DataError, match=r'data.task = "ordinal": two has 2 classes .*; allowed: auto, multi-class$'):
        load_source(Data(path=two, task="ordinal"))
