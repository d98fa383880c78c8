from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from tiny_student import tiny_student

from edgekd import _keras, losses
from edgekd.artifact import Artifact
from edgekd.config.training import Training, Views
from edgekd.data import Dataset, Split
from edgekd.errors import TrainingError
from edgekd.progress import Progress
from edgekd.step import Learner, epoch_order, learning_rate_at, make_batch, weights_of_classes
from edgekd.tasks import TASKS
from edgekd.training import Hooks, evaluate, fit, make_predict

SETTINGS = Training(epochs=4, batch_size=8, learning_rate=0.02, warmup_epochs=0.5)


def objective(batch, logits):
    return losses.cross_entropy(batch.targets, logits)


def run(model, dataset: Dataset, work: Path, objective=objective, **options):
    settings = {
        "training": SETTINGS,
        "views": Views(horizontal_flip=False, max_shift=0.1),
        "seed": 5,
        "progress": Progress(),
        "title": "tiny",
        **options,
    }
    return fit(Learner.alone(model, objective), dataset, work=work, **settings)


class Killed(Exception):
    """Stands for SIGKILL."""


def test_learning_rate_by_hand() -> None:
    cosine = Training(epochs=10, learning_rate=1.0, warmup_epochs=2, schedule="cosine")
    # Ten steps an epoch: 20 warm-up steps rise by 1/21; then half a cosine over the other 80.
    assert learning_rate_at(cosine, 0, 10) == pytest.approx(1 / 21)
    assert learning_rate_at(cosine, 19, 10) == pytest.approx(20 / 21)
    assert learning_rate_at(cosine, 20, 10) == pytest.approx(1.0)
    assert learning_rate_at(cosine, 60, 10) == pytest.approx(0.5)
    assert learning_rate_at(cosine, 99, 10) == pytest.approx(0.5 * (1 + math.cos(math.pi * 79 / 80)))
    steps = Training(epochs=240, learning_rate=0.01, warmup_epochs=0, schedule="step", step_epochs=(150, 180, 210))
    rates = [learning_rate_at(steps, epoch * 10, 10) for epoch in (149, 150, 180, 210)]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5])
    constant = Training(epochs=3, learning_rate=0.3, warmup_epochs=0, schedule="constant")
    assert learning_rate_at(constant, 29, 10) == 0.3


def test_epoch_order_is_a_permutation_of_its_own() -> None:
    assert sorted(epoch_order(1, 0, 50)) == list(range(50))
    assert not np.array_equal(epoch_order(1, 0, 50), epoch_order(1, 1, 50))
    assert np.array_equal(epoch_order(1, 1, 50), epoch_order(1, 1, 50))


def test_it_learns(tiny_data: Artifact, tmp_path: Path) -> None:
    dataset, model = Dataset.open(tiny_data), tiny_student()
    history = run(model, dataset, tmp_path / "work")
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    assert history[-1]["loss"] < history[0]["loss"]
    assert evaluate(make_predict(model), dataset.val)["top1"] == 1.0


@pytest.mark.parametrize("step", [2, 6, 13, 23])
def test_killed_and_resumed_ends_as_unbroken(step: int, tiny_data: Artifact, tmp_path: Path) -> None:
    dataset = Dataset.open(tiny_data)
    unbroken = tiny_student()
    history = run(unbroken, dataset, tmp_path / "unbroken")
    steps = iter(range(100))

    def kill() -> None:
        if next(steps) == step:
            raise Killed

    with pytest.raises(Killed):
        run(tiny_student(), dataset, tmp_path / "work", hooks=Hooks(before_step=kill))
    resumed = tiny_student(seed=99)  # whatever it begins with, the checkpoint decides, unless the kill came before one
    if step < 6:
        resumed = tiny_student()
    assert run(resumed, dataset, tmp_path / "work") == history
    for expected, found in zip(unbroken.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_finished_fit_is_not_run_again(tiny_data: Artifact, tmp_path: Path) -> None:
    dataset, model = Dataset.open(tiny_data), tiny_student()
    history = run(model, dataset, tmp_path / "work")

    def never() -> None:
        raise AssertionError("a step was run")

    again = tiny_student(seed=1)
    assert run(again, dataset, tmp_path / "work", hooks=Hooks(before_step=never)) == history
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


def test_damaged_checkpoint_is_a_warning(tiny_data: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Dataset.open(tiny_data)
    expected = tiny_student()
    run(expected, dataset, tmp_path / "good")
    (tmp_path / "work").mkdir()
    content = (tmp_path / "good" / "checkpoint.npz").read_bytes()
    (tmp_path / "work" / "checkpoint.npz").write_bytes(content[: len(content) // 2])
    logging.getLogger("edgekd").propagate = True
    found = tiny_student()
    run(found, dataset, tmp_path / "work")
    assert "a checkpoint is damaged" in caplog.text
    np.testing.assert_array_equal(found.get_weights()[0], expected.get_weights()[0])


def test_the_epoch_that_was_best_on_val_is_kept(tiny_data: Artifact, tmp_path: Path) -> None:
    dataset, model = Dataset.open(tiny_data), tiny_student()
    history = run(model, dataset, tmp_path / "work", training=Training(epochs=6, batch_size=8, learning_rate=2.0))
    best = max(history, key=lambda row: (row["val_auc"], -row["val_loss"]))
    score = evaluate(make_predict(model), dataset.val)
    assert (score["auc"], score["loss"]) == (best["val_auc"], best["val_loss"])


def test_the_last_epoch_is_kept_where_the_recipe_says_so(tiny_data: Artifact, tmp_path: Path) -> None:
    dataset, model = Dataset.open(tiny_data), tiny_student()
    training = Training(epochs=6, batch_size=8, learning_rate=2.0, keep="last")
    history = run(model, dataset, tmp_path / "work", training=training)
    assert evaluate(make_predict(model), dataset.val)["loss"] == history[-1]["val_loss"]
    assert max(history, key=lambda row: (row["val_auc"], -row["val_loss"])) != history[-1]


def test_first_epochs_can_be_left_out(tiny_data: Artifact, tmp_path: Path) -> None:
    dataset, model = Dataset.open(tiny_data), tiny_student()
    history = run(model, dataset, tmp_path / "work", first_epoch_kept=3)
    assert evaluate(make_predict(model), dataset.val)["loss"] == history[3]["val_loss"]


def test_start_is_kept_where_nothing_improves(tiny_data: Artifact, tmp_path: Path) -> None:
    dataset, model = Dataset.open(tiny_data), tiny_student()
    run(model, dataset, tmp_path / "first")
    before = model.get_weights()
    run(
        model,
        dataset,
        tmp_path / "second",
        training=Training(epochs=2, batch_size=8, learning_rate=0.05, warmup_epochs=0),
        objective=lambda batch, logits: losses.cross_entropy(1 - batch.targets, logits),  # learns the opposite
        keep_initial=True,
    )
    for expected, found in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_soft_targets_follow_the_view(tiny_data: Artifact, tmp_path: Path, stored) -> None:
    """A loss that reads only the soft targets sees those of (view, sample) and no others."""
    dataset, model = Dataset.open(tiny_data), tiny_student()
    targets = np.zeros((2, 48, 2), np.float16)
    targets[1] = 7.0
    history = run(
        model,
        dataset,
        tmp_path / "work",
        soft_targets=stored(targets),
        objective=lambda batch, logits: 0.0 * objective(batch, logits) + _keras.tf.reduce_mean(batch.soft_targets),
    )
    assert [row["loss"] for row in history] == [0.0, 7.0, 0.0, 7.0]


def test_the_step_knows_how_much_of_the_training_is_behind(tiny_data: Artifact, tmp_path: Path) -> None:
    history = run(
        tiny_student(),
        Dataset.open(tiny_data),
        tmp_path / "work",
        training=Training(epochs=2, batch_size=24, learning_rate=0.01),
        objective=lambda batch, logits: 0.0 * losses.cross_entropy(batch.targets, logits) + batch.elapsed,
    )
    # Two steps an epoch, four in all: 0 and 1/4, then 2/4 and 3/4.
    assert [row["loss"] for row in history] == [0.125, 0.625]


def labelled(labels: np.ndarray, num_classes: int, task: str) -> Split:
    return Split(np.zeros((len(labels), 4, 4, 3), np.uint8), labels, num_classes, TASKS[task])


def weights_of_samples(split: Split) -> np.ndarray:
    weights = weights_of_classes(Training(class_weights="balanced"), split)
    return make_batch(split, np.arange(len(split.labels)), 0, Views(), 0, None, weights).weights


def test_balanced_classes_weigh_alike() -> None:
    # 6, 3 and 1 of ten images: 10 / (3 * 6), 10 / (3 * 3), 10 / 3; the mean over the images is 1.
    split = labelled(np.array([0] * 6 + [1] * 3 + [2]), 3, "multi-class")
    weights = weights_of_classes(Training(class_weights="balanced"), split)
    np.testing.assert_allclose(weights, [10 / 18, 10 / 9, 10 / 3], rtol=1e-6)
    np.testing.assert_allclose(weights_of_samples(split), [10 / 18] * 6 + [10 / 9] * 3 + [10 / 3], rtol=1e-6)
    assert float(weights_of_samples(split).mean()) == pytest.approx(1.0)
    np.testing.assert_array_equal(weights_of_classes(Training(), split), [1, 1, 1])


def test_balanced_labels_weigh_alike_there_and_not() -> None:
    # Label 0 is there in 1 of 4 images: 4 / 2 / 1 there and 4 / 2 / 3 where not; label 1 in 2 of 4: 1 and 1.
    split = labelled(np.array([[1, 0], [0, 0], [0, 1], [0, 1]]), 2, "multi-label")
    np.testing.assert_allclose(weights_of_samples(split), [[2, 1], [2 / 3, 1], [2 / 3, 1], [2 / 3, 1]], rtol=1e-6)
    np.testing.assert_array_equal(weights_of_classes(Training(), split), [[1, 1], [1, 1]])


def test_balanced_grades_weigh_one_in_the_mean() -> None:
    split = labelled(np.array([0] * 6 + [1] * 3 + [2]), 3, "ordinal")
    weights = weights_of_samples(split)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert weights[0] < weights[6] < weights[9]


def test_companions_are_trained_and_come_back_from_the_checkpoint(tiny_data: Artifact, tmp_path: Path) -> None:
    dataset = Dataset.open(tiny_data)

    def learner(bias: float) -> tuple[Learner, object]:
        model = tiny_student()
        companion = _keras.tf_keras.layers.Dense(1, name="companion")
        companion.build((None, 2))
        companion.bias.assign([bias])

        def loss(pixels, batch):
            return losses.cross_entropy(batch.targets, model(pixels, training=True)) + companion.bias[0] ** 2

        return Learner(model, loss, [*model.trainable_variables, companion.bias], [companion]), companion

    options = {
        "training": Training(epochs=1, batch_size=8, learning_rate=0.1, warmup_epochs=0),
        "views": Views(),
        "seed": 0,
        "progress": Progress(),
        "title": "tiny",
        "work": tmp_path,
    }
    first, companion = learner(1.0)
    fit(first, dataset, **options)
    moved = float(companion.bias[0])
    assert abs(moved) < 0.9
    second, companion = learner(5.0)
    fit(second, dataset, **options)
    assert float(companion.bias[0]) == moved


def test_a_loss_that_is_no_number_stops_and_names_the_step(tiny_data: Artifact, tmp_path: Path) -> None:
    def poisoned(batch, logits):
        return losses.cross_entropy(batch.targets, logits) / (0.0 * batch.soft_targets[0, 0])

    with pytest.raises(TrainingError, match=r"tiny: the loss is (nan|inf) at step 0 of 24; lower the learning_rate"):
        run(tiny_student(), Dataset.open(tiny_data), tmp_path / "work", objective=poisoned)


def test_what_was_good_before_a_loss_that_is_no_number_is_kept(tiny_data: Artifact, tmp_path: Path) -> None:
    """Six steps an epoch: poison in step 15 leaves the checkpoint of step 12, from which the run can go on."""
    dataset, work = Dataset.open(tiny_data), tmp_path / "work"
    unbroken = tiny_student()
    history = run(unbroken, dataset, tmp_path / "unbroken")

    def poisoned(batch, logits):
        factor = _keras.tf.where(batch.step == 15, np.float32("nan"), np.float32(1))
        return factor * objective(batch, logits)

    with pytest.raises(TrainingError, match=r"the loss is nan at step 15 of 24; .* The last good checkpoint is kept"):
        run(tiny_student(), dataset, work, objective=poisoned)
    with np.load(work / "checkpoint.npz", allow_pickle=False) as archive:
        assert json.loads(archive["state"].tobytes())["step"] == 12
        assert all(np.all(np.isfinite(archive[name])) for name in archive.files if name != "state")
    resumed = tiny_student(seed=99)
    assert run(resumed, dataset, work) == history
    for expected, found in zip(unbroken.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weight_decay_leaves_biases_alone(tiny_data: Artifact, tmp_path: Path) -> None:
    dataset, model = Dataset.open(tiny_data), tiny_student()
    model.get_layer("logits").bias.assign([3.0, -3.0])
    kernel = float(np.abs(model.get_layer("logits").kernel.numpy()).sum())
    run(
        model,
        dataset,
        tmp_path / "work",
        training=Training(epochs=3, batch_size=8, learning_rate=0.1, weight_decay=0.5, warmup_epochs=0),
        objective=lambda batch, logits: 0.0 * losses.cross_entropy(batch.targets, logits),
    )
    np.testing.assert_array_equal(model.get_layer("logits").bias.numpy(), [3.0, -3.0])
    assert float(np.abs(model.get_layer("logits").kernel.numpy()).sum()) < 0.9 * kernel
