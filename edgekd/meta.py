"""A schedule of distillation that is learned along (experimental): temperature and the weight of the labels.

Every few steps the student looks one step of training ahead and asks how its loss on held-out training images would
have changed with them. With the student's weights ``theta``, the schedule's parameters ``phi``, the loss of the
distillation ``L``, that on the labels of the held-out images ``H`` and the learning rate ``eta``::

    theta'   = theta - eta grad_theta L(theta, phi)
    dH / dphi = -eta grad_theta H(theta') . d/dphi grad_theta L(theta, phi)

One step of gradient descent is unrolled, as in DARTS (Liu et al. 2019, eq. 6; for weights of examples Ren et al. 2018);
the mixed second derivative is exact, by two nested tapes, not by differences. Momentum is left out of the look.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import losses, objectives
from edgekd._keras import tf, tf_keras
from edgekd.config.distill import Distill
from edgekd.config.training import Training, Views
from edgekd.data import Dataset, Split
from edgekd.errors import RecipeError
from edgekd.step import Batch, Learner, learning_rate_at, make_batch, num_steps, weights_of_classes
from edgekd.tasks import SOFTMAX
from edgekd.training import Hooks
from edgekd.views import show

# How far the schedule may go from where it starts, as factors: of the temperature, and of the odds w / (1 - w).
TEMPERATURE_RANGE, ODDS_RANGE = 4.0, 20.0
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-12  # of Adam; the gradients are small, as the learning rate is a factor of them
_HELD_OUT = 0x4D657461  # apart from what else is drawn from the seed


class Schedule(tf_keras.layers.Layer):  # type: ignore[misc]  # tf_keras has no types
    """Temperature and weight as functions of two free parameters ``phi``, and Adam's moments of these.

    ``T = T0 * 4 ** tanh(phi_0)`` and ``w / (1 - w) = w0 / (1 - w0) * 20 ** tanh(phi_1)``, with ``T0`` and ``w0`` of the
    recipe: both start as given, stay positive and in a range. The weights of labels and teacher are ``w`` and
    ``1 - w``. Their sum stays: more of both is a higher learning rate, which a single step ahead always likes.

    It is a layer so that checkpoints hold it.
    """

    def __init__(self, config: Distill):
        super().__init__(name="schedule")
        weight = config.hard_loss_weight
        self.start = math.log(config.temperature), math.log(weight / (1 - weight))
        self.learning_rate = config.meta_learning_rate
        self.phi = self.add_weight("phi", (2,), initializer="zeros")
        self.first = self.add_weight("first", (2,), initializer="zeros", trainable=False)
        self.second = self.add_weight("second", (2,), initializer="zeros", trainable=False)
        self.count = self.add_weight("count", (), initializer="zeros", trainable=False)

    def values(self) -> tuple[Any, Any]:
        """Temperature, and weight of the loss on the labels."""
        reach = tf.tanh(self.phi)
        temperature = tf.exp(self.start[0] + math.log(TEMPERATURE_RANGE) * reach[0])
        return temperature, tf.sigmoid(self.start[1] + math.log(ODDS_RANGE) * reach[1])

    def figures(self) -> dict[str, float]:
        """:meth:`values`, by the names of the recipe's keys."""
        temperature, weight = self.values()
        return {"temperature": float(temperature), "hard_loss_weight": float(weight)}

    def descend(self, gradient: Any) -> None:
        """A step of Adam (Kingma and Ba 2015)."""
        self.count.assign_add(1.0)
        self.first.assign(BETA1 * self.first + (1 - BETA1) * gradient)
        self.second.assign(BETA2 * self.second + (1 - BETA2) * gradient**2)
        first = self.first / (1 - BETA1**self.count)
        second = self.second / (1 - BETA2**self.count)
        self.phi.assign_sub(self.learning_rate * first / (tf.sqrt(second) + EPSILON))


@dataclass(frozen=True)
class Plan:
    """What a training with a learned schedule takes.

    Attributes:
        learner: the student, with the schedule as its companion.
        hooks: they move the schedule and note it.
        members: indices of the training images that the student learns from.
    """

    learner: Learner
    hooks: Hooks
    members: NDArray[np.int64]


def plan(model: Any, dataset: Dataset, config: Distill, *, seed: int, head: str = SOFTMAX) -> Plan:
    """Set up the training of a student on stored logits with a schedule that is learned along.

    Args:
        model: the student.
        dataset: of which a part of train is held out; val and test are not looked at.
        config: with ``schedule = "meta"``.
        seed: of what is held out, and of the images that each look is taken at.
        head: of the task.

    Raises:
        RecipeError: ``meta_fraction`` of these images cannot be held out.
    """
    schedule = Schedule(config)
    members, held = held_out(dataset.train, config.meta_fraction, seed)
    objective = objectives.on_stored_logits(config, head, lambda batch: schedule.values())
    training, steps_per_epoch = config.training, num_steps(config.training, len(members))
    update = _make_update(model, objective, schedule, head)
    class_weights = weights_of_classes(training, dataset.train)

    def unseen(step: int) -> Batch:
        """Held-out images as they are, with their labels; drawn for the step."""
        drawn = np.random.default_rng([seed, _HELD_OUT, step])
        indices = np.sort(drawn.choice(held, min(training.batch_size, len(held)), replace=False))
        return make_batch(dataset.train, indices, 0, Views(), seed, None, class_weights)

    def look_ahead(batch: Batch) -> None:
        step = int(batch.step)
        if step % config.meta_frequency == 0:
            rate = learning_rate_at(training, step, steps_per_epoch)
            update(rate, batch, unseen(step))

    learner = dataclasses.replace(Learner.alone(model, objective), companions=[schedule])
    return Plan(learner, Hooks(look_ahead=look_ahead, figures=schedule.figures), members)


def held_out(split: Split, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the images that are learned from, and of those that are held out, each ascending.

    Patients are drawn, or images where patients are not known, until the share is reached.

    Raises:
        RecipeError: nothing would be left to learn from.
    """
    count = len(split.labels)
    groups = np.arange(count) if split.groups is None else split.groups
    _, of_image, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng([seed, _HELD_OUT]).permutation(len(sizes))
    needed = int(np.searchsorted(np.cumsum(sizes[order]), fraction * count)) + 1
    chosen = np.isin(of_image, order[:needed])
    if chosen.all():
        raise RecipeError(
            f"distill.meta_fraction = {fraction:g}: the {len(sizes)} patients of train cannot be divided so; lower it, "
            'or set distill.schedule = "fixed"'
        )
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def lookahead_gradient(
    loss: Callable[[], Any],
    held_out_loss: Callable[[], Any],
    variables: Sequence[Any],
    parameters: Any,
    learning_rate: Any,
    others: Iterable[Any] = (),
) -> Any:
    """Gradient by ``parameters`` of the held-out loss after one step of gradient descent on ``loss``.

    Args:
        loss: a function of the variables and the parameters.
        held_out_loss: a function of the variables.
        variables: what the step moves; they are put back.
        parameters: one variable, of any shape.
        learning_rate: of the step.
        others: variables that the losses change (moving averages); they are put back too.
    """
    moved = [*variables, *others]
    before = [tf.identity(variable) for variable in moved]
    unconnected = tf.UnconnectedGradients.ZERO
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(parameters)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(variables)
            value = loss()
        gradients = inner.gradient(value, variables, unconnected_gradients=unconnected)
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    with tf.GradientTape(watch_accessed_variables=False) as ahead:
        ahead.watch(variables)
        value = held_out_loss()
    direction = ahead.gradient(value, variables, unconnected_gradients=unconnected)
    for variable, original in zip(moved, before, strict=True):
        variable.assign(original)
    mixed = outer.gradient(gradients, parameters, output_gradients=direction, unconnected_gradients=unconnected)
    return -learning_rate * mixed


def _make_update(
    model: Any, objective: Callable[[Batch, Any], Any], schedule: Schedule, head: str
) -> Callable[[float, Batch, Batch], None]:
    """Compile a step of the schedule: ``update(learning_rate, batch, held_out)``."""
    variables = list(model.trainable_variables)

    def update(learning_rate: Any, batch: Batch, unseen: Batch) -> None:
        pixels, others = show(batch.scene), show(unseen.scene)

        def loss() -> Any:
            return objective(batch, model(pixels, training=True))

        def held_out_loss() -> Any:
            logits = model(others, training=True)
            return losses.on_labels(Training(), unseen.targets, logits, unseen.weights, head)

        statistics = model.non_trainable_variables
        gradient = lookahead_gradient(loss, held_out_loss, variables, schedule.phi, learning_rate, statistics)
        schedule.descend(gradient)

    compiled = tf.function(update, reduce_retracing=True)

    def run(learning_rate: float, batch: Batch, unseen: Batch) -> None:
        tensors = tf.nest.map_structure(tf.convert_to_tensor, (batch, unseen))
        compiled(tf.constant(learning_rate, tf.float32), *tensors)

    return run
