"""Curves of sensitivity: against a forward pass in NumPy, against real removal, and what they leave behind."""

from __future__ import annotations

from typing import Any

import channel_models
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from edgekd import _keras, channels, curves
from edgekd.config.sensitivity import Sensitivity
from edgekd.curves import Curve
from edgekd.data import Split
from edgekd.errors import RecipeError, TrainingError
from edgekd.tasks import MULTI_LABEL
from edgekd.training import evaluate, make_predict

GRID = (0.25, 0.5, 0.75)


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def split(side: int = 8, count: int = 40) -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8), np.arange(count) % 2, 2)


def weights() -> dict[str, Any]:
    """``logits`` reads eight features of ``used``, strongly, and none of the eight of ``unused``."""
    rng = np.random.default_rng(1)
    reading = np.concatenate([rng.normal(0, 3, (8, 2)), np.zeros((8, 2))])
    return {"used": rng.normal(0, 1, (3, 8)), "unused": rng.normal(0, 50, (3, 8)), "logits": reading}


def hand_made() -> Any:
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((8, 8, 3), name="pixels")
    pooled = layers.GlobalAveragePooling2D(name="pool")(layers.Rescaling(1 / 8, -16.0, name="scale")(pixels))
    both = [layers.Dense(8, use_bias=False, name=name)(pooled) for name in ("used", "unused")]
    joined = layers.Concatenate(name="joined")(both)
    model = _keras.tf_keras.Model(pixels, layers.Dense(2, use_bias=False, name="logits")(joined))
    for name, kernel in weights().items():
        model.get_layer(name).set_weights([kernel])
    return model


def by_numpy(images: Any, labels: Any, kernels: dict[str, Any]) -> tuple[float, float]:
    """Cross-entropy and AUC of the hand-made model."""
    pooled = (images.astype(np.float64) / 8 - 16).mean(axis=(1, 2))
    features = np.concatenate([pooled @ kernels["used"], pooled @ kernels["unused"]], axis=1)
    log_probs = log_softmax(features @ kernels["logits"], axis=1)
    return -log_probs[np.arange(len(labels)), labels].mean(), roc_auc_score(labels, log_probs[:, 1])


def without_the_smallest(kernel: Any, count: int) -> Any:
    threshold = np.sort(np.abs(kernel), axis=None)[count - 1]
    return np.where(np.abs(kernel) <= threshold, 0.0, kernel)


def test_zeros_in_one_layer_do_what_numpy_says() -> None:
    model, images = hand_made(), split()
    found = curves.of_weights(model, ["used", "unused"], images, (0.75, 0.25, 0.5))
    assert [(curve.layer, curve.size) for curve in found] == [("used", 24), ("unused", 24)]
    for curve in found:
        assert [point["removed"] for point in curve.points] == [0, 6, 12, 18]
        assert [point["fraction"] for point in curve.points] == [0, *GRID]
        for point in curve.points[1:]:
            pruned = without_the_smallest(weights()[curve.layer], int(point["removed"]))
            loss, auc = by_numpy(images.images, images.labels, weights() | {curve.layer: pruned})
            assert point["loss"] == pytest.approx(loss, rel=1e-4)
            assert point["auc"] == pytest.approx(auc, abs=1e-9)


def test_a_layer_that_nothing_reads_is_flat_and_the_other_is_named_first() -> None:
    model, images = hand_made(), split()
    before = evaluate(make_predict(model), images)
    used, unused = curves.of_weights(model, ["used", "unused"], images, GRID)
    for point in (used.points[0], *unused.points):
        assert {name: point[name] for name in before} == before
    assert unused.mean_rise == 0
    assert used.mean_rise > 0
    assert [curve.layer for curve in curves.ranked([unused, used])] == ["used", "unused"]


def test_weights_are_put_back() -> None:
    model = hand_made()
    before = model.get_weights()
    curves.of_weights(model, ["used", "logits"], split(), GRID)
    structure = channels.follow(model)
    curves.of_channels(structure, channels.l1(structure), split(), GRID, 1)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_small_layer_keeps_a_weight() -> None:
    """Of six weights a tenth is round(0.6) = 1, nine tenths 5, and 99 hundredths would be all of them."""
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((8, 8, 3))
    model = _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(pixels)))
    (curve,) = curves.of_weights(model, ["logits"], split(), (0.01, 0.1, 0.9, 0.99))
    assert [point["removed"] for point in curve.points] == [0, 1, 5]


def test_channels_at_zero_do_what_their_removal_does() -> None:
    structure = channels.follow(channel_models.chain())
    images, scores = split(), channels.l1(structure)
    found = {curve.layer: curve for curve in curves.of_channels(structure, scores, images, (0.3, 0.5), 4)}
    assert list(found) == ["a", "b"]
    for name, curve in found.items():
        # Of 16: 0.3 is rounded down to 4, and with multiples of four as many as 12 may go.
        assert [point["removed"] for point in curve.points] == [0, 4, 8, 12]
        assert [point["fraction"] for point in curve.points] == [0, 0.25, 0.5, 0.75]
        for point in curve.points:
            smaller = channels.remove(structure, channels.lowest(structure, scores, {name: 16 - int(point["removed"])}))
            assert point == pytest.approx(point | evaluate(make_predict(smaller), images), rel=1e-4)


def test_channels_that_nothing_reads_cost_nothing() -> None:
    """``b`` reads the first eight channels of ``a`` alone."""
    model = channel_models.chain()
    kernel, bias = model.get_layer("b").get_weights()
    kernel[:, :, 8:] = 0
    model.get_layer("b").set_weights([kernel, bias])
    structure = channels.follow(model, protected=["b"])
    scores = {"a": np.array([1.0] * 8 + [0.0] * 8)}
    (curve,) = curves.of_channels(structure, scores, split(), (0.25, 0.5, 0.75), 4)
    before = evaluate(make_predict(model), split())
    for point in curve.points[:3]:
        assert {name: point[name] for name in before} == before
    assert curve.points[3]["loss"] != before["loss"]


def test_a_group_that_can_lose_nothing_has_no_curve() -> None:
    structure = channels.follow(channel_models.chain())
    assert curves.of_channels(structure, channels.l1(structure), split(), GRID, 16) == []


def test_mean_rise_by_hand() -> None:
    """(0.5 * (0 + 1) / 2 + 0.4 * (1 + 3) / 2) / 0.9 = 1.05 / 0.9."""
    values = [(0, 1.0), (0.5, 2.0), (0.9, 4.0)]
    points = tuple({"removed": 10 * f, "fraction": f, "loss": loss, "auc": 0.5} for f, loss in values)
    curve = Curve("a", 10, points)
    assert curve.mean_rise == pytest.approx(1.05 / 0.9)
    assert curves.losses([curve]) == {"a": values}
    assert curves.read([curve.table()]) == [curve]


def test_a_student_whose_loss_is_no_number() -> None:
    model = hand_made()
    model.get_layer("logits").set_weights([np.full((16, 2), np.nan)])
    with pytest.raises(TrainingError, match="sensitivity: the loss of the student on val is nan"):
        curves.of_weights(model, ["used"], split(), GRID)


# The images that are looked at


def uneven(counts: tuple[int, ...]) -> Split:
    labels = np.repeat(np.arange(len(counts)), counts)
    return Split(np.zeros((len(labels), 8, 8, 3), np.uint8), labels, len(counts))


def test_all_of_a_small_val() -> None:
    np.testing.assert_array_equal(curves.images_of(Sensitivity(), uneven((5, 15)), 0), np.arange(20))
    np.testing.assert_array_equal(curves.images_of(Sensitivity(num_images=20), uneven((5, 15)), 0), np.arange(20))


def test_a_part_of_val_has_the_classes_alike() -> None:
    val = uneven((6, 30, 100))
    indices = curves.images_of(Sensitivity(num_images=30), val, 0)
    assert np.bincount(val.labels[indices]).tolist() == [6, 12, 12]
    assert len(set(indices.tolist())) == 30
    np.testing.assert_array_equal(indices, curves.images_of(Sensitivity(num_images=30), val, 0))
    assert indices.tolist() != curves.images_of(Sensitivity(num_images=30), val, 1).tolist()


def test_a_thousand_of_a_large_val() -> None:
    assert len(curves.images_of(Sensitivity(), uneven((1000, 1000)), 0)) == 1024


def test_images_that_val_does_not_have() -> None:
    with pytest.raises(
        RecipeError, match=r"^sensitivity\.num_images = 21: val has 20 images; allowed: at most these, or 0"
    ):
        curves.images_of(Sensitivity(num_images=21), uneven((5, 15)), 0)


def test_each_class_needs_an_image() -> None:
    with pytest.raises(RecipeError, match=r"num_images = 2: 2 images are too few to have one of each of the 3 classes"):
        curves.images_of(Sensitivity(num_images=2), uneven((5, 15, 15)), 0)
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 1]] * 5)
    several = Split(np.zeros((20, 8, 8, 3), np.uint8), labels, 2, MULTI_LABEL)
    assert len(curves.images_of(Sensitivity(num_images=6), several, 0)) == 6
    with pytest.raises(RecipeError, match=r"num_images = 1: 1 images are too few"):
        curves.images_of(Sensitivity(num_images=1), several, 0)
