from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import data
from edgekd.artifact import Artifact
from edgekd.config.data import Data
from edgekd.data.source import Source
from edgekd.errors import DataError


def fill(folder: Path, count: int, suffix: str = ".png", start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        pixels = np.random.default_rng([*folder.name.encode(), number]).integers(0, 256, (20, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"image_{number:03d}{suffix}")


def load(root: Path, **config: object) -> Source:
    return data.load_source(Data(path=str(root), **config))


def names(source: Source, split: str) -> list[str]:
    return [picture.name for picture in source.splits[split].pictures]


def prepared(root: Path, out: Path, **config: object) -> Artifact:
    out.mkdir()
    return data.prepare(Data(path=str(root), image_size=16, num_calibration_samples=4, **config), out)


def test_classes_are_sorted_and_split_in_shares_of_the_whole(tmp_path: Path) -> None:
    fill(tmp_path / "melanoma", 40)
    fill(tmp_path / "benign", 20)
    source = load(tmp_path, val_fraction=0.2, test_fraction=0.25)
    assert source.class_names == ("benign", "melanoma")
    counts = {split: np.bincount(source.splits[split].labels).tolist() for split in ("train", "val", "test")}
    assert counts == {"test": [5, 10], "val": [4, 8], "train": [11, 22]}
    everything = [name for split in counts for name in names(source, split)]
    assert Counter(everything) == Counter(
        f"{folder}/image_{number:03d}.png"
        for folder, count in (("melanoma", 40), ("benign", 20))
        for number in range(count)
    )
    for split in counts:
        labels = source.splits[split].labels
        assert [name.split("/")[0] for name in names(source, split)] == [source.class_names[i] for i in labels]


def test_the_split_is_a_function_of_its_seed(tmp_path: Path) -> None:
    fill(tmp_path / "a", 20)
    fill(tmp_path / "b", 20)
    assert names(load(tmp_path), "val") == names(load(tmp_path), "val")
    assert names(load(tmp_path), "val") != names(load(tmp_path, split_seed=1), "val")
    assert load(tmp_path).sha256 == load(tmp_path).sha256


def test_one_changed_byte_changes_the_fingerprint(tmp_path: Path) -> None:
    fill(tmp_path / "a", 5)
    fill(tmp_path / "b", 5)
    before = data.probe(Data(path=str(tmp_path))).fingerprint
    with (tmp_path / "a" / "image_000.png").open("ab") as file:
        file.write(b"x")
    assert data.probe(Data(path=str(tmp_path))).fingerprint != before


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders_are_kept(tmp_path: Path, val: str) -> None:
    for folder, count in (("Train", 6), (val, 3), ("test", 2)):
        fill(tmp_path / folder / "a", count)
        fill(tmp_path / folder / "b", count, start=50)
    source = load(tmp_path)
    assert {split: len(part.labels) for split, part in source.splits.items()} == {"train": 12, "val": 6, "test": 4}
    assert names(source, "val")[0] == f"{val}/a/image_000.png"


def test_val_comes_out_of_train_where_only_test_is_given(tmp_path: Path) -> None:
    for name in "ab":
        fill(tmp_path / "train" / name, 10)
        fill(tmp_path / "test" / name, 4)
    source = load(tmp_path, val_fraction=0.2)
    assert {split: len(part.labels) for split, part in source.splits.items()} == {"train": 16, "val": 4, "test": 8}
    assert all(name.startswith("train/") for name in names(source, "val"))


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    for folder in ("train", "val", "valid"):
        fill(tmp_path / folder / "a", 2)
    with pytest.raises(DataError, match='"val" and "valid" both name the val split'):
        load(tmp_path)


def test_a_class_that_a_split_folder_lacks_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "a", 3)
    fill(tmp_path / "train" / "b", 3)
    fill(tmp_path / "test" / "a", 3)
    with pytest.raises(DataError, match='class "b" has no images in test'):
        load(tmp_path)
    fill(tmp_path / "test" / "b", 1)
    fill(tmp_path / "test" / "c", 1)
    with pytest.raises(DataError, match='class "c" has no images in train'):
        load(tmp_path)


def test_no_images_one_class_and_too_few_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DataError, match="has no images; wanted: a folder per class"):
        load(tmp_path)
    fill(tmp_path / "a", 5)
    with pytest.raises(DataError, match='has one class, "a"'):
        load(tmp_path)
    fill(tmp_path / "b", 2)
    with pytest.raises(DataError, match='class "b" has too few images'):
        load(tmp_path)
    fill(tmp_path / "b", 3)
    assert {split: len(part.labels) for split, part in load(tmp_path).splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 2,
    }


def test_hidden_things_are_passed_over_in_silence_and_others_with_a_warning(tmp_path: Path) -> None:
    fill(tmp_path / "a", 4)
    fill(tmp_path / "b", 4, ".JPG")
    fill(tmp_path / "__MACOSX", 4)
    fill(tmp_path / ".cache", 4)
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    assert load(tmp_path).warnings == ()
    (tmp_path / "a" / "slide.svs").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    source = load(tmp_path)
    assert source.class_names == ("a", "b")
    assert source.warnings == (
        '"a": 1 file(s) are no images and were passed over: slide.svs',
        '"empty" has no images and is no class',
    )


def test_a_folder_beside_the_split_folders_is_named(tmp_path: Path) -> None:
    for folder in ("train", "raw"):
        fill(tmp_path / folder / "a", 6)
        fill(tmp_path / folder / "b", 6)
    assert load(tmp_path).warnings == ("passed over beside the split folders: raw",)


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    fill(root / "a", 4)
    fill(root / "b", 4)
    fill(outside, 3)
    (root / "a" / "far.png").symlink_to(outside / "image_000.png")
    (root / "c").symlink_to(outside, target_is_directory=True)
    (root / "b" / "loop.png").symlink_to(root / "b" / "loop.png")
    source = load(root)
    assert source.class_names == ("a", "b")
    assert sum(len(part.labels) for part in source.splits.values()) == 8
    assert len(source.warnings) == 3


def test_a_class_name_that_cannot_be_a_line_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a", 3)
    fill(tmp_path / "b\nc", 3)
    with pytest.raises(DataError, match="cannot be printed; rename it"):
        load(tmp_path)


def test_mixed_modes_and_sizes_are_prepared(tmp_path: Path) -> None:
    for name in "ab":
        folder = tmp_path / "root" / name
        folder.mkdir(parents=True)
        Image.new("L", (30, 20), 10).save(folder / "grey.png")
        Image.new("RGB", (8, 50), (10, 20, 30)).save(folder / "small.jpg")
        Image.new("CMYK", (64, 64)).save(folder / "print.tif")
        Image.new("P", (40, 40)).save(folder / "palette.bmp")
        Image.new("I;16", (40, 40)).save(folder / "deep.png")
        Image.new("RGBA", (40, 40)).save(folder / "glass.png")
    artifact = prepared(tmp_path / "root", tmp_path / "out", max_duplicates=1.0)
    assert artifact.facts["num_train"] + artifact.facts["num_val"] + artifact.facts["num_test"] == 12


def test_twelve_bits_in_sixteen_are_warned_of_and_mended(tmp_path: Path) -> None:
    for label, level in (("a", 1000), ("b", 4000)):
        (tmp_path / "root" / label).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((8, 8 + number), level, np.uint16)).save(
                tmp_path / "root" / label / f"{number}.png"
            )
    (warning,) = prepared(tmp_path / "root", tmp_path / "out").facts["warnings"][:1]
    assert warning.startswith(
        "8 image(s) of 16 bits have no value above 4000, so that 65535 as white leaves 16 grey levels of 256; "
    )
    artifact = prepared(tmp_path / "root", tmp_path / "mended", sixteen_bit_max=4095)
    assert not any("16 bits" in warning for warning in artifact.facts["warnings"])
    train = data.Dataset.open(artifact).train
    assert set(np.unique(train.images[train.labels == 1])) == {4000 >> 4}


def test_unreadable_files_are_listed_and_can_be_left_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fill(root / "a", 30)
    fill(root / "b", 30)
    for number in range(12):
        (root / "a" / f"image_{number:03d}.png").write_bytes(b"not an image")
    (root / "b" / "image_007.png").write_bytes((root / "b" / "image_008.png").read_bytes()[:100])
    with pytest.raises(DataError) as caught:
        prepared(root, tmp_path / "refused")
    message = str(caught.value)
    assert message.startswith("13 unreadable image(s): ")
    assert message.count("/image_") == 11  # ten in the list, and the reason of the first
    assert "and 3 more" in message
    assert "is not an image in the form PNG, JPEG, BMP, TIFF" in message
    assert "--set data.skip_unreadable=true" in message
    assert "\n" not in message
    assert str(tmp_path) not in message

    artifact = prepared(root, tmp_path / "skipped", skip_unreadable=True)
    facts = artifact.facts
    assert len(facts["unreadable"]) == 13
    assert "b/image_007.png" in facts["unreadable"]
    assert "13 unreadable image(s) left out" in facts["warnings"]
    dataset = data.Dataset.open(artifact)
    assert facts["num_train"] + facts["num_val"] + facts["num_test"] == 47
    for split in (dataset.train, dataset.val, dataset.test):
        assert len(split.images) == len(split.labels)
    # What is kept is what its file holds: compare with a set from which the broken files were deleted.
    source = load(root)
    kept = [ref for ref in source.splits["train"].pictures if ref.name not in facts["unreadable"]]
    assert len(kept) == len(dataset.train.images)
    from edgekd.preprocessing import preprocess

    for ref, image in zip(kept, dataset.train.images, strict=True):
        np.testing.assert_array_equal(preprocess(ref.read(), 16), image)


def test_a_bomb_is_refused_with_its_reason(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fill(root / "a", 3)
    fill(root / "b", 3)
    Image.new("1", (9000, 9000)).save(root / "b" / "bomb.png")
    with pytest.raises(DataError, match=r"1 unreadable.*bomb.png.*81,000,000 pixels, more than 64,000,000"):
        prepared(root, tmp_path / "out")


def test_probe_reads_sizes_from_headers(tmp_path: Path) -> None:
    fill(tmp_path / "a", 10)
    fill(tmp_path / "b", 10)
    (tmp_path / "b" / "broken.png").write_bytes(b"x")
    probe = data.probe(Data(path=str(tmp_path), val_fraction=0.2, test_fraction=0.2))
    assert (probe.num_train, probe.median_side, probe.num_classes) == (13, 20, 2)


def test_probe_says_that_nothing_can_be_read(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.png").write_bytes(b"x%d" % number)
    with pytest.raises(DataError, match="none of the images looked at can be read"):
        data.probe(Data(path=str(tmp_path)))


def test_images_may_lie_below_a_class_folder(tmp_path: Path) -> None:
    fill(tmp_path / "a" / "patient1" / "left", 4)
    fill(tmp_path / "a" / "patient2", 4)
    fill(tmp_path / "b", 4)
    source = load(tmp_path)
    assert source.class_names == ("a", "b")
    assert sum(len(part.labels) for part in source.splits.values()) == 12


@pytest.mark.parametrize(
    "names", [("TRAIN", "Dev", "TEST"), ("Training", "Validation", "Testing"), ("train", "valid", "test_set")]
)
def test_split_folders_by_any_usual_name(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for folder, count in zip(names, (6, 3, 2), strict=True):
        fill(tmp_path / folder / "a", count)
        fill(tmp_path / folder / "b", count, start=50)
    assert {split: len(part.labels) for split, part in load(tmp_path).splits.items()} == {
        "train": 12,
        "val": 6,
        "test": 4,
    }


def test_split_folders_below_the_classes_are_refused(tmp_path: Path) -> None:
    for label in "ab":
        for split in ("train", "test"):
            fill(tmp_path / label / split, 4)
    with pytest.raises(
        DataError, match=r'"a" holds split folders \(test, train\); wanted: the class folders in the split'
    ):
        load(tmp_path)


def test_class_folders_that_differ_only_in_spelling_are_listed(tmp_path: Path) -> None:
    for folder in ("Normal", "normal ", "tumour"):
        fill(tmp_path / folder, 4)
    with pytest.raises(DataError, match=r'"Normal" \(4 images\), "normal " \(4 images\); write each class in one way'):
        load(tmp_path)


def test_links_to_folders_do_not_loop(tmp_path: Path) -> None:
    fill(tmp_path / "a", 4)
    fill(tmp_path / "b", 4)
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b" / "self").symlink_to(tmp_path / "b" / "self")
    source = load(tmp_path)
    assert sum(len(part.labels) for part in source.splits.values()) == 8
    assert source.warnings == (
        '"a": 1 file(s) are no images and were passed over: again',
        '"b": 1 file(s) are no images and were passed over: self',
    )


def test_grades_are_ordered_by_value(tmp_path: Path) -> None:
    for grade in (0, 2, 10):
        fill(tmp_path / str(grade), 4)
    assert load(tmp_path, task="ordinal").class_names == ("0", "2", "10")


def test_nothing_of_the_users_is_changed(tmp_path: Path) -> None:
    fill(tmp_path / "root" / "a", 6)
    fill(tmp_path / "root" / "b", 6)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (tmp_path / "root").rglob("*")}
    prepared(tmp_path / "root", tmp_path / "out")
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (tmp_path / "root").rglob("*")} == before


def test_split_folders_without_train_are_refused_and_a_class_may_be_called_valid(tmp_path: Path) -> None:
    for split in ("Validation", "test"):
        fill(tmp_path / "splits" / split / "a", 4)
    with pytest.raises(DataError, match="has the split folders val, test, and none for train"):
        load(tmp_path / "splits")
    for name in ("valid", "invalid"):
        fill(tmp_path / "classes" / name, 4)
    assert load(tmp_path / "classes").class_names == ("invalid", "valid")
