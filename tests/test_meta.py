"""Schedules that are learned: the look-ahead gradient, what is held out, ranges, kills, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from tiny_student import tiny_student

from edgekd import _keras, losses, meta, nas, preflight, recipe
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.training import Training, Views
from edgekd.data import Dataset, Split
from edgekd.errors import RecipeError
from edgekd.options import to_table
from edgekd.progress import Progress
from edgekd.stages.distill import distill
from edgekd.step import make_batch
from edgekd.training import fit

tf = _keras.tf
SETTINGS = Training(epochs=4, batch_size=8, learning_rate=0.02, warmup_epochs=0.5)
CONFIG = Distill(
    schedule="meta", meta_fraction=0.25, meta_frequency=2, temperature=3.0, hard_loss_weight=0.4, training=SETTINGS
)

X = np.array([-1.5, -0.3, 0.4, 1.1, 2.0])
Y = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
TEACHER = np.array([-4.0, -1.0, 0.5, 2.0, 6.0])
HELD_X, HELD_Y = np.array([-0.8, 0.2, 1.7]), np.array([0.0, 0.0, 1.0])
THETA, RATE = np.array([0.7, -0.2]), 0.9


def schedule_of(phi: np.ndarray) -> tuple[float, float]:
    """Temperature 3 * 4 ** tanh, odds 2/3 * 20 ** tanh."""
    odds = 0.4 / 0.6 * 20.0 ** np.tanh(phi[1])
    return 3.0 * 4.0 ** np.tanh(phi[0]), odds / (1 + odds)


def held_out_loss_after_a_step(phi: np.ndarray) -> float:
    """A student of two numbers, z = a x + b, whose logits are (0, z), by hand.

    The slope of the cross-entropy by z is s(z) - y, that of T**2 KL is T (s(z / T) - s(t / T)).
    """
    temperature, weight = schedule_of(phi)
    z = THETA[0] * X + THETA[1]
    soft = temperature * (expit(z / temperature) - expit(TEACHER / temperature))
    slope = weight * (expit(z) - Y) + (1 - weight) * soft
    a, b = THETA - RATE * np.array([np.mean(slope * X), np.mean(slope)])
    ahead = a * HELD_X + b
    return float(np.mean(np.logaddexp(0, ahead) - HELD_Y * ahead))


def pairs(z: Any) -> Any:
    return tf.stack([tf.zeros_like(z), z], axis=1)


def test_the_gradient_is_that_of_numeric_differentiation_of_a_student_of_two_numbers() -> None:
    phi, theta = tf.Variable([0.3, -0.5], dtype=tf.float64), [tf.Variable(value, dtype=tf.float64) for value in THETA]

    def loss() -> Any:
        reach = tf.tanh(phi)
        temperature = 3.0 * tf.exp(np.log(4.0) * reach[0])
        weight = tf.sigmoid(np.log(0.4 / 0.6) + np.log(20.0) * reach[1])
        logits = pairs(theta[0] * X + theta[1])
        hard = losses.cross_entropy(np.stack([1 - Y, Y], axis=1), logits)
        return weight * hard + (1 - weight) * losses.kd(pairs(tf.constant(TEACHER)), logits, temperature)

    def held_out() -> Any:
        return losses.cross_entropy(np.stack([1 - HELD_Y, HELD_Y], axis=1), pairs(theta[0] * HELD_X + theta[1]))

    found = meta.lookahead_gradient(loss, held_out, theta, phi, tf.constant(RATE, tf.float64)).numpy()
    for place, step in enumerate(1e-5 * np.eye(2)):
        at = phi.numpy()
        slope = (held_out_loss_after_a_step(at + step) - held_out_loss_after_a_step(at - step)) / 2e-5
        assert abs(slope) > 1e-3
        assert found[place] == pytest.approx(slope, rel=1e-6)
    assert [float(variable) for variable in theta] == list(THETA)


def test_values_start_as_given_and_stay_in_their_range() -> None:
    schedule = meta.Schedule(CONFIG)
    assert schedule.figures() == pytest.approx({"temperature": 3.0, "hard_loss_weight": 0.4})
    for phi in ([0.3, -0.5], [-1.2, 0.9]):
        schedule.phi.assign(phi)
        assert tuple(schedule.figures().values()) == pytest.approx(schedule_of(np.array(phi)), rel=1e-5)
    schedule.phi.assign([50.0, 50.0])  # odds 2/3 * 20 are 40 to 3
    assert schedule.figures() == pytest.approx({"temperature": 12.0, "hard_loss_weight": 40 / 43}, rel=1e-5)
    schedule.phi.assign([-50.0, -50.0])  # and 2/3 / 20 are 1 to 30
    assert schedule.figures() == pytest.approx({"temperature": 0.75, "hard_loss_weight": 1 / 31}, rel=1e-5)


def test_a_step_of_the_schedule_is_one_of_adam() -> None:
    """Kingma and Ba 2015, algorithm 1, in NumPy."""
    schedule = meta.Schedule(dataclasses.replace(CONFIG, meta_learning_rate=0.1))
    phi, first, second = np.zeros(2), np.zeros(2), np.zeros(2)
    for count, gradient in enumerate(np.array([[1e-4, -2.0], [3e-4, 1.0], [-5e-4, 1.0]]), start=1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        phi = phi - 0.1 * (first / (1 - 0.9**count)) / (np.sqrt(second / (1 - 0.999**count)) + 1e-12)
        schedule.descend(tf.constant(gradient, tf.float32))
    np.testing.assert_allclose(schedule.phi.numpy(), phi, rtol=1e-3)


def wrong(dataset: Dataset, scale: float = 6.0) -> np.ndarray:
    """A teacher that names the other class, always, in two views."""
    return np.stack([scale * (1 - 2 * dataset.train.targets())] * 2).astype(np.float32)


def run(
    model: Any, dataset: Dataset, work: Path, soft_targets: Any, config: Distill = CONFIG
) -> tuple[list[dict[str, float]], meta.Plan]:
    plan = meta.plan(model, dataset, config, seed=5)
    options = {"training": config.training, "views": Views(max_shift=0.1), "seed": 5, "progress": Progress()}
    more = {"soft_targets": soft_targets, "hooks": plan.hooks, "members": plan.members}
    return fit(plan.learner, dataset, work=work, title="tiny", **options, **more), plan


def test_where_the_teacher_is_wrong_the_labels_gain_weight(tiny_data: Artifact, tmp_path: Path, stored: Any) -> None:
    dataset = Dataset.open(tiny_data)
    history, _ = run(tiny_student(), dataset, tmp_path / "work", stored(wrong(dataset)))
    shares = [row["hard_loss_weight"] for row in history]
    assert shares == sorted(shares)
    assert shares[-1] > 0.45
    assert set(history[0]) == {"epoch", "loss", "val_loss", "val_top1", "val_auc", "temperature", "hard_loss_weight"}


def test_nothing_is_learned_from_what_is_held_out(tiny_data: Artifact, tmp_path: Path) -> None:
    """The teacher's answers to these images are no numbers, which one of them would make of the student too."""
    dataset = Dataset.open(tiny_data)
    _, held = meta.held_out(dataset.train, 0.25, 5)
    logits = wrong(dataset)
    logits[:, held] = np.nan
    model = tiny_student()
    history, plan = run(model, dataset, tmp_path / "work", logits)  # a store refuses what is no number
    assert len(held) == 12
    assert sorted([*held, *plan.members]) == list(range(48))
    assert all(np.isfinite(weights).all() for weights in model.get_weights())
    assert np.isfinite([row["loss"] for row in history]).all()


def test_a_look_leaves_the_student_as_it_was(tiny_data: Artifact) -> None:
    dataset, model = Dataset.open(tiny_data), tiny_student()
    plan = meta.plan(model, dataset, CONFIG, seed=5)
    before = model.get_weights()
    ones, soft = np.ones(2, np.float32), wrong(dataset)
    batch = make_batch(dataset.train, np.arange(8), 0, Views(), 0, None, ones, 10, 20)
    plan.hooks.look_ahead(batch._replace(soft_targets=soft[0, :8]))
    assert plan.hooks.figures()["hard_loss_weight"] > 0.4
    for expected, found in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


class Killed(Exception):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("step", [6, 11])
def test_killed_and_resumed_ends_as_unbroken(step: int, tiny_data: Artifact, tmp_path: Path, stored: Any) -> None:
    """36 images are learned from, in 4 steps an epoch; the schedule moves at every second."""
    dataset, unbroken = Dataset.open(tiny_data), tiny_student()
    soft_targets = stored(wrong(dataset))
    history, plan = run(unbroken, dataset, tmp_path / "unbroken", soft_targets)
    broken = tiny_student()
    stopping = meta.plan(broken, dataset, CONFIG, seed=5)

    def kill(batch: Any) -> None:
        if int(batch.step) == step:
            raise Killed
        stopping.hooks.look_ahead(batch)

    options = {"training": SETTINGS, "views": Views(max_shift=0.1), "seed": 5, "progress": Progress(), "title": "tiny"}
    hooks = dataclasses.replace(stopping.hooks, look_ahead=kill)
    more = {"soft_targets": soft_targets, "hooks": hooks, "members": stopping.members, "work": tmp_path / "work"}
    with pytest.raises(Killed):
        fit(stopping.learner, dataset, **options, **more)
    resumed = tiny_student(seed=99)
    again, found = run(resumed, dataset, tmp_path / "work", soft_targets)
    assert again == history
    networks = (unbroken, resumed), (plan.learner.companions[0], found.learner.companions[0])
    for whole, part in networks:
        for expected, weights in zip(whole.get_weights(), part.get_weights(), strict=True):
            np.testing.assert_array_equal(weights, expected)


def split(groups: list[int] | None, count: int = 8) -> Split:
    at = None if groups is None else np.array(groups)
    return Split(np.zeros((count, 2, 2, 3), np.uint8), np.zeros(count, np.int64), 2, groups=at)


def test_patients_stay_whole() -> None:
    groups = [7, 7, 7, 3, 3, 5, 5, 9]
    for seed in range(8):
        members, held = meta.held_out(split(groups), 0.25, seed)
        assert sorted([*members, *held]) == list(range(8))
        assert {groups[index] for index in members}.isdisjoint(groups[index] for index in held)
        assert len(held) >= 2
    assert len(meta.held_out(split(None), 0.25, 0)[1]) == 2
    assert len(meta.held_out(split(None), 0.3, 0)[1]) == 3  # the share is reached
    with pytest.raises(RecipeError, match=r"distill\.meta_fraction = 0\.1: the 1 patients"):
        meta.held_out(split([4] * 8), 0.1, 0)


def made(**changes: Any) -> recipe.Recipe:
    table = {"schedule": "meta", **changes}
    return recipe.from_table({"name": "tiny", "data": {"name": "synthetic_cells"}, "distill": table})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "mutual"}, 'not with distill.mode = "mutual"; set distill.mode = "stored"'),
        ({"mode": "live"}, 'not with distill.mode = "live"'),
        ({"temperature_end": 1.0}, "distill.temperature_end = 1.0"),
        ({"hard_loss_weight_end": 0.5}, "distill.hard_loss_weight_end = 0.5"),
        ({"hard_loss_weight": 0.0}, "between 0 and 1"),
        ({"hard_loss_weight": 1.0}, "between 0 and 1"),
        ({"views": {"mixup_alpha": 0.2}}, "distill.views.mixup_alpha = 0.2 would mix"),
        ({"schedule": "metta"}, 'did you mean "meta"?'),
    ],
)
def test_what_it_does_not_go_with_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        made(**changes)
    assert words in str(refused.value)


def test_several_workers_and_a_supernet_are_refused() -> None:
    with pytest.raises(RecipeError, match="build without --workers"):
        preflight.check_shared(made(), 2)
    table = to_table(made(student="blocks"))
    with pytest.raises(RecipeError, match="a supernet holds many"):
        nas.check(recipe.from_table({**table, "budget": {"max_tflite_bytes": 100_000}}))


def test_the_stage_says_what_it_ended_at(tiny_data: Artifact, tmp_path: Path, stored: Any) -> None:
    dataset = Dataset.open(tiny_data)
    stored(wrong(dataset))
    logits = Artifact.seal(tmp_path / "logits" / "store", {})
    config = dataclasses.replace(CONFIG, student="ds_cnn", width_multiplier=0.25, num_views=2)
    config = dataclasses.replace(config, training=dataclasses.replace(SETTINGS, epochs=2))
    (tmp_path / "out").mkdir()
    options: dict[str, Any] = {"seed": 5, "work": tmp_path / "work", "progress": Progress()}
    facts = distill(tiny_data, None, logits, config, tmp_path / "out", **options).facts
    last = facts["history"][-1]
    assert facts["schedule"] == {name: last[name] for name in ("temperature", "hard_loss_weight")}
    fixed = dataclasses.replace(config, schedule="fixed")
    (tmp_path / "fixed").mkdir()
    options["work"] = tmp_path / "work_fixed"
    assert distill(tiny_data, None, logits, fixed, tmp_path / "fixed", **options).facts["schedule"] is None
