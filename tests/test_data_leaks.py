"""Images in two splits or under two labels: by hand, and in real files against a comparison of all with all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from edgekd.artifact import Artifact
from edgekd.config.data import Data
from edgekd.config.report import Report
from edgekd.data import Dataset, leaks, prepare
from edgekd.data.fingerprint import (
    Fingerprints,
    correlation,
    fingerprint,
    near_pairs,
    near_pairs_within,
    perceptual_hashes,
)
from edgekd.data.leak_check import near_picture
from edgekd.data.made_up import made_up_images
from edgekd.errors import DataError

MakeNpz = Callable[..., Path]
Prepare = Callable[..., Artifact]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    def run(path: Path, **config: object) -> Artifact:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        return prepare(Data(**{"path": str(path), "image_size": 16, "num_calibration_samples": 6, **config}), out)

    return run


def prints(images: np.ndarray) -> Fingerprints:
    return Fingerprints.of([fingerprint(Image.fromarray(image)) for image in images])


def part(images: np.ndarray, labels: str, name: str = "image") -> leaks.Part:
    return leaks.Part([f"{name}{index}" for index in range(len(images))], list(labels), prints(images))


# Fingerprints


def test_hashes_are_signs_of_the_cosine_transform() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (20, 16, 16)).astype(np.uint8)
    for thumbnail, found in zip(thumbnails, perceptual_hashes(thumbnails), strict=True):
        spectrum = dctn(thumbnail.astype(float), type=2)[:8, :8].ravel() / 4
        above = spectrum > np.median(spectrum[1:])
        expected = sum(1 << bit for bit in range(1, 64) if above[bit])
        assert int(found) == expected


def test_correlation_is_pearsons() -> None:
    thumbnails = np.random.default_rng(1).integers(0, 256, (5, 16, 16)).astype(np.uint8)
    expected = np.corrcoef(thumbnails.reshape(5, -1))[0, 1:]
    np.testing.assert_allclose(correlation(thumbnails[0], thumbnails[1:]), expected, atol=1e-12)


def test_the_digest_is_of_pixels_and_their_shape() -> None:
    row = Image.new("RGB", (4, 2), (1, 2, 3))
    column = Image.new("RGB", (2, 4), (1, 2, 3))
    assert fingerprint(row).digest == fingerprint(row.copy()).digest
    assert fingerprint(row).digest != fingerprint(column).digest


def changed(image: np.ndarray, how: str, tmp_path: Path) -> np.ndarray:
    picture = Image.fromarray(image)
    if how == "jpeg":
        picture.save(tmp_path / "copy.jpg", quality=75)
        return np.asarray(Image.open(tmp_path / "copy.jpg"))
    if how == "scaled":
        return np.asarray(picture.resize((40, 40), Image.Resampling.BICUBIC))
    if how == "brighter":
        return np.asarray(picture.point(lambda value: value * 0.8 + 20))
    noise = np.random.default_rng(2).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("how", ["jpeg", "scaled", "brighter", "noisy"])
def test_changed_copies_are_near_and_other_images_are_not(how: str, tmp_path: Path) -> None:
    images = made_up_images(40, 64, 7)
    copies = [Image.fromarray(changed(images[index], how, tmp_path)) for index in range(0, 40, 4)]
    second = Fingerprints.of([fingerprint(copy) for copy in copies])
    assert near_pairs(prints(images), second) == [(4 * index, index) for index in range(10)]


def test_exact_copies_and_blank_images_are_not_called_near() -> None:
    images = made_up_images(4, 32, 3)
    blank = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (10, 11)])
    assert near_pairs(prints(images), prints(images[:2])) == []
    assert near_pairs(prints(blank[:1]), prints(blank[1:])) == []
    assert near_pairs_within(prints(np.concatenate([images, images]))) == []


def test_near_pairs_within_name_the_earlier_image_first() -> None:
    images = made_up_images(6, 32, 4)
    darker = (images[2] * 0.9).astype(np.uint8)
    assert near_pairs_within(prints(np.concatenate([images, darker[None]]))) == [(2, 6)]


# What two splits share


def test_pairs_groups_and_conflicts_by_hand() -> None:
    a, b, c, d, e = made_up_images(5, 16, 0)
    parts = {
        "train": part(np.stack([a, b, a, c]), "xyxy", "train"),
        "val": part(np.stack([d, a]), "xx", "val"),
        "test": part(np.stack([b, e, a]), "xyy", "test"),
    }
    groups = leaks.same_images(parts)
    assert groups == [
        [("train", 0), ("train", 2), ("val", 1), ("test", 2)],
        [("train", 1), ("test", 0)],
    ]
    found = {(row.first, row.second): row.exact for row in leaks.between(parts, groups)}
    assert found == {("train", "val"): ((0, 1),), ("train", "test"): ((1, 0), (0, 2)), ("val", "test"): ((1, 2),)}
    assert leaks.conflicts(parts, groups) == groups  # a: x, x, x, y; b: y, x
    kept = leaks.without_copies(parts, groups)
    assert {name: mask.tolist() for name, mask in kept.items()} == {
        "train": [False, False, False, True],
        "val": [True, False],
        "test": [True, True, True],
    }


def leaking(make_npz: MakeNpz, count: int = 3) -> Path:
    """Of test's 10 images, the first so many are image 4 or 6 of train; all of class 0."""
    with np.load(make_npz()) as arrays:
        train, test = arrays["train_images"], arrays["test_images"].copy()
    test[[0, 2, 4][:count]] = train[[4, 4, 6][:count]]
    return make_npz("leak.npz", test_images=test)


def test_more_than_the_limit_is_an_error_with_the_remedies(make_npz: MakeNpz, prepared: Prepare) -> None:
    # 3 of 10 images of test; the published MedMNIST files have up to 1.6 %.
    with pytest.raises(DataError) as caught:
        prepared(leaking(make_npz), max_duplicates=0.29)
    message = str(caught.value)
    assert message.startswith("3 of 10 test images (30.0%) stand in train too, pixel for pixel")
    assert "data.max_duplicates = 0.29" in message
    assert '"train[4]" = "test[0]", "train[4]" = "test[2]", "train[6]" = "test[4]"' in message
    assert "--set data.deduplicate=true" in message


def test_at_the_limit_it_is_a_warning_and_a_fact(make_npz: MakeNpz, prepared: Prepare) -> None:
    facts = prepared(leaking(make_npz), max_duplicates=0.3).facts
    assert facts["leaks"]["exact"] == [
        {
            "splits": ["train", "test"],
            "num_images": 3,
            "pairs": [["train[4]", "test[0]"], ["train[4]", "test[2]"], ["train[6]", "test[4]"]],
            "places": [[4, 0], [4, 2], [6, 4]],
        }
    ]
    assert [text for text in facts["warnings"] if "pixel for pixel" in text] == [
        "3 image(s) of test stand in train too, pixel for pixel; "
        "--set data.deduplicate=true leaves them out of training"
    ]


def test_deduplicate_drops_them_from_train_alone(make_npz: MakeNpz, prepared: Prepare) -> None:
    path = leaking(make_npz)
    artifact = prepared(path, deduplicate=True, max_duplicates=0.0)
    plain, dataset = Dataset.open(prepared(path, max_duplicates=1.0)), Dataset.open(artifact)
    kept = [index for index in range(24) if index not in (4, 6)]
    np.testing.assert_array_equal(dataset.train.images, plain.train.images[kept])
    np.testing.assert_array_equal(dataset.train.labels, plain.train.labels[kept])
    np.testing.assert_array_equal(dataset.test.images, plain.test.images)
    assert (artifact.facts["num_train"], artifact.facts["leaks"]["dropped"]) == (22, {"train": 2})
    assert artifact.facts["leaks"]["exact"] == []
    assert "left out by data.deduplicate, as they stand in a later split too: 2 image(s) of train" in str(
        artifact.facts["warnings"]
    )
    assert max(artifact.facts["calibration_indices"]) < 22


def test_a_class_that_lost_all_its_images_is_told(make_npz: MakeNpz, prepared: Prepare) -> None:
    with np.load(make_npz()) as arrays:
        train, labels = arrays["train_images"], np.zeros(24, np.int64)
        test = arrays["test_images"].copy()
    labels[7], test[1] = 1, train[7]
    path = make_npz("one.npz", train_labels=labels, test_images=test)
    with pytest.raises(DataError, match='train has no image of class "class_1"'):
        prepared(path, deduplicate=True)


def test_one_image_with_two_labels_is_listed(make_npz: MakeNpz, prepared: Prepare) -> None:
    with np.load(make_npz()) as arrays:
        train = arrays["train_images"].copy()
    train[3] = train[0]
    facts = prepared(make_npz("torn.npz", train_images=train)).facts
    assert facts["leaks"]["conflicts"] == [{"images": ["train[0]", "train[3]"], "labels": ["class_0", "class_1"]}]
    assert "1 image(s) have several labels" in str(facts["warnings"])


def folder_of(root: Path, images: np.ndarray) -> Path:
    """Two classes in three splits, four images each, by name and number."""
    for number, image in enumerate(images[:24]):
        split, label = ("train", "val", "test")[number // 8], "ab"[number % 2]
        (root / split / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / split / label / f"p{number:02}_1.png")
    return root


def test_files_of_another_format_with_the_same_pixels_are_found(tmp_path: Path, prepared: Prepare) -> None:
    images = made_up_images(24, 20, 5)
    root = folder_of(tmp_path / "own", images)
    (root / "test" / "a" / "p16_1.png").unlink()
    Image.fromarray(images[0]).save(root / "test" / "a" / "p16_1.bmp")
    with pytest.raises(DataError, match=r'"train/a/p00_1\.png" = "test/a/p16_1\.bmp"'):
        prepared(root)
    # Where the names of files tell the patients, they are not written down.
    facts = prepared(root, max_duplicates=0.2, patient_pattern="(p[0-9]+)_").facts
    assert facts["leaks"]["exact"][0]["pairs"] == [["train[0]", "test[0]"]]


def test_near_pairs_are_drawn_and_shown_where_the_recipe_lets_them(
    shared_data: Path, tmp_path: Path, prepared: Prepare
) -> None:
    images = made_up_images(24, 20, 6)
    images[20] = (images[2] * 0.9).astype(np.uint8)
    own = prepared(folder_of(tmp_path / "own", images))
    pair = ["train/a/p02_1.png", "test/a/p20_1.png"]
    assert own.facts["leaks"]["near"] == [
        {"splits": ["train", "test"], "num_images": 1, "pairs": [pair], "places": [[1, 2]]}
    ]
    assert "1 image(s) of test are nearly the same as one of train" in str(own.facts["warnings"])
    picture = own.path / "near_duplicates.png"
    with Image.open(picture) as sheet:
        assert sheet.size == (2 * 100 + 4, 104)
    assert [near_picture(own, Report(shown)) for shown in ("never", "public", "always")] == [None, None, picture]
    public = prepared(shared_data / "breastmnist.npz", name="breastmnist")
    with Image.open(public.path / "near_duplicates.png") as sheet:
        assert sheet.size == (6 * 100 + 4, 8 * 100 + 4)  # 24 pairs, three in a row
    assert near_picture(public, Report("never")) is None
    assert near_picture(public, Report("public")) == public.path / "near_duplicates.png"
    plain = prepared(shared_data / "pneumoniamnist.npz", name="pneumoniamnist")
    assert near_picture(plain, Report("always")) is None  # there is no such pair


@pytest.mark.parametrize("name", ["pneumoniamnist", "breastmnist"])
def test_real_files_have_what_comparing_all_with_all_finds(shared_data: Path, name: str, prepared: Prepare) -> None:
    path = shared_data / f"{name}.npz"
    facts = prepared(path, name=name, image_size=28).facts
    with np.load(path) as arrays:
        images = {split: arrays[f"{split}_images"] for split in ("train", "val", "test")}
        labels = {split: arrays[f"{split}_labels"].ravel() for split in images}
    expected, torn = {}, 0
    for first, second in combinations(images, 2):
        equal = np.array([(images[first] == image).all(axis=(1, 2)) for image in images[second]])
        if equal.any():
            expected[first, second] = int(equal.any(axis=1).sum())
        torn += sum(labels[first][one] != labels[second][two] for two, one in np.argwhere(equal))
    found = {tuple(row["splits"]): row["num_images"] for row in facts["leaks"]["exact"]}
    assert found == expected
    # As the README beside the files states.
    assert found == {"pneumoniamnist": {("train", "val"): 8}, "breastmnist": {("train", "test"): 1}}[name]
    assert len(facts["leaks"]["conflicts"]) == torn == {"pneumoniamnist": 0, "breastmnist": 1}[name]
