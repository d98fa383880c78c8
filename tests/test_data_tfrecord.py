from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import data
from edgekd._keras import tf
from edgekd.config.data import Data
from edgekd.data.source import Source
from edgekd.errors import DataError

NAMES = ("benign", "malignant")


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "PNG")
    return buffer.getvalue()


def feature(value: object) -> object:
    values = value if isinstance(value, list) else [value]
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def write(path: Path, records: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            known = {key: feature(value) for key, value in record.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=known)).SerializeToString())
    return path


def standard(numbers: range, **more: object) -> list[dict[str, object]]:
    return [
        {
            "image/encoded": png(number),
            "image/class/label": number % 2,
            "image/class/text": NAMES[number % 2].encode(),
            "patient_id": f"SECRET{number // 2 % 15}".encode(),
            **more,
        }
        for number in numbers
    ]


def load(path: Path, **config: object) -> Source:
    return data.load_source(Data(path=str(path), **config))


def number_of(image: np.ndarray, count: int) -> int:
    return next(number for number in range(count) if np.array_equal(image, picture(number)))


def test_records_are_read_where_they_lie(tmp_path: Path) -> None:
    source = load(write(tmp_path / "all.tfrecord", standard(range(60))))
    assert source.class_names == NAMES
    seen = set()
    for part in source.splits.values():
        assert part.groups is not None
        for reference, label in zip(part.pictures, part.labels, strict=True):
            number = number_of(np.asarray(reference.read()), 60)
            assert reference.name == f"all.tfrecord[{number}]"
            assert (label, reference.shorter_side()) == (number % 2, 9)
            seen.add(number)
    assert seen == set(range(60))
    assert 'label from column "image/class/text"' in source.notes[1]
    assert source.sha256 == load(tmp_path / "all.tfrecord").sha256


def test_shards_say_their_split(tmp_path: Path) -> None:
    write(tmp_path / "in" / "train-00000-of-00002.tfrecord", standard(range(0, 12)))
    write(tmp_path / "in" / "train-00001-of-00002.tfrecord", standard(range(12, 20)))
    write(tmp_path / "in" / "validation.tfrecord-00000-of-00001", standard(range(20, 24)))
    write(tmp_path / "in" / "testing" / "part.tfrec", standard(range(24, 30)))
    source = load(tmp_path / "in")
    assert {split: len(part.labels) for split, part in source.splits.items()} == {"train": 20, "val": 4, "test": 6}
    assert source.splits["test"].pictures[0].name == "testing/part.tfrec[0]"
    out = tmp_path / "out"
    out.mkdir()
    data.prepare(Data(path=str(tmp_path / "in"), image_size=8, num_calibration_samples=4), out)
    assert all(b"SECRET" not in file.read_bytes() for file in out.iterdir())


def test_own_features_by_name(tmp_path: Path) -> None:
    records = [
        {"pixels": png(number), "grade": number % 3, "where": (b"train", b"val", b"test")[number // 3 % 3], "sex": b"F"}
        for number in range(36)
    ]
    path = write(tmp_path / "own.tfrecord", records)
    chosen = {"path_column": "pixels", "label_column": "grade", "split_column": "where", "subgroup_columns": ("sex",)}
    source = load(path, **chosen)
    assert (source.class_names, len(source.splits["val"].labels)) == (("0", "1", "2"), 12)
    assert set(source.splits["val"].columns["sex"]) == {"F"}
    with pytest.raises(DataError, match=r"which feature is the image\? The records have grade, pixels, sex, where"):
        load(path)
    with pytest.raises(
        DataError, match=r'data.path_column = "pixel": the records have no such .*did you mean "pixels"'
    ):
        load(path, path_column="pixel")


def test_several_labels_in_a_feature(tmp_path: Path) -> None:
    sets = ([b"a"], [b"a", b"b"], [b"b"], [])
    records = [
        {"image": png(number), **({"labels": found} if (found := sets[number % 4]) else {})} for number in range(40)
    ]
    source = load(write(tmp_path / "x.tfrecord", records), task="multi-label")
    wanted = ([1, 0], [1, 1], [0, 1], [0, 0])
    for part in source.splits.values():
        for reference, row in zip(part.pictures, part.labels.tolist(), strict=True):
            assert row == wanted[number_of(np.asarray(reference.read()), 40) % 4]


def test_broken_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tfrecord", standard(range(10)))
    raw = path.read_bytes()
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 1
    for content in (bytes(flipped), raw[:-10]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r'"x.tfrecord" is broken after \d records \(DataLossError\)'):
            load(path)
    path.write_bytes(gzip.compress(raw))
    with pytest.raises(DataError, match=r'"x.tfrecord" is compressed; gunzip it first'):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="has no records"):
        load(path)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff\xff")
    with pytest.raises(DataError, match=r'"x.tfrecord\[0\]" is no tf.train.Example'):
        load(path)


def test_unreadable_images_in_records_are_named(tmp_path: Path) -> None:
    records = standard(range(40))
    records[3]["image/encoded"] = b"not an image"
    del records[5]["image/encoded"]
    path = write(tmp_path / "x.tfrecord", records)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DataError, match=r"2 unreadable image\(s\): x.tfrecord\[\d\], x.tfrecord\[\d\] "):
        data.prepare(Data(path=str(path), image_size=8), out)


def test_records_and_images_in_one_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.tfrecord", standard(range(4)))
    Image.new("L", (4, 4)).save(tmp_path / "y.png")
    with pytest.raises(DataError, match="holds both TFRecord and image files"):
        load(tmp_path)
