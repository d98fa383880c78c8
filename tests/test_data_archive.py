"""Images that stay in an NPZ file: the right ones, one after the other, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekd.artifact import sha256_file
from edgekd.config.data import Data
from edgekd.data import Dataset, archive, load_source, prepare
from edgekd.data.archive import ArchivedImages, read_header, read_whole
from edgekd.errors import DataError

MakeNpz = Callable[..., Path]
SHAPE = (50, 6, 5, 3)


@pytest.fixture(params=[np.savez, np.savez_compressed])
def images(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArchivedImages:
    """50 images, of which seven fit into a block."""
    monkeypatch.setattr(archive, "BLOCK_BYTES", 7 * 6 * 5 * 3 + 1)
    request.param(tmp_path / "set.npz", other=np.arange(9), train_images=expected())
    return ArchivedImages(tmp_path / "set.npz", "train_images", SHAPE, np.arange(50))


def expected() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def test_each_image_is_where_numpy_has_it(images: ArchivedImages) -> None:
    assert (len(images), images.shape) == (50, SHAPE)
    np.testing.assert_array_equal(np.stack(list(images)), expected())
    np.testing.assert_array_equal(images[13], expected()[13])
    np.testing.assert_array_equal(images[-1], expected()[49])
    np.testing.assert_array_equal(images[3:20], expected()[3:20])
    assert images[:0].shape == (0, 6, 5, 3)
    chosen = np.array([0, 6, 7, 13, 14, 49])  # both ends of blocks
    np.testing.assert_array_equal(np.stack(list(images.pick(chosen))), expected()[chosen])


def test_a_part_is_read_as_a_mask_says(images: ArchivedImages) -> None:
    kept = np.arange(50) % 3 == 1
    part = images.take(kept)
    np.testing.assert_array_equal(np.stack(list(part)), expected()[kept])
    np.testing.assert_array_equal(np.stack(list(part.take(np.arange(17) > 14))), expected()[kept][15:])
    assert list(part.take(np.zeros(17, bool))) == []


def test_no_more_is_unpacked_than_is_asked_for(images: ArchivedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda self, n=-1: taken.append(n) or read(self, n))
    iterator = iter(images)
    for _ in range(7):
        next(iterator)
    assert taken.count(7 * 90) == 1
    next(iterator)
    assert taken.count(7 * 90) == 2
    assert max(taken) == 7 * 90
    iterator.close()


def test_a_wrong_checksum_shows(images: ArchivedImages) -> None:
    with zipfile.ZipFile(images.path) as file:
        crc = file.getinfo("train_images.npy").CRC.to_bytes(4, "little")
    content = images.path.read_bytes()
    assert crc in content
    images.path.write_bytes(content.replace(crc, bytes(byte ^ 1 for byte in crc)))
    with pytest.raises(DataError, match=r'set.npz" cannot be read as NPZ: Bad CRC-32'):
        list(images)


def test_a_file_that_went_away_is_named(images: ArchivedImages) -> None:
    images.path.unlink()
    with pytest.raises(DataError, match=r'set.npz" cannot be read as NPZ'):
        next(iter(images))


def test_headers_are_read_and_held_against_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", c=np.zeros((2, 3)), f=np.asfortranarray(np.zeros((2, 3))), one=np.zeros(3, np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        assert [read_header(file, name).fortran_order for name in ("c", "f", "one")] == [False, True, False]
        assert (read_header(file, "c").shape, read_header(file, "c").dtype) == ((2, 3), np.float64)
        monkeypatch.setattr(archive, "MAX_WHOLE_BYTES", 47)
        assert read_whole(file, "one").tolist() == [0, 0, 0]
        with pytest.raises(ValueError, match="f has 0 GiB, more than 0, in Fortran order; save it in C order"):
            read_whole(file, "f")


def write_large(path: Path, counts: dict[str, int], side: int) -> None:
    """An NPZ file of images that pack well, written one after the other."""
    generator = np.random.default_rng(1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for split, count in counts.items():
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
            with file.open(f"{split}_images.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header)
                for _ in range(count):
                    small = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                    member.write(small.repeat(side // 8, 0).repeat(side // 8, 1).tobytes())
            with file.open(f"{split}_labels.npy", "w") as member:
                np.lib.format.write_array(member, np.arange(count) % 2)


PREPARE = """
import json, sys
from pathlib import Path
from edgekd.config.data import Data
from edgekd.data import prepare
from edgekd.data.look import look
from edgekd.measure import peak_rss_bytes
config = Data(path=sys.argv[1], image_size=16)
facts, seen = prepare(config, Path(sys.argv[2])).facts, look(config).document
row = {"train": facts["num_train"], "sha256": facts["sha256"], "images": seen["num_images"], "peak": peak_rss_bytes()}
print(json.dumps(row))
"""


def test_a_set_is_prepared_and_looked_at_in_less_memory_than_it_takes(tmp_path: Path) -> None:
    found = {}
    for name, count in (("few", 40), ("many", 4000)):  # 4,000 of 160 x 160 x 3 bytes are 293 MiB
        path = tmp_path / f"{name}.npz"
        write_large(path, {"train": count, "val": 40, "test": 40}, 160)
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", PREPARE, str(path), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        assert (found[name]["train"], found[name]["images"]) == (count, count + 80)
        assert found[name]["sha256"] == sha256_file(path)
    assert found["many"]["peak"] - found["few"]["peak"] < 40 * 2**20


def test_prepared_images_are_those_of_the_arrays(
    make_npz: MakeNpz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BLOCK_BYTES", 28 * 28 * 5)
    path = make_npz()
    dataset = Dataset.open(prepare(Data(path=str(path), image_size=28), tmp_path))
    with np.load(path) as arrays:
        for split in ("train", "val", "test"):
            found = getattr(dataset, split).images
            np.testing.assert_array_equal(found, np.repeat(arrays[f"{split}_images"][..., None], 3, axis=3))


def test_what_breaks_in_the_middle_is_said_by_prepare(make_npz: MakeNpz, tmp_path: Path) -> None:
    path = make_npz()
    with zipfile.ZipFile(path) as file:
        info = file.getinfo("val_images.npy")
    content = bytearray(path.read_bytes())
    content[info.header_offset + 1000] ^= 255
    path.write_bytes(content)
    source = load_source(Data(path=str(path)))  # headers and labels are whole
    assert len(source.splits["val"].pictures) == 8
    with pytest.raises(DataError, match=r"Bad CRC-32 for file 'val_images.npy'"):
        prepare(Data(path=str(path), image_size=16), tmp_path)
