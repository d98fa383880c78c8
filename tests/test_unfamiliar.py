"""Other pictures, and what confidence in them says."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.tasks import TASKS
from edgekd.verification.corruptions import is_grey
from edgekd.verification.unfamiliar import CELLS, NOISE, confidence, out_of_distribution, unfamiliar_pictures

COLOURED = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)


def test_pictures_are_of_the_model_s_size_and_repeat() -> None:
    found = unfamiliar_pictures(COLOURED, 5)
    assert set(found) == {NOISE, CELLS}
    assert {images.shape for images in found.values()} == {(5, 32, 32, 3)}
    again = unfamiliar_pictures(COLOURED, 5)
    assert all(np.array_equal(found[name], again[name]) for name in found)
    assert len({image.tobytes() for image in found[CELLS]}) == 5


def test_cells_are_no_strangers_to_cells() -> None:
    assert set(unfamiliar_pictures(COLOURED, 2, cells=False)) == {NOISE}


def test_colours_do_not_give_strangers_away_among_grey_images() -> None:
    grey = np.repeat(COLOURED[..., :1], 3, axis=3)
    assert all(is_grey(images).all() for images in unfamiliar_pictures(grey, 3).values())
    assert not any(is_grey(images).any() for images in unfamiliar_pictures(COLOURED, 3).values())


def test_confidence_by_hand() -> None:
    probs = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]])
    assert confidence(probs, TASKS["multi-class"]).tolist() == [0.5, 0.9]
    assert confidence(probs, TASKS["multi-label"]) == pytest.approx([(0.8 + 0.5 + 0.7) / 3, (0.9 + 0.95 + 0.95) / 3])


def test_auroc_by_hand() -> None:
    """Of 4 x 4 pairs 15 are won and one ties."""
    own, others = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.6, 0.5, 0.3, 0.2])
    (row,) = out_of_distribution(own, {"tulips": others}, 0.4)
    assert row["auroc"] == pytest.approx((15 + 0.5) / 16)
    # DeLong: placements 1, 1, 1, 7/8 and 7/8, 1, 1, 1, variances 1/256 each.
    assert row["ci95"] == pytest.approx([15.5 / 16 - 1.959964 * np.sqrt(2 / 256 / 4), 1.0], abs=1e-6)
    assert (row["withheld"], row["mean_confidence"]) == (0.5, pytest.approx(0.4))
    assert row["text"].startswith("Tulips: the model is less sure of them than of its own images, 0.40 against 0.75")
    assert row["text"].endswith(
        "n = 4; below its level of abstention, 0.400, lie 50 % of them, and the rest it answers"
    )


@pytest.mark.parametrize(
    ("shift", "verdict", "words"),
    [(-0.2, "shown", "less sure"), (0, "not shown", "not shown"), (0.2, "refuted", "SURER")],
)
def test_verdicts(shift: float, verdict: str, words: str) -> None:
    own = np.linspace(0.5, 0.7, 100)
    (row,) = out_of_distribution(own, {"tulips": own + shift}, None)
    assert row["verdict"] == verdict
    assert words in row["text"]
    assert row["withheld"] is None
    assert "abstention" not in row["text"]
