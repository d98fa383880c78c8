"""What is done to pictures: by hand on single pixels, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from edgekd.data.made_up import made_up_images
from edgekd.verification.corruptions import CORRUPTIONS, blur, brighter, darker, is_grey, jpeg, noise, shift

IMAGES = made_up_images(6, 32, 0)
GREY = np.repeat(IMAGES[..., :1], 3, axis=3)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_step_moves_the_pictures_further(kind: str) -> None:
    corruption = CORRUPTIONS[kind]
    before = IMAGES.copy()
    changed = [corruption.apply(IMAGES, severity, 0) for severity in corruption.severities]
    assert all(images.shape == IMAGES.shape and images.dtype == np.uint8 for images in changed)
    far = [np.mean(np.abs(images.astype(int) - IMAGES)) for images in changed]
    assert far[0] > 0
    assert far == sorted(far)
    np.testing.assert_array_equal(IMAGES, before)
    np.testing.assert_array_equal(changed[0], corruption.apply(IMAGES, corruption.severities[0], 0))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_grey_stays_grey(kind: str) -> None:
    corruption = CORRUPTIONS[kind]
    assert is_grey(corruption.apply(GREY, corruption.severities[1], 0)).all()


def test_grey_is_told_image_by_image() -> None:
    assert is_grey(np.concatenate([GREY[:1], IMAGES[:1]])).tolist() == [True, False]


def test_brightness_is_cut_off() -> None:
    pixels = np.array([0, 10, 128, 250], np.uint8).reshape(1, 2, 2, 1).repeat(3, axis=3)
    assert brighter(pixels, 16, 0)[0, :, :, 0].ravel().tolist() == [16, 26, 144, 255]
    assert darker(pixels, 16, 0)[0, :, :, 0].ravel().tolist() == [0, 0, 112, 234]


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    flat = np.full((4, 64, 64, 3), 128, np.uint8)
    flat[:2, :, :, 0] = 127  # two coloured images
    drawn = noise(flat, 8, 0).astype(float) - flat
    assert drawn.std() == pytest.approx(8, abs=0.2)
    assert abs(drawn.mean()) < 0.2
    correlation = np.corrcoef(drawn[0, :, :, 0].ravel(), drawn[0, :, :, 1].ravel())[0, 1]
    assert abs(correlation) < 0.05
    np.testing.assert_array_equal(drawn[3, :, :, 0], drawn[3, :, :, 2])


def test_blur_is_gaussian() -> None:
    """Pillow approximates it by boxes: within a few grey levels of SciPy's on a soft picture."""
    soft = np.asarray(np.rint(gaussian_filter(GREY[0, :, :, 0].astype(float), 2)), np.uint8)
    found = blur(np.repeat(soft[None, :, :, None], 3, axis=3), 5, 0)[0, 4:-4, 4:-4, 0]
    expected = gaussian_filter(soft.astype(float), 0.05 * 32, mode="nearest")[4:-4, 4:-4]
    assert np.abs(found - expected).max() <= 4


def test_shift_moves_by_whole_pixels_and_repeats_the_edge() -> None:
    ramp = np.arange(32, dtype=np.uint8)[None, :, None].repeat(32, axis=0).repeat(3, axis=2)
    moved = shift(np.stack([ramp] * 64), 6, 0)  # 1.92 pixels: two
    first = {tuple(row) for row in moved[:, 0, :4, 0].tolist()}
    assert first == {(0, 1, 2, 3), (0, 0, 0, 1), (2, 3, 4, 5)}
    assert shift(np.stack([ramp] * 8), 0.1, 0).tolist() != np.stack([ramp] * 8).tolist()  # at least one pixel


def test_jpeg_of_high_quality_is_near_the_picture() -> None:
    assert np.abs(jpeg(GREY, 95, 0).astype(int) - GREY).mean() < 2
