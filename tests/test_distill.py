"""The ways in which a student meets its teacher, on networks small enough to step in a second."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from edgekd import _keras
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.training import Training, Views
from edgekd.data import Dataset
from edgekd.errors import ModelError
from edgekd.logits_store import LogitsStore
from edgekd.progress import Progress
from edgekd.stages.distill import beside_teacher, finetune, on_labels, on_stored_logits
from edgekd.stages.teacher_logits import teacher_logits
from edgekd.step import Learner, make_batch, make_optimizer, make_step
from edgekd.training import evaluate, fit, make_predict
from edgekd.views import show


def network(channels: int, name: str):
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    for index in range(2):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", name=f"conv{index}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"bn{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x), name=name)


def networks():
    _keras.reset(0)
    return network(4, "student"), network(8, "teacher")


def steps(learner: Learner, data: Artifact, count: int = 3, soft_targets: LogitsStore | None = None) -> list[float]:
    dataset, training = Dataset.open(data), Training(learning_rate=0.1, weight_decay=0.0)
    step = make_step(learner, make_optimizer(learner, training))
    batch = make_batch(dataset.train, np.arange(16), 0, Views(), 0, soft_targets, np.ones(2, np.float32))
    return [float(step(0.1, batch)) for _ in range(count)]


def moved(before: list[np.ndarray], model) -> bool:
    return any(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("loss", ["kd", "attention", "fitnet", "rkd"])
def test_live_teacher_is_not_touched(loss: str, tiny_data: Artifact) -> None:
    student, teacher = networks()
    before = student.get_weights(), teacher.get_weights()
    learner, pairs = beside_teacher(student, teacher, Distill(mode="live", loss={loss: 1.0}), num_train=48)
    values = steps(learner, tiny_data)
    assert values[-1] < values[0]
    assert moved(before[0], student)
    assert not moved(before[1], teacher)
    expected = [] if loss == "kd" else [("relu0", "relu0"), ("relu1", "relu1")]
    assert [(pair.student, pair.teacher) for pair in pairs] == expected


def test_mutual_learning_moves_both_batch_statistics_included(tiny_data: Artifact) -> None:
    student, teacher = networks()
    before = student.get_weights(), teacher.get_weights()
    learner, _ = beside_teacher(student, teacher, Distill(mode="mutual"), num_train=48)
    steps(learner, tiny_data)
    assert moved(before[0], student)
    for name in ("conv0", "logits"):
        layer = teacher.get_layer(name)
        assert not np.array_equal(layer.get_weights()[0], before[1][teacher.weights.index(layer.weights[0])])
    assert not np.array_equal(teacher.get_layer("bn0").moving_mean.numpy(), np.zeros(8))
    assert learner.companions == [teacher]


def test_each_of_two_mutual_learners_gets_its_own_gradient(tiny_data: Artifact) -> None:
    """Weight 1 on the labels: the student's loss has no term with the teacher, and its step is that of one alone."""
    student, teacher = networks()
    learner, _ = beside_teacher(student, teacher, Distill(mode="mutual", loss={}, hard_loss_weight=1.0), num_train=48)
    steps(learner, tiny_data, count=1)
    alone, _ = networks()
    steps(on_labels(alone, Distill()), tiny_data, count=1)
    for expected, found in zip(alone.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_hints_train_an_adapter_beside_the_student(tiny_data: Artifact) -> None:
    student, teacher = networks()
    learner, _ = beside_teacher(
        student, teacher, Distill(mode="live", loss={"fitnet": 1.0}, hard_loss_weight=0.0), num_train=48
    )
    adapters = [layer for layer in learner.companions if layer is not teacher]
    assert [tuple(layer.kernel.shape) for layer in adapters] == [(4, 8), (4, 8)]
    before = [layer.get_weights()[0] for layer in adapters]
    steps(learner, tiny_data)
    assert all(not np.array_equal(old, new.get_weights()[0]) for old, new in zip(before, adapters, strict=True))


def test_stored_and_live_logits_give_the_same_step(tiny_data: Artifact, stored) -> None:
    """The stored answers are half precision, so the losses agree to about three digits."""
    student, teacher = networks()
    images = np.float32(Dataset.open(tiny_data).train.images)
    answers = stored(teacher(images, training=False).numpy()[None])
    learner, _ = beside_teacher(student, teacher, Distill(mode="live"), num_train=48)
    live = steps(learner, tiny_data)
    again, _ = networks()
    assert steps(on_stored_logits(again, Distill()), tiny_data, soft_targets=answers) == pytest.approx(live, rel=2e-3)


MIXED = Views(max_shift=0.1, mixup_alpha=0.4, cutmix_alpha=1.0)


def test_targets_are_mixed_as_the_images_are(tiny_data: Artifact) -> None:
    """Class 1 is bright on the right and class 0 on the left, so that a mixture shows how much it has of each."""
    split = Dataset.open(tiny_data).train
    batch = make_batch(split, np.arange(48), 1, Views(mixup_alpha=1.0), 0, None, np.array([1, 3], np.float32))
    np.testing.assert_allclose(batch.targets.sum(axis=1), 1.0, rtol=1e-6)
    pixels = np.asarray(show(batch.scene))
    lean = (pixels[:, :, 8:] - pixels[:, :, :8]).mean(axis=(1, 2, 3)) / 120
    np.testing.assert_allclose(batch.targets[:, 1] - batch.targets[:, 0], lean, atol=0.1)
    assert np.any((batch.targets > 0.2) & (batch.targets < 0.8))
    np.testing.assert_allclose(batch.weights, batch.targets[:, 0] + 3 * batch.targets[:, 1], rtol=1e-6)


def test_stored_logits_are_those_of_the_very_mixture_that_the_student_sees(tiny_data: Artifact, tmp_path: Path) -> None:
    _, teacher = networks()
    teacher.get_layer("logits").set_weights([30 * np.ones((8, 2), np.float32) * [1, -1], np.zeros(2, np.float32)])
    _keras.save_model(teacher, tmp_path / "source" / "model")
    source = Artifact.seal(tmp_path / "source", {})
    (tmp_path / "work").mkdir()
    (tmp_path / "stored").mkdir()
    options = {"num_views": 2, "seed": 3, "work": tmp_path / "work", "progress": Progress()}
    logits = LogitsStore.open(teacher_logits(tiny_data, source, MIXED, tmp_path / "stored", **options).path)
    indices, split = np.array([1, 5, 8, 30]), Dataset.open(tiny_data).train
    for view in (0, 1):
        batch = make_batch(split, indices, view, MIXED, 3, logits, np.ones(2, np.float32))
        seen = teacher(show(batch.scene), training=False).numpy()
        np.testing.assert_allclose(batch.soft_targets, seen, rtol=2e-3, atol=2e-3)
    assert np.ptp(seen) > 0.1


def test_a_network_alone_learns_from_mixtures(tiny_data: Artifact, tmp_path: Path) -> None:
    model, _ = networks()
    dataset = Dataset.open(tiny_data)
    fit(
        on_labels(model, Distill()),
        dataset,
        training=Training(epochs=8, batch_size=8, learning_rate=0.05, warmup_epochs=0),
        views=MIXED,
        seed=0,
        work=tmp_path / "work",
        progress=Progress(),
        title="mixed",
    )
    assert evaluate(make_predict(model), dataset.val)["top1"] == 1.0


def test_temperature_and_weight_follow_their_schedules(tiny_data: Artifact, stored) -> None:
    """At half of the training the step is that of a recipe whose constants are the means of start and end."""
    student, _ = networks()
    answers = stored(np.random.default_rng(0).normal(0, 2, (1, 48, 2)))
    moving = Distill(temperature=6.0, temperature_end=2.0, hard_loss_weight=0.9, hard_loss_weight_end=0.1)
    batch = make_batch(
        Dataset.open(tiny_data).train,
        np.arange(16),
        0,
        Views(),
        0,
        answers,
        np.ones(2, np.float32),
        step=2,
        total_steps=4,
    )
    found = []
    for config in (
        moving,
        Distill(temperature=4.0, hard_loss_weight=0.5),
        Distill(temperature=6.0, hard_loss_weight=0.9),
    ):
        student, _ = networks()
        learner = on_stored_logits(student, config)
        found.append(float(learner.loss(np.float32(batch.scene.own.images), batch)))
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] != pytest.approx(found[2], rel=1e-3)


def test_a_teacher_without_feature_maps_is_refused(tiny_data: Artifact) -> None:
    student, _ = networks()
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    teacher = _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(layers.Flatten(name="flat")(pixels)))
    with pytest.raises(ModelError, match=r"teacher has no feature maps below the size of its input"):
        beside_teacher(student, teacher, Distill(mode="live", loss={"attention": 1.0}), num_train=48)


@pytest.mark.parametrize(("trained", "kept"), [(False, True), (True, False)])
def test_finetuning_is_kept_only_where_val_improves(
    trained: bool, kept: bool, tiny_data: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A network that knows nothing improves; one that has learned is spoilt by a rate of 10 and stays as it was."""
    dataset, (student, _) = Dataset.open(tiny_data), networks()
    common = {"seed": 0, "progress": Progress()}
    if trained:
        long = Training(epochs=12, batch_size=16, learning_rate=0.1)
        fit(on_labels(student, Distill()), dataset, training=long, views=Views(), work=tmp_path, title="t", **common)
    config = Distill(
        finetune_epochs=3, finetune_learning_rate=10.0 if trained else 0.05, training=Training(batch_size=16)
    )
    before = student.get_weights()
    logging.getLogger("edgekd").propagate = True
    with caplog.at_level(logging.INFO, "edgekd"):
        history, found = finetune(student, dataset, config, work=tmp_path / "finetune", **common)
    assert len(history) == 3
    assert found["kept"] == kept == moved(before, student)
    assert f"{found['before']['auc']:.4f} to {found['after']['auc']:.4f}" in caplog.text
    assert caplog.text.rstrip().endswith("kept" if kept else "not kept, the student stays as it was")
    # What the student is now worth on val is what the record says.
    assert evaluate(make_predict(student), dataset.val) == pytest.approx(found["after" if kept else "before"])


def test_finetuning_sees_the_labels_alone_at_its_own_rate(tiny_data: Artifact, tmp_path: Path) -> None:
    """Its first step is that of a student alone with the learning rate of fine-tuning and no warm-up."""
    dataset = Dataset.open(tiny_data)
    config = Distill(
        finetune_epochs=1, finetune_learning_rate=0.02, training=Training(batch_size=48, learning_rate=3.0)
    )
    student, _ = networks()
    finetune(student, dataset, config, seed=4, work=tmp_path, progress=Progress())
    alone, _ = networks()
    learner = on_labels(alone, Distill())
    step = make_step(learner, make_optimizer(learner, config.training))
    step(0.02, make_batch(dataset.train, np.arange(48), 0, Views(), 5, None, np.ones(2, np.float32)))
    for expected, found in zip(alone.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
