from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np

from edgekd.recipe import Views
from edgekd.views import render, uniform, view_parameters

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
SAMPLES = np.array([3, 14, 15, 92, 65, 35])
EVERYTHING = Views(
    horizontal_flip=True,
    vertical_flip=True,
    max_shift=0.2,
    max_rotation=20,
    max_zoom=0.1,
    max_brightness=0.1,
    max_contrast=0.2,
)


def show(views: Views, seed: int, samples: np.ndarray, view: int, images: np.ndarray) -> np.ndarray:
    parameters = view_parameters(views, seed, samples, view, images.shape[1])
    rendered = render(images, parameters.transforms, parameters.contrast, parameters.brightness)
    return np.asarray(rendered)


def test_no_augmentation_shows_the_image() -> None:
    np.testing.assert_array_equal(show(Views(), 0, SAMPLES, 0, IMAGES), IMAGES.astype(np.float32))


def test_flips_are_exact() -> None:
    seen = set()
    for view in range(8):
        for image, shown in zip(IMAGES, show(Views(horizontal_flip=True), 1, SAMPLES, view, IMAGES), strict=True):
            is_plain, is_mirrored = np.array_equal(shown, image), np.array_equal(shown, image[:, ::-1])
            assert is_plain or is_mirrored
            seen.add(is_mirrored)
    assert seen == {True, False}


def test_a_shift_moves_by_whole_pixels_and_reflects_at_the_edge() -> None:
    parameters = view_parameters(Views(max_shift=0.25), 5, SAMPLES, 2, 16)
    shown = np.asarray(render(IMAGES, parameters.transforms, parameters.contrast, parameters.brightness))
    for index, image in enumerate(IMAGES):
        dx, dy = (int(value) for value in parameters.transforms[index, [2, 5]])
        assert abs(dx) <= 4
        assert abs(dy) <= 4
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="symmetric")
        np.testing.assert_array_equal(shown[index], padded[4 + dy : 20 + dy, 4 + dx : 20 + dx].astype(np.float32))


def test_a_view_does_not_depend_on_its_batch() -> None:
    whole = show(EVERYTHING, 7, SAMPLES, 3, IMAGES)
    part = show(EVERYTHING, 7, SAMPLES[2:4], 3, IMAGES[2:4])
    np.testing.assert_array_equal(whole[2:4], part)


def test_views_seeds_and_samples_differ() -> None:
    base = show(EVERYTHING, 7, SAMPLES, 3, IMAGES)
    assert not np.array_equal(base, show(EVERYTHING, 7, SAMPLES, 4, IMAGES))
    assert not np.array_equal(base, show(EVERYTHING, 8, SAMPLES, 3, IMAGES))
    assert not np.array_equal(base, show(EVERYTHING, 7, SAMPLES + 1, 3, IMAGES))


def test_another_process_shows_the_same_pixels() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import hashlib, test_views as t; "
        "print(hashlib.sha256(t.show(t.EVERYTHING, 7, t.SAMPLES, 3, t.IMAGES).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(__import__("pathlib").Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = hashlib.sha256(show(EVERYTHING, 7, SAMPLES, 3, IMAGES).tobytes()).hexdigest()
    assert done.stdout.split()[-1] == expected


def test_pixels_stay_in_range() -> None:
    shown = show(Views(max_brightness=0.5, max_contrast=0.9), 0, SAMPLES, 0, IMAGES)
    assert shown.min() >= 0
    assert shown.max() <= 255


def test_uniform_numbers_are_uniform_and_not_correlated() -> None:
    samples = np.arange(20_000)
    first, second = uniform(0, samples, 0, 0), uniform(0, samples, 1, 0)
    assert first.min() >= 0
    assert first.max() < 1
    # The mean of 20,000 has a standard deviation of sqrt(1/12/20000) = 0.002; five of them.
    assert abs(first.mean() - 0.5) < 0.0102
    assert abs(first.var() - 1 / 12) < 0.003
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.036
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.036
