"""The paired bootstrap, against images that are really drawn anew, and against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edgekd import statistics
from edgekd.verification import bootstrap


def scores(generator: np.random.Generator, labels: np.ndarray, decimals: int = 6) -> tuple[np.ndarray, np.ndarray]:
    latent = generator.normal(size=len(labels)) + labels
    return tuple(np.round(latent + generator.normal(0, noise, len(labels)), decimals) for noise in (0.5, 0.9))


def one_label(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    return bootstrap.auc_interval(first[:, None], second[:, None], labels[:, None], labels)


def test_mean_interval_is_that_of_images_drawn_anew() -> None:
    """Of 20,000 draws with other numbers: the ends agree within what 2,000 draws leave open."""
    generator = np.random.default_rng(3)
    differences = generator.choice([-1, 0, 1], 300, p=[0.1, 0.83, 0.07])
    drawn = generator.choice(differences, (20_000, 300)).mean(axis=1)
    assert bootstrap.mean_interval(differences) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.004)


def test_mean_interval_by_hand() -> None:
    # One image of four differs: the number of times it is drawn is binomial (4, 1/4); 0 has a chance of 0.32, and
    # 3 or more one of 0.051, 4 one of 0.004: so the 97.5 % quantile is 3.
    assert bootstrap.mean_interval(np.array([0, 0, 0, 1])) == (0.0, 0.75)
    assert bootstrap.mean_interval(np.zeros(9)) == (0.0, 0.0)


@pytest.mark.parametrize("decimals", [1, 6])
def test_weighted_areas_are_those_of_repeated_images(decimals: int) -> None:
    generator = np.random.default_rng(0)
    labels = np.array([1] * 17 + [0] * 30)
    first, _ = scores(generator, labels, decimals)
    weights = generator.integers(0, 4, (20, 47)).astype(float)
    expected = [roc_auc_score(np.repeat(labels, row.astype(int)), np.repeat(first, row.astype(int))) for row in weights]
    assert bootstrap._areas(first, labels == 1, weights) == pytest.approx(expected)


def test_strata_keep_their_counts() -> None:
    strata = np.array([0, 1, 1, 0, 2, 1])
    weights = bootstrap._redrawn(np.random.default_rng(0), 500, strata)
    for stratum, count in ((0, 2), (1, 3), (2, 1)):
        assert set(weights[:, strata == stratum].sum(axis=1)) == {count}
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.12)


def test_auc_interval_is_close_to_delongs() -> None:
    generator = np.random.default_rng(1)
    labels = (np.arange(500) % 3 == 0).astype(int)
    first, second = scores(generator, labels)
    delong = statistics.delong_difference(first, second, labels)
    low, high = one_label(first, second, labels)
    assert (low, high) == pytest.approx((delong.low, delong.high), abs=0.1 * (delong.high - delong.low))


def test_the_same_images_give_the_same_interval() -> None:
    generator = np.random.default_rng(2)
    labels = (np.arange(60) % 2).astype(int)
    first, second = scores(generator, labels)
    assert one_label(first, second, labels) == one_label(first, second, labels)
    assert one_label(first, first, labels) == (0.0, 0.0)


def test_draws_without_a_label_are_left_out() -> None:
    """One image of six has the second label: a third of the draws lack it, and have no AUC."""
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 0], [1, 0], [0, 0]])
    generator = np.random.default_rng(0)
    first, second = generator.random((6, 2)), generator.random((6, 2))
    low, high = bootstrap.auc_interval(first, second, labels, np.zeros(6, int))
    assert -1 <= low < high <= 1


def test_mean_interval_covers_the_truth() -> None:
    generator, covered = np.random.default_rng(0), 0
    for _ in range(300):
        low, high = bootstrap.mean_interval(generator.choice([-1, 0, 1], 300, p=[0.1, 0.84, 0.06]))
        covered += low <= -0.04 <= high
    assert 272 <= covered <= 296  # 285 expected, standard deviation 3.8; a percentile interval is a little narrow


def test_auc_interval_covers_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of two normal distributions one apart: AUC = Phi(1 / sqrt(2 (1 + noise**2)))."""
    from scipy.stats import norm

    monkeypatch.setattr(bootstrap, "NUM_DRAWS", 400)
    truth = float(np.diff([norm.cdf(1 / np.sqrt(2 * (1 + noise**2))) for noise in (0.9, 0.5)])[0])
    labels = (np.arange(150) % 2).astype(int)
    generator, covered = np.random.default_rng(0), 0
    for _ in range(300):
        low, high = one_label(*scores(generator, labels), labels)
        covered += low <= truth <= high
    assert 270 <= covered <= 296
