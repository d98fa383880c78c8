"""Splits that edgekd draws keep copies of one image on one side, whatever their format, class or patient."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import data
from edgekd.artifact import Artifact
from edgekd.config.data import Data
from edgekd.data.copies import joined, num_copies
from edgekd.data.look import look
from edgekd.data.made_up import made_up_images
from edgekd.data.source import Source
from edgekd.errors import DataError

SPLITS = ("train", "val", "test")


def test_units_that_share_an_image_become_one() -> None:
    units = np.array([0, 0, 1, 2, 3, 3, 4])
    # The second image of 0 is that of 2, and 2's is one of 3's; two images of nobody's digest are no copies.
    digests = ["a", "b", "", "b", "b", "c", ""]
    assert joined(units, digests).tolist() == [0, 0, 1, 0, 0, 0, 4]
    assert joined(units, [""] * 7).tolist() == units.tolist()
    assert num_copies(digests) == 2


def make_folder(root: Path, per_class: int = 20) -> Path:
    """``a/p00_a.png`` and so on: two classes, every image another one."""
    images = made_up_images(2 * per_class, 20, 11)
    for number, image in enumerate(images):
        path = root / "ab"[number % 2] / f"p{number // 2:02}_{'ab'[number % 2]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def sides(source: Source) -> dict[str, str]:
    return {ref.name: name for name in SPLITS for ref in source.splits[name].pictures}


def prepared(root: Path, out: Path, **config: object) -> Artifact:
    out.mkdir()
    return data.prepare(Data(**{"path": str(root), "image_size": 16, "num_calibration_samples": 4, **config}), out)


@pytest.mark.parametrize("seed", range(5))
def test_files_with_the_same_bytes_stay_together(tmp_path: Path, seed: int) -> None:
    root = make_folder(tmp_path / "own")
    for number in range(0, 20, 2):
        for copy in range(2):
            shutil.copyfile(root / "a" / f"p{number:02}_a.png", root / "a" / f"q{number:02}_{copy}.png")
    source = data.load_source(Data(path=str(root), split_seed=seed))
    found = sides(source)
    for number in range(0, 20, 2):
        assert len({found[f"a/p{number:02}_a.png"], *(found[f"a/q{number:02}_{copy}.png"] for copy in range(2))}) == 1
    assert set(found.values()) == set(SPLITS)
    assert "20 images are copies of others; the splits that edgekd draws keep copies together" in source.notes
    facts = prepared(root, tmp_path / "out", split_seed=seed, max_duplicates=0.0).facts
    assert facts["leaks"]["exact"] == []


def test_without_copies_the_shares_are_met_exactly_and_nothing_is_said(tmp_path: Path) -> None:
    source = data.load_source(Data(path=str(make_folder(tmp_path / "own"))))
    assert {name: np.bincount(source.splits[name].labels).tolist() for name in SPLITS} == {
        "train": [14, 14],  # 20 of each class, less twice rint(0.15 * 20)
        "val": [3, 3],
        "test": [3, 3],
    }
    assert not [text for text in source.notes if "copies" in text]


def reformatted(root: Path) -> list[tuple[str, str]]:
    """Every third image of class a once more, as a BMP file."""
    pairs = []
    for number in range(0, 20, 3):
        first, second = f"a/p{number:02}_a.png", f"a/z{number:02}.bmp"
        with Image.open(root / first) as image:
            image.save(root / second)
        pairs.append((first, second))
    return pairs


@pytest.mark.parametrize("seed", range(5))
def test_the_same_pixels_in_another_format_stay_together(tmp_path: Path, seed: int) -> None:
    root = make_folder(tmp_path / "own")
    pairs = reformatted(root)
    source = data.load_source(Data(path=str(root), split_seed=seed))
    before = sides(source)
    assert any(before[first] != before[second] for first, second in pairs)  # their bytes do not tell
    artifact = prepared(root, tmp_path / "out", split_seed=seed, max_duplicates=0.0)
    assert (artifact.facts["leaks"]["exact"], artifact.facts["sha256"]) == ([], source.sha256)
    assert f"{len(pairs)} images are copies of others" in str(artifact.facts["notes"])
    dataset = data.Dataset.open(artifact)
    # Every file stands somewhere with its own label: images of 20 pixels, scaled to 16 by the one preprocessing.
    expected = []
    for path in sorted(root.rglob("*.*")):
        with Image.open(path) as image:
            small = image.resize((16, 20), Image.Resampling.BILINEAR).resize((16, 16), Image.Resampling.BILINEAR)
            expected.append(("ab".index(path.parent.name), np.asarray(small).tobytes()))
    found = [
        (int(label), image.tobytes())
        for split in (dataset.train, dataset.val, dataset.test)
        for label, image in zip(split.labels, split.images, strict=True)
    ]
    assert sorted(found) == sorted(expected)
    digests = [{image.tobytes() for image in getattr(dataset, name).images} for name in SPLITS]
    assert sum(map(len, digests)) == len(set().union(*digests))


def test_a_look_draws_by_pixels_too(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "own")
    reformatted(root)
    assert look(Data(path=str(root), max_duplicates=0.0)).document["refused"] is None


def test_copies_join_patients_and_classes(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "own", per_class=30)
    # Patients 0 and 1 share an image, and so do 1 and 2, in the other class: who is who is known wrongly.
    shutil.copyfile(root / "a" / "p00_a.png", root / "a" / "p01_copy.png")
    shutil.copyfile(root / "a" / "p01_a.png", root / "b" / "p02_copy.png")
    for seed in range(5):
        source = data.load_source(Data(path=str(root), patient_pattern="(p[0-9]+)_", split_seed=seed))
        found = sides(source)
        assert len({split for name, split in found.items() if name[2:5] in ("p00", "p01", "p02")}) == 1
        groups = [set(source.splits[name].groups.tolist()) for name in SPLITS]
        assert sum(map(len, groups)) == 30  # patients are still counted as patients


def test_given_splits_are_left_as_they_are_and_a_val_out_of_train_is_drawn(tmp_path: Path) -> None:
    for split in ("train", "test"):
        make_folder(tmp_path / "own" / split)
    root = tmp_path / "own"
    for number in range(20):
        shutil.copyfile(root / "train" / "a" / f"p{number:02}_a.png", root / "train" / "a" / f"q{number:02}.png")
    found = sides(data.load_source(Data(path=str(root))))
    assert all(side == "test" for name, side in found.items() if name.startswith("test/"))
    pairs = [(f"train/a/p{number:02}_a.png", f"train/a/q{number:02}.png") for number in range(20)]
    assert all(found[first] == found[second] for first, second in pairs)
    assert {found[first] for first, _ in pairs} == {"train", "val"}
    # What test shares with train is no matter of drawing: the leak check says it.
    with pytest.raises(DataError, match=r"stand in train( or val)? too, pixel for pixel"):
        prepared(root, tmp_path / "out")


def test_a_class_of_copies_alone_is_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "own")
    for path in (root / "b").iterdir():
        shutil.copyfile(root / "b" / "p00_b.png", path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
    with pytest.raises(DataError, match='class "b" has too few different images for train, test, val: 1; at least 3'):
        data.load_source(Data(path=str(root)))


def test_unreadable_files_are_no_copies_of_each_other(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "own")
    reformatted(root)
    for number in range(3):
        (root / "b" / f"broken{number}.png").write_bytes(b"no image %d" % number)
    artifact = prepared(root, tmp_path / "out", skip_unreadable=True, max_duplicates=0.0)
    facts = artifact.facts
    assert facts["unreadable"] == ["b/broken0.png", "b/broken1.png", "b/broken2.png"]
    assert facts["num_train"] + facts["num_val"] + facts["num_test"] == 47
    assert len(data.Dataset.open(artifact).train.images) == facts["num_train"]
