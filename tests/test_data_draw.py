from __future__ import annotations

import numpy as np
import pytest

from edgekd.data.draw import draw
from edgekd.errors import DataError

SHARES = {"test": 0.15, "val": 0.15}


def hot(labels: list[int] | np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    return np.eye(labels.max() + 1, dtype=np.int64)[labels]


def run(strata: np.ndarray, units: np.ndarray | None = None, seed: int = 0, unit: str = "images") -> np.ndarray:
    units = np.arange(len(strata)) if units is None else units
    names = [f"c{index}" for index in range(strata.shape[1])]
    return np.array(draw(strata, units, SHARES, seed, names, where='"here"', unit=unit))


def counts(strata: np.ndarray, parts: np.ndarray) -> dict[str, list[int]]:
    return {split: strata[parts == split].sum(axis=0).tolist() for split in ("train", "val", "test")}


def test_single_images_meet_the_wanted_counts_exactly() -> None:
    strata = hot([0] * 100 + [1] * 41 + [2] * 3)
    # rint(15), rint(6.15), and at least one of the three.
    assert counts(strata, run(strata)) == {"train": [70, 29, 1], "val": [15, 6, 1], "test": [15, 6, 1]}


def test_the_seed_decides_and_repeats() -> None:
    strata = hot([0, 1] * 60)
    np.testing.assert_array_equal(run(strata), run(strata))
    assert (run(strata) != run(strata, seed=1)).any()


def test_no_unit_is_divided_and_shares_are_near() -> None:
    generator = np.random.default_rng(3)
    units = np.repeat(np.arange(120), generator.integers(1, 9, 120))
    labels = (generator.random(120) < 0.3).astype(int)[units]
    flipped = generator.random(len(units)) < 0.1  # patients with both
    strata = hot(np.where(flipped, 1 - labels, labels))
    parts = run(strata, units)
    for unit in range(120):
        assert len(set(parts[units == unit])) == 1
    found, size = counts(strata, parts), strata.sum(axis=0)
    for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        np.testing.assert_allclose(found[split] / size, share, atol=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_three_patients_is_in_all_three_splits(seed: int) -> None:
    # Three patients with many images each: the shares alone would send them all to train.
    units = np.concatenate([np.repeat(np.arange(3), 10), np.arange(3, 40)])
    strata = hot([1] * 30 + [0] * 37)
    found = counts(strata, run(strata, units, seed, "patients"))
    assert [found[split][1] for split in found] == [10, 10, 10]


def test_several_labels_are_shared_out_too() -> None:
    generator = np.random.default_rng(0)
    strata = (generator.random((400, 5)) < [0.5, 0.3, 0.1, 0.05, 0.02]).astype(np.int64)
    found = counts(strata, run(strata))
    for split, share in SHARES.items():
        np.testing.assert_allclose(found[split], share * strata.sum(axis=0), atol=2.5)


def test_too_few_is_said_in_images_or_patients() -> None:
    with pytest.raises(
        DataError, match=r'"here": class "c1" has too few images for train, test, val: 2; at least 3 are wanted'
    ):
        run(hot([0] * 10 + [1] * 2))
    with pytest.raises(
        DataError, match=r"too few patients .*: 2; at least 3 are wanted; where they are known wrongly, data.patient"
    ):
        run(hot([0] * 10 + [1] * 6), np.array([*range(10), 10, 10, 10, 11, 11, 11]), unit="patients")


def test_what_cannot_be_shared_out_is_an_error() -> None:
    # Each of four patients lacks one of four labels, and two splits can have only one patient.
    with pytest.raises(DataError, match=r"was found that keeps patients whole; try another data\.split_seed"):
        run(1 - np.eye(4, dtype=np.int64), unit="patients")
