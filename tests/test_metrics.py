"""Figures of quality: by hand on a few images, against scikit-learn on many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    log_loss,
    mean_absolute_error,
    recall_score,
    roc_auc_score,
)

from edgekd import metrics
from edgekd.tasks import TASKS

# Six images of three classes. Image 3 ties between classes 0 and 2, image 5 between all three.
PROBS = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.1, 0.8, 0.1],
        [0.2, 0.3, 0.5],
        [0.4, 0.2, 0.4],
        [0.1, 0.6, 0.3],
        [1 / 3, 1 / 3, 1 / 3],
    ]
)
LABELS = np.array([0, 1, 2, 2, 0, 1])


def random_case(seed: int, num_classes: int, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities in whole fractions, with many ties, and labels that follow them loosely."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), generator.integers(0, num_classes, count - num_classes)])
    chances = 0.4 * np.eye(num_classes)[labels] + 0.6 / num_classes
    votes = generator.multinomial(8, chances) + 1
    return votes / votes.sum(axis=1, keepdims=True), labels


def test_equal_probabilities_go_to_the_lowest_class() -> None:
    assert metrics.predictions(PROBS).tolist() == [0, 1, 2, 0, 1, 0]


def test_top1_by_hand() -> None:
    assert metrics.top1(PROBS, LABELS) == 3 / 6  # images 0, 1, 2; the ties fall to class 0


def test_recalls_by_hand() -> None:
    # Class 0: images 0, 4 of which 0; class 1: images 1, 5 of which 1; class 2: images 2, 3 of which 2.
    assert metrics.recalls(PROBS, LABELS).tolist() == [0.5, 0.5, 0.5]
    assert metrics.recalls(PROBS, np.array([0, 1, 2, 0, 1, 2])).tolist() == [1, 1, 0.5]


def test_auc_of_two_classes_by_hand() -> None:
    positive = np.array([0.9, 0.5, 0.5, 0.3, 0.1])
    labels = np.array([1, 1, 0, 1, 0])
    # Six pairs: 0.9 beats both negatives; 0.5 ties with 0.5 and beats 0.1; 0.3 loses to 0.5 and beats 0.1.
    assert metrics.auc(np.stack([1 - positive, positive], axis=1), labels) == pytest.approx(4.5 / 6)


def test_auc_of_three_classes_is_the_mean_of_one_against_the_rest() -> None:
    # Class 0, positives 0.7 and 0.1 against 0.1, 0.2, 0.4, 1/3: 4 + 0.5 of 8.
    # Class 1, positives 0.8 and 1/3 against 0.2, 0.3, 0.2, 0.6: 4 + 3 of 8.
    # Class 2, positives 0.5 and 0.4 against 0.1, 0.1, 0.3, 1/3: 8 of 8.
    assert metrics.auc(PROBS, LABELS) == pytest.approx((4.5 / 8 + 7 / 8 + 1) / 3)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_auc_is_that_of_scikit_learn(num_classes: int, seed: int) -> None:
    probs, labels = random_case(seed, num_classes)
    assert len(np.unique(probs[:, 1])) < len(probs), "without ties half the rule is not tried"
    scores = probs[:, 1] if num_classes == 2 else probs
    expected = roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert metrics.auc(probs, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_auc_needs_both_classes(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="AUC of class 1 needs images of it and of others"):
        metrics.auc(np.full((3, 2), 0.5), np.array(labels))


def test_auc_names_the_class_that_is_missing() -> None:
    with pytest.raises(ValueError, match="AUC of class 2 "):
        metrics.auc(PROBS, np.array([0, 1, 0, 1, 0, 1]))


def test_ece_with_two_bins_by_hand() -> None:
    # (0, 0.5]: confidences 0.5, 0.4, 1/3, one of three right. (0.5, 1]: 0.7, 0.8, 0.6, two of three right.
    low = abs(1 / 3 - (0.5 + 0.4 + 1 / 3) / 3)
    high = abs(2 / 3 - (0.7 + 0.8 + 0.6) / 3)
    assert metrics.ece(PROBS, LABELS, num_bins=2) == pytest.approx((3 * low + 3 * high) / 6)


def test_ece_keeps_apart_what_cancels_in_one_bin() -> None:
    probs = np.array([[0.6, 0.4], [0.9, 0.1]])
    labels = np.array([0, 1])  # right at 0.6, wrong at 0.9
    assert metrics.ece(probs, labels, num_bins=1) == pytest.approx(abs(0.5 - 0.75))
    assert metrics.ece(probs, labels, num_bins=10) == pytest.approx((0.4 + 0.9) / 2)


def test_edge_of_a_bin_belongs_to_the_bin_below() -> None:
    # At 4 bins 0.75 closes (0.5, 0.75] and meets 0.6 there: |1/2 - 0.675|. Above it would be (0.4 + 0.75) / 2.
    probs = np.array([[0.6, 0.4], [0.75, 0.25]])
    assert metrics.ece(probs, np.array([0, 1]), num_bins=4) == pytest.approx(0.175)


def test_ece_of_a_calibrated_and_of_a_boastful_model() -> None:
    probs = np.tile([0.75, 0.25], (8, 1))
    assert metrics.ece(probs, np.array([0] * 6 + [1] * 2)) == pytest.approx(0)
    certain = np.tile([1.0, 0.0], (8, 1))
    assert metrics.ece(certain, np.array([0] * 6 + [1] * 2)) == pytest.approx(0.25)
    assert metrics.ece(certain, np.array([0] * 8)) == 0


@pytest.mark.parametrize("num_bins", [1, 3, 10, 15])
def test_ece_against_a_loop_over_images(num_bins: int) -> None:
    probs, labels = random_case(5, 4)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(probs, labels, strict=True):
        index = next(index for index in range(num_bins) if row.max() <= (index + 1) / num_bins)
        bins.setdefault(index, []).append((float(row.max()), int(row.argmax()) == label))
    expected = sum(
        abs(sum(right for _, right in rows) - sum(confidence for confidence, _ in rows)) for rows in bins.values()
    ) / len(labels)
    assert metrics.ece(probs, labels, num_bins) == pytest.approx(expected)


def test_fifteen_bins_unless_told_otherwise() -> None:
    """Guo et al. 2017, section 4, use 15: the last begins at 14/15 = 0.9333, between these two; of 14 at 0.9286."""
    probs = np.array([[0.94, 0.06], [0.93, 0.07]])
    labels = np.array([0, 1])
    assert metrics.ece(probs, labels) == pytest.approx((0.06 + 0.93) / 2)
    assert metrics.ece(probs, labels, num_bins=14) == pytest.approx(abs(0.5 - 0.935))


def test_brier_by_hand() -> None:
    probs = np.array([[0.8, 0.2], [0.3, 0.7]])
    # Image 0: 0.2**2 + 0.2**2. Image 1, label 0: 0.7**2 + 0.7**2.
    assert metrics.brier(probs, np.array([0, 0])) == pytest.approx((0.08 + 0.98) / 2)
    assert metrics.brier(np.eye(3), np.array([0, 1, 2])) == 0
    assert metrics.brier(np.eye(3), np.array([1, 2, 0])) == 2


def test_brier_is_that_of_scikit_learn() -> None:
    probs, labels = random_case(7, 2)
    assert metrics.brier(probs, labels) == pytest.approx(2 * brier_score_loss(labels, probs[:, 1]))


def test_nll_by_hand() -> None:
    logits = np.array([[0.0, math.log(3)], [0.0, math.log(3)]])  # probabilities 1/4, 3/4
    assert metrics.nll(logits, np.array([1, 0])) == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    probs, labels = random_case(8, 3)
    assert metrics.nll(np.log(probs), labels) == pytest.approx(log_loss(labels, probs))


def test_nll_of_large_logits_stays_finite() -> None:
    assert metrics.nll(np.array([[1000.0, 0.0]], np.float32), np.array([1])) == pytest.approx(1000)


def test_temperature_by_hand() -> None:
    """Equal logits everywhere: the best temperature gives the share of class 1, here 3/4 = 1 / (1 + 1/3)."""
    logits = np.tile([0.0, 5 * math.log(3)], (8, 1))
    labels = np.array([1] * 6 + [0] * 2)
    assert metrics.fit_temperature(logits, labels) == pytest.approx(5, rel=1e-4)
    assert metrics.fit_temperature(logits / 20, labels) == pytest.approx(0.25, rel=1e-4)


def test_temperature_is_recovered_from_drawn_labels() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 4))
    # The largest of logits + Gumbel noise is distributed as softmax(logits).
    labels = np.argmax(logits / 2.5 + generator.gumbel(size=logits.shape), axis=1)
    assert metrics.fit_temperature(logits, labels) == pytest.approx(2.5, rel=0.05)


def test_temperature_is_the_least_of_a_grid() -> None:
    probs, labels = random_case(9, 5)
    logits = 3 * np.log(probs)
    grid = np.geomspace(0.05, 20, 2000)
    best = grid[np.argmin([metrics.nll(logits / temperature, labels) for temperature in grid])]
    assert metrics.fit_temperature(logits, labels) == pytest.approx(best, rel=0.005)


@pytest.mark.parametrize(("labels", "bound"), [([1, 1], 0.05), ([0, 0], 20.0)])
def test_temperature_stays_within_its_bounds(labels: list[int], bound: float) -> None:
    """Where everything is right (wrong), colder (hotter) is better without end."""
    assert metrics.fit_temperature(np.array([[0.0, 1.0], [0.0, 2.0]]), np.array(labels)) == pytest.approx(bound, 1e-3)


def test_agreement_counts_classes_and_not_probabilities() -> None:
    other = np.array([[0.9, 0.1, 0], [0.5, 0.4, 0.1], [0, 0, 1], [0.3, 0.3, 0.4], [0, 1, 0], [0.5, 0.5, 0]])
    assert metrics.agreement(PROBS, other) == 4 / 6  # all but images 1 and 3
    assert metrics.agreement(other, PROBS) == 4 / 6
    assert metrics.agreement(PROBS, PROBS) == 1


def test_evaluate_holds_every_figure() -> None:
    found = metrics.evaluate(PROBS, LABELS, ["a", "b", "c"])
    assert {key: found[key] for key in ("top1", "macro_recall", "n")} == {"top1": 0.5, "macro_recall": 0.5, "n": 6}
    assert found["auc"] == pytest.approx((4.5 / 8 + 7 / 8 + 1) / 3)
    assert found["brier"] == pytest.approx(metrics.brier(PROBS, LABELS))
    assert found["ece"] == pytest.approx(metrics.ece(PROBS, LABELS))
    assert [(row["name"], row["n"], row["recall"]) for row in found["per_class"]] == [
        ("a", 2, 0.5),
        ("b", 2, 0.5),
        ("c", 2, 0.5),
    ]
    # Wilson, 1 of 2: (1/2 + z**2/4 -+ z * sqrt(1/8 + z**2/16)) / (1 + z**2/2) with z = 1.96.
    for row in found["per_class"]:
        assert row["recall_ci95"] == pytest.approx([0.0945, 0.9055], abs=1e-4)


def test_specificities_by_hand() -> None:
    # Predicted 0 1 2 0 1 0. Of the four images that are not of class 0, two are predicted so; of class 1, one of four
    # (image 4); of class 2, none of four.
    assert metrics.specificities(PROBS, LABELS).tolist() == [0.5, 0.75, 1.0]
    rows = metrics.evaluate(PROBS, LABELS, ["a", "b", "c"])["per_class"]
    assert [row["specificity"] for row in rows] == [0.5, 0.75, 1.0]
    # Wilson, 4 of 4: 4 / (4 + z**2) to 1.
    assert rows[2]["specificity_ci95"] == pytest.approx([4 / (4 + 1.959964**2), 1.0], abs=1e-6)


def test_specificity_is_the_recall_of_the_other_class() -> None:
    probs, labels = random_case(0, 2)
    assert metrics.specificities(probs, labels).tolist() == metrics.recalls(probs, labels)[::-1].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_macro_recall_weighs_classes_alike(seed: int) -> None:
    probs, labels = random_case(seed, 4)
    labels[labels == 3] = np.where(np.arange((labels == 3).sum()) < 2, 3, 0)  # a rare class
    found = metrics.evaluate(probs, labels, list("abcd"))
    expected = recall_score(labels, probs.argmax(axis=1), average=None)
    assert found["macro_recall"] == pytest.approx(recall_score(labels, probs.argmax(axis=1), average="macro"))
    assert [row["recall"] for row in found["per_class"]] == pytest.approx(expected)
    assert [row["n"] for row in found["per_class"]] == np.bincount(labels).tolist()
    for row in found["per_class"]:
        assert row["recall_ci95"][0] <= row["recall"] <= row["recall_ci95"][1]


def test_evaluate_wants_a_name_for_each_class() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        metrics.evaluate(PROBS, LABELS, ["a", "b"])


def several(seed: int, count: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits and probabilities of three labels, and whether each is there."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-0.5, 2, (count, 3))
    probs = 1 / (1 + np.exp(-logits))
    return logits, probs, (generator.random((count, 3)) < probs).astype(int)


SEVERAL = np.array([[0.9, 0.2], [0.6, 0.5], [0.4, 0.7], [0.3, 0.8]])
THERE = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])


def test_label_accuracy_and_recall_by_hand() -> None:
    # Found: label 0 in images 0 and 1, label 1 in 2 and 3; 0.5 is not above the threshold.
    assert metrics.label_accuracy(SEVERAL, THERE) == 4 / 8
    np.testing.assert_array_equal(metrics.recalls(SEVERAL, THERE), [0.5, 0.5])
    # Of label 0: 0.9 and 0.4 against 0.6 and 0.3: 3 of 4 pairs; of label 1: 0.5 and 0.7 against 0.2 and 0.8: 2 of 4.
    np.testing.assert_array_equal(metrics.aucs(SEVERAL, THERE), [3 / 4, 2 / 4])
    assert metrics.brier(SEVERAL, THERE) == pytest.approx((0.01 + 0.04 + 0.36 + 0.25 + 0.36 + 0.09 + 0.09 + 0.64) / 8)


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_are_those_of_scikit_learn_label_by_label(seed: int) -> None:
    logits, probs, labels = several(seed)
    columns = list(zip(probs.T, labels.T, strict=True))
    assert metrics.auc(probs, labels) == pytest.approx(roc_auc_score(labels, probs, average="macro"))
    accuracies = [accuracy_score(there, score > 0.5) for score, there in columns]  # MedMNIST's evaluator, getACC
    assert metrics.accuracy(probs, labels) == pytest.approx(np.mean(accuracies))
    assert metrics.brier(probs, labels) == pytest.approx(np.mean([brier_score_loss(y, p) for p, y in columns]))
    assert metrics.nll(logits, labels) == pytest.approx(np.mean([log_loss(y, p) for p, y in columns]))
    found = metrics.evaluate(probs, labels, list("abc"), TASKS["multi-label"])
    expected = recall_score(labels, probs > 0.5, average=None)
    assert [row["recall"] for row in found["per_class"]] == pytest.approx(expected)
    assert [row["n"] for row in found["per_class"]] == labels.sum(axis=0).tolist()
    assert [row["auc"] for row in found["per_class"]] == pytest.approx(roc_auc_score(labels, probs, average=None))
    specificity = recall_score(1 - labels, probs <= 0.5, average=None)
    assert [row["specificity"] for row in found["per_class"]] == pytest.approx(specificity)
    assert "top1" not in found
    assert found["label_accuracy"] == metrics.label_accuracy(probs, labels)


def test_ece_of_labels_by_hand() -> None:
    # Two bins: label 0 has 0.2 (absent) below and 0.8, 0.6 (one there) above: 1/3 * 0.2 + 2/3 * |1/2 - 0.7|.
    # Label 1 is always there: 1/3 * 0.9 + 2/3 * 0.1 where it says 0.1, 0.9 and 0.9.
    probs, labels = np.array([[0.2, 0.1], [0.8, 0.9], [0.6, 0.9]]), np.array([[0, 1], [1, 1], [0, 1]])
    expected = (0.2 / 3 + 0.4 / 3 + 0.9 / 3 + 0.2 / 3) / 2
    assert metrics.ece(probs, labels, num_bins=2) == pytest.approx(expected)


def test_temperature_of_labels_is_recovered() -> None:
    logits, _, labels = several(5, count=20_000)
    assert metrics.fit_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_ordinal_figures_are_those_of_scikit_learn(seed: int) -> None:
    probs, labels = random_case(seed, 5)
    predicted = probs.argmax(axis=1)
    found = metrics.evaluate(probs, labels, list("abcde"), TASKS["ordinal"])
    assert found["mae"] == pytest.approx(mean_absolute_error(labels, predicted))
    assert found["quadratic_kappa"] == pytest.approx(cohen_kappa_score(labels, predicted, weights="quadratic"))
    # MedMNIST's evaluator takes ordinal sets like multi-class ones.
    assert found["top1"] == pytest.approx(accuracy_score(labels, predicted))
    binary = [roc_auc_score(labels == label, probs[:, label]) for label in range(5)]
    assert found["auc"] == pytest.approx(np.mean(binary))


def test_kappa_by_hand() -> None:
    # Labels 0 1 2, predicted 0 2 2. Observed (0 + 1 + 0) / 3. Expected: labels 1/3 each, predictions 1/3 of class 0 and
    # 2/3 of class 2: (1/9)(0 + 1 + 4) + (2/9)(4 + 1 + 0) = 15/9. 1 - 1/5.
    probs = np.eye(3)[[0, 2, 2]]
    assert metrics.quadratic_kappa(probs, np.array([0, 1, 2])) == pytest.approx(0.8)
    assert metrics.mae(probs, np.array([0, 1, 2])) == pytest.approx(1 / 3)
    assert metrics.quadratic_kappa(np.eye(3)[[1, 1]], np.array([1, 1])) == 1.0


def test_agreement_of_labels_counts_each() -> None:
    assert metrics.agreement(SEVERAL, SEVERAL[:, ::-1], TASKS["multi-label"]) == 0
    assert metrics.agreement(SEVERAL, SEVERAL, TASKS["multi-label"]) == 1
