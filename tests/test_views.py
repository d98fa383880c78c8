from __future__ import annotations

import dataclasses
import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd import recipe
from edgekd.config.training import Views
from edgekd.errors import RecipeError
from edgekd.views import draw_mixture, render, set_scene, uniform, view_parameters
from edgekd.views import show as show_scene

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
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
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


POOL = np.random.default_rng(1).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
CHOSEN = np.arange(3, 33)


def mixed(views: Views, seed: int = 5, samples: np.ndarray = CHOSEN, view: int = 2) -> np.ndarray:
    return np.asarray(show_scene(set_scene(views, seed, POOL, samples, view)[0]))


def test_nothing_is_mixed_unless_asked_for() -> None:
    scene, mixture = set_scene(EVERYTHING, 5, POOL, CHOSEN, 2)
    assert mixture is None
    assert scene.partner == ()
    np.testing.assert_array_equal(mixed(EVERYTHING), show(EVERYTHING, 5, CHOSEN, 2, POOL[CHOSEN]))


def test_mixup_is_the_weighted_sum_of_two_images() -> None:
    views = Views(mixup_alpha=0.8)
    mixture = draw_mixture(views, 5, CHOSEN, 2, len(POOL), 16)
    assert mixture is not None
    share = mixture.share[:, None, None, None]
    expected = share * POOL[CHOSEN] + (1 - share) * POOL[mixture.partners]
    np.testing.assert_allclose(mixed(views), expected, atol=1e-4)
    assert mixture.share.std() > 0.01


def test_cutmix_pastes_a_box_and_counts_its_pixels() -> None:
    views = Views(cutmix_alpha=1.0)
    mixture = draw_mixture(views, 5, CHOSEN, 2, len(POOL), 16)
    assert mixture is not None
    for index, image in enumerate(mixed(views)):
        expected = POOL[CHOSEN[index]].copy()
        top, left, bottom, right = mixture.boxes[index]
        expected[top:bottom, left:right] = POOL[mixture.partners[index], top:bottom, left:right]
        np.testing.assert_array_equal(image, expected.astype(np.float32))
        pasted = np.zeros((16, 16))
        pasted[top:bottom, left:right] = 1
        assert mixture.share[index] == np.float32(1 - pasted.mean())
    assert len(np.unique(mixture.share)) > 10


def test_a_partner_is_shown_by_its_own_parameters() -> None:
    views = dataclasses.replace(EVERYTHING, mixup_alpha=1.0)
    mixture = draw_mixture(views, 5, CHOSEN, 2, len(POOL), 16)
    assert mixture is not None
    share = mixture.share[:, None, None, None]
    own = show(EVERYTHING, 5, CHOSEN, 2, POOL[CHOSEN])
    partner = show(EVERYTHING, 5, mixture.partners, 2, POOL[mixture.partners])
    np.testing.assert_allclose(mixed(views), share * own + (1 - share) * partner, atol=1e-4)


def test_shares_and_partners_are_distributed_as_published() -> None:
    samples = np.arange(20_000)
    for alpha in (0.2, 1.0, 3.0):
        mixture = draw_mixture(Views(mixup_alpha=alpha), 0, samples, 0, 20_000, 16)
        assert mixture is not None
        # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)), at most 1/4: five standard deviations of the mean are 0.018.
        assert abs(mixture.share.mean() - 0.5) < 0.018
        assert mixture.share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    mixture = draw_mixture(Views(mixup_alpha=1.0), 0, samples, 0, 5, 16)
    assert mixture is not None
    steps = (mixture.partners - samples) % 5
    # Each of the four others has a chance of 1/4, with a standard deviation of 0.003.
    np.testing.assert_allclose(np.bincount(steps, minlength=5) / 20_000, [0, 0.25, 0.25, 0.25, 0.25], atol=0.016)


def test_both_share_the_views_evenly() -> None:
    mixture = draw_mixture(Views(mixup_alpha=1.0, cutmix_alpha=1.0), 0, np.arange(20_000), 0, 20_000, 32)
    assert mixture is not None
    whole = np.all(mixture.boxes == [0, 0, 32, 32], axis=1)
    assert abs(np.mean(whole & (mixture.kept > 0)) - 0.5) < 0.018
    assert np.all(mixture.kept[~whole] == 0)
    assert np.all((mixture.share >= 0) & (mixture.share <= 1))


def test_a_mixture_does_not_depend_on_its_batch_and_changes_with_the_view() -> None:
    views = dataclasses.replace(EVERYTHING, mixup_alpha=0.4, cutmix_alpha=1.0)
    np.testing.assert_array_equal(mixed(views)[4:9], mixed(views, samples=CHOSEN[4:9]))
    assert not np.array_equal(mixed(views), mixed(views, view=3))
    assert not np.array_equal(mixed(views), mixed(views, seed=6))


def test_another_process_mixes_the_same_pixels() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import dataclasses, hashlib, test_views as t; "
        "views = dataclasses.replace(t.EVERYTHING, mixup_alpha=0.4, cutmix_alpha=1.0); "
        "print(hashlib.sha256(t.mixed(views).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    views = dataclasses.replace(EVERYTHING, mixup_alpha=0.4, cutmix_alpha=1.0)
    assert done.stdout.strip() == hashlib.sha256(mixed(views).tobytes()).hexdigest()


@pytest.mark.parametrize(("key", "value"), [("mixup_alpha", -0.1), ("cutmix_alpha", 101.0), ("mixup_alpha", math.nan)])
def test_an_alpha_out_of_range_is_refused(key: str, value: float) -> None:
    with pytest.raises(RecipeError, match=rf"distill.views.{key} = .*: allowed: at least 0 and at most 100"):
        recipe.load("quickstart", {f"distill.views.{key}": value})
