"""Intervals, tests and verdicts, against published tables, hand calculation and plain implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from edgekd import statistics
from edgekd.statistics import Interval


def paired(gains: int, losses: int, equal: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models of which the first alone is right ``gains`` times and the second alone ``losses`` times."""
    first = np.array([True] * gains + [False] * losses + [True] * equal)
    second = np.array([False] * gains + [True] * losses + [True] * equal)
    return first, second


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_is_the_published_one(successes: int, count: int, low: float, high: float) -> None:
    assert statistics.wilson_interval(successes, count) == pytest.approx((low, high), abs=5e-5)
    assert statistics.wilson_interval(count - successes, count) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_mcnemar_by_hand() -> None:
    # Exact: twice the binomial tail of the smaller count. 0 of 6: 2 / 64. 2 of 12: 2 * (1 + 12 + 66) / 4096.
    assert statistics.mcnemar_p(*paired(6, 0, 50)) == pytest.approx(2 / 64)
    assert statistics.mcnemar_p(*paired(2, 10, 3)) == pytest.approx(158 / 4096)
    assert statistics.mcnemar_p(*paired(10, 2, 3)) == pytest.approx(158 / 4096)
    assert statistics.mcnemar_p(*paired(4, 4, 3)) == 1


def test_mcnemar_of_models_that_never_differ() -> None:
    assert statistics.mcnemar_p(*paired(0, 0, 7)) == 1


def test_mcnemar_looks_at_discordant_images_alone() -> None:
    both_wrong = np.zeros(1000, bool)
    first, second = paired(3, 9, 5)
    expected = statistics.mcnemar_p(first, second)
    assert statistics.mcnemar_p(np.append(first, both_wrong), np.append(second, both_wrong)) == expected


def test_paired_difference_of_many_is_the_published_one() -> None:
    """Agresti, "Categorical data analysis", table of prime minister ratings: 1600 people asked twice.

    86 and 150 changed their minds; the difference is -0.04 with standard error 0.0095, the 95 % interval
    (-0.06, -0.02).
    """
    found = statistics.paired_difference(*paired(86, 150, 1364))
    assert found.estimate == pytest.approx(-0.04)
    standard_error = math.sqrt(((86 + 150) / 1600 - 0.04**2) / 1600)
    assert standard_error == pytest.approx(0.0095, abs=5e-5)
    assert found.low == pytest.approx(-0.04 - 1.96 * standard_error, abs=3e-4)
    assert found.high == pytest.approx(-0.04 + 1.96 * standard_error, abs=3e-4)


@pytest.mark.parametrize("count", [1, 4, 156, 624])
def test_models_that_never_differ_leave_the_width_that_the_images_leave(count: int) -> None:
    """The score of a difference d is then sqrt(n d / (1 - d)); it reaches 1.96 at 3.84 / (n + 3.84)."""
    square = norm.ppf(0.975) ** 2
    end = square / (count + square)
    found = statistics.paired_difference(*paired(0, 0, count))
    assert (found.estimate, found.low, found.high) == pytest.approx((0, -end, end), abs=1e-7)


def test_no_loss_is_not_shown_by_four_images() -> None:
    assert statistics.no_loss_verdict(statistics.paired_difference(*paired(0, 0, 4)), 0.02) == "not shown"
    assert statistics.no_loss_verdict(statistics.paired_difference(*paired(0, 0, 624)), 0.02) == "shown"


@pytest.mark.parametrize("counts", [(9, 4, 67), (0, 5, 95), (3, 0, 10), (1, 1, 2), (0, 7, 0), (7, 0, 0)])
def test_ends_are_where_the_score_test_rejects(counts: tuple[int, int, int]) -> None:
    """The likelihood is maximised on a grid here, where the module has a formula."""
    gains, losses, equal = counts
    count = sum(counts)

    def score(difference: float) -> float:
        grid = np.linspace(max(0.0, -difference), (1 - difference) / 2 if difference > -1 else 1.0, 200_001)[1:-1]
        gain, loss = grid + difference, grid
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = [
                number * np.log(chance) if number else 0.0
                for number, chance in ((gains, gain), (losses, loss), (equal, 1 - gain - loss))
            ]
        best = grid[int(np.argmax(np.nan_to_num(sum(terms) + 0 * grid, nan=-np.inf)))]
        variance = count * (2 * best + difference - difference**2)
        return (gains - losses - count * difference) / math.sqrt(variance)

    found = statistics.paired_difference(*paired(*counts))
    assert found.low <= found.estimate <= found.high
    if found.high < 1:
        assert score(found.high) == pytest.approx(-norm.ppf(0.975), abs=2e-3)
    else:
        assert losses == equal == 0
    if found.low > -1:
        assert score(found.low) == pytest.approx(norm.ppf(0.975), abs=2e-3)
    else:
        assert gains == equal == 0


def test_paired_difference_turns_with_its_order() -> None:
    first, second = paired(30, 12, 200)
    found, turned = statistics.paired_difference(first, second), statistics.paired_difference(second, first)
    assert (turned.estimate, turned.low, turned.high) == pytest.approx((-found.estimate, -found.high, -found.low))


def test_order_of_images_does_not_matter() -> None:
    first, second = paired(30, 12, 200)
    shuffled = np.random.default_rng(0).permutation(len(first))
    assert statistics.paired_difference(first[shuffled], second[shuffled]) == statistics.paired_difference(
        first, second
    )


@pytest.mark.parametrize("chances", [(0.06, 0.10, 0.84), (0.01, 0.01, 0.98)])
def test_interval_covers_the_truth_about_19_times_in_20(chances: tuple[float, float, float]) -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        found = statistics.paired_difference(*paired(*generator.multinomial(300, chances)))
        covered += found.low <= chances[0] - chances[1] <= found.high
    # 400 trials at 0.95 leave [370, 390] in 1 of 40 cases; with few discordant images the interval is a little wide.
    assert 370 <= covered <= 397


def test_paired_mean_of_right_and_wrong_is_the_published_interval() -> None:
    # Agresti and Min 2005, with 150 and 86 of 1600: (64 +- 1.96 sqrt(237 - 64**2 / 1602)) / 1602.
    first, second = paired(150, 86, 1364)
    found = statistics.paired_mean_difference(first.astype(float), second.astype(float))
    half = 1.959964 * math.sqrt(237 - 64**2 / 1602) / 1602
    assert found.estimate == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((64 / 1602 - half, 64 / 1602 + half), abs=1e-7)
    assert (found.low, found.high) == pytest.approx((0.0212, 0.0587), abs=1e-4)


def test_shares_that_never_differ_leave_a_width() -> None:
    # Half an image on either side of 102: 1.96 sqrt(1 / 102 / 102).
    found = statistics.paired_mean_difference(np.full(100, 0.9), np.full(100, 0.9))
    assert (found.estimate, found.low, found.high) == pytest.approx((0, -1.959964 / 102, 1.959964 / 102), abs=1e-7)


def test_paired_mean_of_shares_covers_the_truth_about_19_times_in_20() -> None:
    generator, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        difficulty = generator.random((150, 1))
        first = (generator.random((150, 8)) < 0.6 + 0.3 * difficulty).mean(axis=1)
        second = (generator.random((150, 8)) < 0.5 + 0.3 * difficulty).mean(axis=1)
        found = statistics.paired_mean_difference(first, second)
        covered += found.low <= 0.1 <= found.high
    assert 930 <= covered <= 1000  # the half image on either side makes it a little wider than it must be


def placements(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """AUC and each image's influence on it, pair by pair: what beats what, over the chance of being met."""
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    wins = (scores[positive][:, None] > scores[negative]) + 0.5 * (scores[positive][:, None] == scores[negative])
    area, influence = float(wins.mean()), np.zeros(len(labels))
    for row, image in enumerate(positive):
        influence[image] = (wins[row].mean() - area) * len(labels) / len(positive)
    for column, image in enumerate(negative):
        influence[image] = (wins[:, column].mean() - area) * len(labels) / len(negative)
    return area, influence


@pytest.mark.parametrize("seed", range(3))
def test_macro_auc_difference_is_that_of_the_pairs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = (generator.random((80, 3)) < [0.5, 0.2, 0.4]).astype(int)
    first, second = (np.round(labels + generator.normal(0, 1, (80, 3)), 1) for _ in range(2))
    found = statistics.macro_auc_difference(first, second, labels)
    one, two = ([placements(scores[:, k], labels[:, k]) for k in range(3)] for scores in (first, second))
    difference = np.mean([area for area, _ in one]) - np.mean([area for area, _ in two])
    influence = np.mean([a[1] - b[1] for a, b in zip(one, two, strict=True)], axis=0)
    half = 1.959964 * influence.std() / math.sqrt(80)
    assert found.estimate == pytest.approx(difference)
    assert (found.low, found.high) == pytest.approx((difference - half, difference + half), abs=1e-6)


def test_macro_auc_of_one_label_is_delongs() -> None:
    generator = np.random.default_rng(4)
    labels = (np.arange(400) % 3 == 0).astype(int)
    first, second = (labels + generator.normal(0, 1, 400) for _ in range(2))
    delong = statistics.delong_difference(first, second, labels)
    found = statistics.macro_auc_difference(first[:, None], second[:, None], labels[:, None])
    assert found.estimate == pytest.approx(delong.estimate)
    assert found.high - found.low == pytest.approx(delong.high - delong.low, rel=0.01)
    # A label that stands there twice tells no more than once.
    twice = statistics.macro_auc_difference(*(np.stack([part, part], axis=1) for part in (first, second, labels)))
    assert (twice.low, twice.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(("count", "points"), [(156, 3.5), (624, 1.7), (3421, 0.7)])
def test_smallest_margin_with_three_percent_discordant(count: int, points: float) -> None:
    """DESIGN's figures; the counts of images can hold 3 % only roughly."""
    discordant = round(0.03 * count)
    first, second = paired(discordant // 2, discordant - discordant // 2, count - discordant)
    found = 100 * statistics.smallest_margin(first, second)
    expected = 100 * (norm.ppf(0.975) + norm.ppf(0.7)) * math.sqrt(discordant / count / count)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found == pytest.approx(points, rel=0.06)


def test_smallest_margin_is_shown_in_seven_of_ten_test_sets() -> None:
    generator = np.random.default_rng(0)
    shown = 0
    margin = statistics.smallest_margin(*paired(60, 60, 1880))
    for _ in range(500):
        difference = statistics.paired_difference(*paired(*generator.multinomial(2000, [0.03, 0.03, 0.94])))
        shown += statistics.no_loss_verdict(difference, margin) == "shown"
    assert 310 <= shown <= 390  # 350 expected; two standard deviations are 20


def test_delong_by_hand() -> None:
    """Two positives, two negatives; the second model is perfect, the first ranks one pair of four wrongly.

    Placements of the first: positives 1 and 1/2, negatives 1/2 and 1, variances 1/8 each; of the second: all 1. So the
    variance of the difference is (1/8) / 2 + (1/8) / 2 = 1/8.
    """
    labels = np.array([1, 1, 0, 0])
    first, second = np.array([0.8, 0.4, 0.6, 0.2]), np.array([0.9, 0.8, 0.2, 0.1])
    found = statistics.delong_difference(first, second, labels)
    assert found.estimate == pytest.approx(-0.25)
    assert found.low == pytest.approx(-0.25 - 1.959964 * math.sqrt(1 / 8), abs=1e-6)
    assert found.high == pytest.approx(-0.25 + 1.959964 * math.sqrt(1 / 8), abs=1e-6)


def delong_of_the_paper(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Difference and variance by DeLong et al. 1988, equations 3 to 5: every pair of a positive and a negative."""
    components_10, components_01, areas = [], [], []
    for scores in (first, second):
        positives, negatives = scores[labels == 1].tolist(), scores[labels == 0].tolist()
        kernel = [[1.0 if y < x else 0.5 if y == x else 0.0 for y in negatives] for x in positives]
        areas.append(sum(map(sum, kernel)) / (len(positives) * len(negatives)))
        components_10.append([sum(row) / len(negatives) for row in kernel])
        components_01.append([sum(column) / len(positives) for column in zip(*kernel, strict=True)])

    def covariance(rows: list[list[float]], a: int, b: int) -> float:
        products = [(x - areas[a]) * (y - areas[b]) for x, y in zip(rows[a], rows[b], strict=True)]
        return sum(products) / (len(products) - 1)

    def element(a: int, b: int) -> float:
        return covariance(components_10, a, b) / len(components_10[0]) + covariance(components_01, a, b) / len(
            components_01[0]
        )

    return areas[0] - areas[1], element(0, 0) + element(1, 1) - 2 * element(0, 1)


@pytest.mark.parametrize("decimals", [1, 6])
@pytest.mark.parametrize("seed", range(4))
def test_delong_is_the_formula_of_the_paper(seed: int, decimals: int) -> None:
    """One decimal gives many ties, six none."""
    generator = np.random.default_rng(seed)
    labels = np.array([1] * 23 + [0] * 41)
    latent = generator.normal(size=64) + labels
    first, second = (np.round(latent + generator.normal(0, noise, 64), decimals) for noise in (0.5, 0.9))
    difference, variance = delong_of_the_paper(first, second, labels)
    found = statistics.delong_difference(first, second, labels)
    assert found.estimate == pytest.approx(difference)
    assert found.high - found.low == pytest.approx(2 * norm.ppf(0.975) * math.sqrt(variance))
    assert found.high - found.estimate == pytest.approx(found.estimate - found.low)


def test_equal_rankings_leave_the_width_that_the_smaller_class_leaves() -> None:
    """DeLong's variance is 0; two images of class 1 without a difference leave 3.84 / (2 + 3.84), as Tango has it."""
    labels = np.array([1, 0, 1, 0, 0, 0])
    scores = np.array([0.3, 0.2, 0.9, 0.5, 0.3, 0.7])
    square = norm.ppf(0.975) ** 2
    found = statistics.delong_difference(scores, 2 * scores - 5, labels)
    assert (found.estimate, found.low, found.high) == pytest.approx((0, -square / (2 + square), square / (2 + square)))
    tango = statistics.paired_difference(*paired(0, 0, 2))
    assert (found.low, found.high) == pytest.approx((tango.low, tango.high))
    macro = statistics.macro_auc_difference(scores[:, None], 2 * scores[:, None] - 5, labels[:, None])
    assert (macro.low, macro.high) == pytest.approx((found.low, found.high))


def test_two_perfect_models_show_nothing_on_few_images() -> None:
    def verdict(count: int) -> str:
        labels = np.arange(count) % 2
        first, second = labels + np.linspace(0, 0.5, count), labels + np.linspace(0.5, 0, count)
        return statistics.no_loss_verdict(statistics.delong_difference(first, second, labels), 0.02)

    assert (verdict(60), verdict(624)) == ("not shown", "shown")


def test_delong_turns_with_its_order() -> None:
    labels = np.array([1, 0, 1, 0, 0, 1])
    first, second = np.array([0.3, 0.2, 0.9, 0.5, 0.3, 0.7]), np.array([0.3, 0.4, 0.1, 0.5, 0.2, 0.7])
    found, turned = (statistics.delong_difference(*pair, labels) for pair in ((first, second), (second, first)))
    assert (turned.estimate, turned.low, turned.high) == pytest.approx((-found.estimate, -found.high, -found.low))


def newcombe_99(first: int, first_count: int, second: int, second_count: int) -> tuple[float, float]:
    """Newcombe 1998, method 10, at 99 %, written from the paper."""
    z = norm.ppf(0.995)
    bounds = []
    for r, n in ((first, first_count), (second, second_count)):
        half = z * math.sqrt(z * z + 4 * r * (1 - r / n))
        bounds.append(((2 * r + z * z - half) / (2 * (n + z * z)), (2 * r + z * z + half) / (2 * (n + z * z))))
    (l1, u1), (l2, u2) = bounds
    p1, p2 = first / first_count, second / second_count
    low = p1 - p2 - math.sqrt((p1 - l1) ** 2 + (u2 - p2) ** 2)
    return low, p1 - p2 + math.sqrt((u1 - p1) ** 2 + (p2 - l2) ** 2)


def test_two_proportions_against_the_formula_of_the_paper() -> None:
    seen = set()
    for second in range(0, 81, 2):
        low, high = newcombe_99(56, 70, second, 80)
        expected = low > 0 or high < 0
        assert statistics.two_proportions_differ(56, 70, second, 80) == expected, second
        assert statistics.two_proportions_differ(second, 80, 56, 70) == expected, second
        seen.add(expected)
    assert seen == {True, False}


def test_two_proportions_of_the_data_that_shifts_and_of_data_that_does_not() -> None:
    # PneumoniaMNIST: 0.97 of 524 on val, 0.87 of 624 on test.
    assert statistics.two_proportions_differ(508, 524, 543, 624)
    assert not statistics.two_proportions_differ(508, 524, 605, 624)
    assert not statistics.two_proportions_differ(9, 10, 7, 10)
    assert not statistics.two_proportions_differ(10, 10, 10, 10)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.019, 0.03, "shown"),
        (0.001, 0.03, "shown"),
        (-0.02, 0.03, "not shown"),
        (-0.021, 0.03, "not shown"),
        (-0.05, -0.01, "not shown"),
        (-0.05, -0.02, "not shown"),
        (-0.05, -0.021, "refuted"),
    ],
)
def test_no_loss_is_shown_where_the_lower_end_clears_the_margin(low: float, high: float, expected: str) -> None:
    assert statistics.no_loss_verdict(Interval((low + high) / 2, low, high), 0.02) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.001, 0.05, "shown"),
        (0.0, 0.05, "not shown"),
        (-0.01, 0.05, "not shown"),
        (-0.01, 0.0, "not shown"),
        (-0.01, -0.001, "refuted"),
    ],
)
def test_gain_is_shown_where_the_interval_lies_above_zero(low: float, high: float, expected: str) -> None:
    assert statistics.gain_verdict(Interval((low + high) / 2, low, high)) == expected


@pytest.mark.parametrize(("losses", "expected"), [(2, "shown"), (20, "not shown"), (60, "refuted")])
def test_verdict_of_counted_images(losses: int, expected: str) -> None:
    """Of 1000 images, margin 2 points: 2 lost are well within, 20 lie on the margin, 60 are beyond it."""
    difference = statistics.paired_difference(*paired(0, losses, 1000 - losses))
    assert statistics.no_loss_verdict(difference, 0.02) == expected


def test_sign_test_by_hand() -> None:
    # 9 of 10 on one side: 2 * (1 + 10) / 1024; what is 0 does not count.
    differences = np.array([0.5] * 9 + [-0.2] + [0.0] * 30)
    assert statistics.sign_test_p(differences) == pytest.approx(22 / 1024)
    assert statistics.sign_test_p(-differences) == pytest.approx(22 / 1024)
    assert statistics.sign_test_p(np.zeros(5)) == 1


def test_holm_by_hand() -> None:
    """4 times the smallest, 3 times the next, and so on, never falling; test_against_r.py has R's."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.5, 0.4]) == pytest.approx([0.8, 0.8])
    assert statistics.holm([0.9]) == [0.9]
    assert statistics.holm([]) == []


@pytest.mark.parametrize("estimate", [0.0, 0.5, -1.3])
def test_normal_p_is_scipys(estimate: float) -> None:
    error = 0.6
    half = norm.ppf(0.975) * error
    found = statistics.normal_p(Interval(estimate, estimate - half, estimate + half))
    assert found == pytest.approx(2 * norm.sf(abs(estimate) / error))


def test_normal_p_without_a_width() -> None:
    assert statistics.normal_p(Interval(0, 0, 0)) == 1
    assert statistics.normal_p(Interval(0.1, 0.1, 0.1)) == 0


def test_smallest_margin_of_an_interval_is_that_of_its_standard_error() -> None:
    found = statistics.smallest_margin_of(Interval(0.0, -1.959964, 1.959964))
    assert found == pytest.approx(norm.ppf(0.975) + norm.ppf(0.7), abs=1e-6)


# How often intervals hold the truth. Of 1,000 trials at 0.95, 927 to 973 in all but one of 1,000 cases.


@pytest.mark.parametrize("chance", [0.5, 0.9, 0.97])
def test_wilson_covers_the_truth(chance: float) -> None:
    """Exactly: the chances of all counts whose interval holds it. Wilson's is near 0.95 on both sides."""
    from scipy.stats import binom

    for count in (80, 156, 624):
        ends = [statistics.wilson_interval(successes, count) for successes in range(count + 1)]
        inside = [low <= chance <= high for low, high in ends]
        assert 0.93 <= np.sum(binom.pmf(np.arange(count + 1), count, chance)[inside]) <= 0.975


def test_delong_covers_the_truth() -> None:
    """Scores of two normal distributions one apart, plus noise: AUC = Phi(1 / sqrt(2 (1 + noise**2)))."""
    truth = norm.cdf(1 / np.sqrt(2 * 1.25)) - norm.cdf(1 / np.sqrt(2 * 1.81))
    labels, generator, covered = np.arange(160) % 2, np.random.default_rng(0), 0
    for _ in range(1000):
        latent = labels + generator.normal(size=160)
        first, second = (latent + generator.normal(0, noise, 160) for noise in (0.5, 0.9))
        found = statistics.delong_difference(first, second, labels)
        covered += found.low <= truth <= found.high
    assert 927 <= covered <= 975


def test_macro_auc_of_classes_covers_the_truth() -> None:
    """Three classes, scores of the class one above those of the others: each AUC is that of two classes."""
    truth = norm.cdf(1 / np.sqrt(2 * 1.25)) - norm.cdf(1 / np.sqrt(2 * 1.81))
    generator, covered = np.random.default_rng(0), 0
    for _ in range(500):
        labels = np.eye(3, dtype=int)[generator.integers(0, 3, 210)]
        latent = labels + generator.normal(size=labels.shape)
        first, second = (latent + generator.normal(0, noise, labels.shape) for noise in (0.5, 0.9))
        found = statistics.macro_auc_difference(first, second, labels)
        covered += found.low <= truth <= found.high
    assert 459 <= covered <= 490


def test_student_t_covers_the_truth() -> None:
    generator, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        first, second = generator.normal(0.3, 1, 5), generator.normal(0, 1, 5)
        found = statistics.mean_difference(first.tolist(), second.tolist())
        covered += found.low <= 0.3 <= found.high
    assert 927 <= covered <= 973


def test_splits_of_one_kind_are_said_to_differ_in_one_of_a_hundred() -> None:
    generator = np.random.default_rng(0)
    alarms = sum(
        statistics.two_proportions_differ(
            *(int(generator.binomial(524, 0.9)), 524), int(generator.binomial(624, 0.9)), 624
        )
        for _ in range(1500)
    )
    assert 4 <= alarms <= 28  # 15 expected, standard deviation 3.9
