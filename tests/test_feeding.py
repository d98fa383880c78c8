"""Wrongly fed images: what each fault does to pixels, and the table that tells them apart."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgekd.data.made_up import made_up_images
from edgekd.tasks import TASKS
from edgekd.verification import feeding
from edgekd.verification.feeding import FAULTS, preprocessing_faults

IMAGES = made_up_images(8, 32, 1)


def redness(images: np.ndarray) -> np.ndarray:
    """Two classes, blue and red, by the means of the colours."""
    difference = images[..., 0].mean(axis=(1, 2)) - images[..., 2].mean(axis=(1, 2))
    red = 1 / (1 + np.exp(-difference))
    return np.stack([1 - red, red], axis=1)


@pytest.mark.parametrize("name", FAULTS)
def test_faults_keep_shape_and_type(name: str) -> None:
    fed = FAULTS[name].apply(IMAGES)
    assert (fed.shape, fed.dtype) == (IMAGES.shape, np.uint8)
    assert not np.array_equal(fed, IMAGES)


def test_pixels_by_hand() -> None:
    pixels = np.array([[[[0, 127, 255]]]], np.uint8)
    assert feeding.bgr(pixels).ravel().tolist() == [255, 127, 0]
    assert feeding.unit_range(pixels).ravel().tolist() == [0, 0, 1]
    assert feeding.inverted(pixels).ravel().tolist() == [255, 128, 0]
    # -128, -1 and 127 as int8 are the bytes 128, 255 and 127.
    assert feeding.minus_128(pixels).ravel().tolist() == [128, 255, 127]


def test_center_crop_is_pillows() -> None:
    expected = Image.fromarray(IMAGES[0]).crop((2, 2, 30, 30)).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(feeding.center_crop(IMAGES)[0], np.asarray(expected))


def test_letterbox_has_black_bars_of_an_eighth() -> None:
    white = np.full((1, 32, 32, 3), 255, np.uint8)
    rows = feeding.letterboxed(white)[0].min(axis=(1, 2))
    assert rows.tolist() == [0] * 4 + [255] * 24 + [0] * 4


def test_nearest_neighbour_makes_no_new_colours() -> None:
    small = Image.fromarray(IMAGES[0]).resize((28, 28), Image.Resampling.BILINEAR)
    fed = FAULTS["nearest"].apply(IMAGES)[0]
    assert {tuple(pixel) for pixel in fed.reshape(-1, 3)} <= {tuple(p) for p in np.asarray(small).reshape(-1, 3)}


def test_a_model_of_colours_is_wrong_with_bgr_and_right_upside_down() -> None:
    labels = np.array([0, 1, 1, 0, 1, 1, 0, 1])
    images = IMAGES // 2
    images[np.arange(8), ..., np.where(labels, 0, 2)] += 100
    found = preprocessing_faults(images, labels, redness, ["blue", "red"], TASKS["binary"])
    rows = {row["fault"]: row for row in found["rows"]}
    assert list(rows) == ["none", *FAULTS]
    assert found["num_images"] == 8
    assert (rows["none"]["accuracy"], rows["none"]["agreement"], rows["none"]["note"]) == (1.0, 1.0, None)
    assert (rows["bgr"]["accuracy"], rows["bgr"]["agreement"]) == (0.0, 0.0)
    assert rows["inverted"]["accuracy"] == 0.0
    assert rows["nearest"]["accuracy"] == 1.0
    assert rows["unit_range"]["mean_confidence"] < 0.6
    assert (rows["none"]["commonest"], rows["none"]["commonest_share"]) == ("red", 5 / 8)
    assert (rows["bgr"]["commonest"], rows["bgr"]["commonest_share"]) == ("blue", 5 / 8)


def test_bgr_says_that_it_does_nothing_to_grey_images() -> None:
    grey = np.repeat(IMAGES[..., :1], 3, axis=3)
    labels = np.arange(8) % 2
    rows = preprocessing_faults(grey, labels, redness, ["blue", "red"], TASKS["binary"])["rows"]
    notes = {row["fault"]: row["note"] for row in rows if row["note"]}
    assert notes == {"bgr": "no effect on grey images"}


def test_labels_give_the_one_that_is_found_most() -> None:
    def predict(images: np.ndarray) -> np.ndarray:
        return np.tile([0.2, 0.9, 0.6], (len(images), 1))

    found = preprocessing_faults(IMAGES, np.ones((8, 3), int), predict, list("abc"), TASKS["multi-label"])
    assert (found["rows"][0]["commonest"], found["rows"][0]["commonest_share"]) == ("b", 1.0)
