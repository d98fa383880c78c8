"""What the calibration images lack of val: classes and grey levels."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.data.coverage import brightness, chance, coverage_warnings

NAMES = ("normal", "rare")


def greys(*levels: int) -> np.ndarray:
    return np.stack([np.full((4, 4, 3), level, np.uint8) for level in levels])


def test_figures_of_an_image_by_hand() -> None:
    image = np.zeros((10, 10, 1), np.uint8)
    image.ravel()[:2] = 200  # 98 black, 2 of 200: the mean is 4
    np.testing.assert_array_equal(brightness(image[None]), [[4.0, 0.0, 200.0]])


def test_chance_by_hand() -> None:
    # Two val and one calibration image: the brightest is of val in 2 of 3 orders, the two brightest in 1 of 3.
    assert chance(1, 2, 1) == pytest.approx(2 / 3)
    assert chance(2, 2, 1) == pytest.approx(1 / 3)
    assert chance(0, 5, 5) == 1


def test_a_class_without_a_calibration_image_is_named() -> None:
    images = greys(*range(100, 140))
    labels = np.arange(40) % 2
    found = coverage_warnings(images, np.zeros(40, np.int64), images, labels, NAMES)
    assert found == [
        'no calibration image of class "rare", of which val has some: INT8 is not calibrated for them; raise '
        "data.num_calibration_samples, or put such images into train"
    ]
    several = np.stack([np.ones(40, np.int64), labels], axis=1)
    calibration = np.stack([np.ones(40, np.int64), np.zeros(40, np.int64)], axis=1)
    assert coverage_warnings(images, calibration, images, several, NAMES) == found


def test_brighter_val_is_told_with_both_ranges() -> None:
    labels = np.zeros(40, np.int64)
    found = coverage_warnings(greys(*range(40, 80)), labels, greys(*range(60, 100)), labels, NAMES[:1])
    assert len(found) == 3  # mean, 1st and 99th percentile of an even grey are one
    # 84 to 99: more than four levels above 79.
    assert "16 of 40 val images have a mean grey level above that of all 40 calibration images" in found[0]
    assert "(40 to 79; val has 60 to 99)" in found[0]
    assert "data.num_calibration_samples" in found[0]


def test_darker_val_is_told_too() -> None:
    labels = np.zeros(40, np.int64)
    found = coverage_warnings(greys(*range(60, 100)), labels, greys(*range(40, 80)), labels, NAMES[:1])
    assert all(" below that of all 40 " in text for text in found)
    assert len(found) == 3


def test_what_chance_explains_is_not_told() -> None:
    """One val image of 40 beyond one calibration image: half of all draws are like that."""
    generator = np.random.default_rng(0)
    images = greys(*generator.integers(40, 200, 80))
    labels = np.zeros(40, np.int64)
    assert coverage_warnings(images[:40], labels, images[40:], labels, NAMES[:1]) == []
    assert coverage_warnings(images[:2], labels[:2], images[2:42], labels, NAMES[:1]) == []
