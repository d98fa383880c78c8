"""The ways in which a student meets its teacher, on networks small enough to step in a second."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd import _keras
from edgekd.artifact import Artifact
from edgekd.data import Dataset
from edgekd.errors import ModelError
from edgekd.logits_store import LogitsStore
from edgekd.recipe import Distill, Training, Views
from edgekd.stages.distill import beside_teacher, on_labels, on_stored_logits
from edgekd.step import Learner, make_batch, make_optimizer, make_step


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
    learner, pairs = beside_teacher(student, teacher, Distill(mode="live", loss={loss: 1.0}))
    values = steps(learner, tiny_data)
    assert values[-1] < values[0]
    assert moved(before[0], student)
    assert not moved(before[1], teacher)
    expected = [] if loss == "kd" else [("relu0", "relu0"), ("relu1", "relu1")]
    assert [(pair.student, pair.teacher) for pair in pairs] == expected


def test_mutual_learning_moves_both_batch_statistics_included(tiny_data: Artifact) -> None:
    student, teacher = networks()
    before = student.get_weights(), teacher.get_weights()
    learner, _ = beside_teacher(student, teacher, Distill(mode="mutual"))
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
    learner, _ = beside_teacher(student, teacher, Distill(mode="mutual", loss={}, hard_loss_weight=1.0))
    steps(learner, tiny_data, count=1)
    alone, _ = networks()
    steps(on_labels(alone, Distill()), tiny_data, count=1)
    for expected, found in zip(alone.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_hints_train_an_adapter_beside_the_student(tiny_data: Artifact) -> None:
    student, teacher = networks()
    learner, _ = beside_teacher(student, teacher, Distill(mode="live", loss={"fitnet": 1.0}, hard_loss_weight=0.0))
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
    learner, _ = beside_teacher(student, teacher, Distill(mode="live"))
    live = steps(learner, tiny_data)
    again, _ = networks()
    assert steps(on_stored_logits(again, Distill()), tiny_data, soft_targets=answers) == pytest.approx(live, rel=2e-3)


def test_temperature_and_weight_follow_their_schedules(tiny_data: Artifact, stored) -> None:
    """At half of the training the step is that of a recipe whose constants are the means of start and end."""
    student, _ = networks()
    answers = stored(np.random.default_rng(0).normal(0, 2, (1, 48, 2)))
    moving = Distill(temperature=6.0, temperature_end=2.0, hard_loss_weight=0.9, hard_loss_weight_end=0.1)
    batch = make_batch(
        Dataset.open(tiny_data).train, np.arange(16), 0, Views(), 0, answers, np.ones(2, np.float32), elapsed=0.5
    )
    found = []
    for config in (
        moving,
        Distill(temperature=4.0, hard_loss_weight=0.5),
        Distill(temperature=6.0, hard_loss_weight=0.9),
    ):
        student, _ = networks()
        learner = on_stored_logits(student, config)
        found.append(float(learner.loss(np.float32(batch.images), batch)))
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] != pytest.approx(found[2], rel=1e-3)


def test_networks_without_a_common_size_are_refused(tiny_data: Artifact) -> None:
    student, _ = networks()
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    x = layers.Conv2D(2, 3, strides=5, name="odd")(pixels)
    teacher = _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(layers.Flatten(name="flat")(x)))
    with pytest.raises(ModelError, match=r"no feature maps of equal size; name pairs of layers in distill.layer_pairs"):
        beside_teacher(student, teacher, Distill(mode="live", loss={"attention": 1.0}))
