"""One step of training: what it sees, what it changes, and how far it goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import tf, tf_keras
from edgekd.config.training import Training, Views
from edgekd.data import Split
from edgekd.logits_store import LogitsStore
from edgekd.views import Scene, set_scene, show
from edgekd.workers import ALONE, Workers, gather, mean

Objective = Callable[["Batch", Any], Any]
"""``(batch, logits (n, K)) -> scalar``"""

MOMENTUM = 0.9


class Batch(NamedTuple):
    """What a step sees, beside the learning rate. A named tuple, so that a ``tf.function`` takes it as it is.

    Attributes:
        scene: what the networks are shown; of several workers, of each its own samples. All else is of the whole batch.
        targets: a row of shares of the classes for each sample, float32, shape ``(n, K)``.
        weights: of the samples in the losses on labels, float32, shape ``(n,)``; of their labels, ``(n, K)``, where a
            sample may have several.
        soft_targets: the teacher's logits stored for these views, float32, shape ``(n, K)``; zeros where none are.
        elapsed: share of the training that is behind, in [0, 1).
        indices: of the samples among the training images, shape ``(n,)``.
        step: number of the step, from 0.
    """

    scene: Scene
    targets: Any
    weights: Any
    soft_targets: Any
    elapsed: Any
    indices: Any
    step: Any


@dataclass(frozen=True)
class Learner:
    """What a step of training changes, and the loss by which it does so.

    Attributes:
        model: from pixels to logits; val chooses its epoch, and its weights are what the training leaves.
        loss: ``(pixels, batch) -> scalar``; calls the networks in training mode, and gathers what they give.
        variables: what the optimizer moves.
        companions: networks and adapters that are trained along; a checkpoint holds their weights too.
    """

    model: Any
    loss: Callable[[Any, Batch], Any]
    variables: Sequence[Any]
    companions: Sequence[Any] = ()

    @classmethod
    def alone(cls, model: Any, objective: Objective) -> Learner:
        """One network that looks at its own logits."""

        def loss(pixels: Any, batch: Batch) -> Any:
            return objective(batch, gathered(batch, model(pixels, training=True)))

        return cls(model, loss, model.trainable_variables)


def gathered(batch: Batch, found: Any) -> Any:
    """Of nested tensors of this worker's samples, those of the whole batch; see :func:`edgekd.workers.gather`."""
    return tf.nest.map_structure(lambda own: gather(own, batch.targets.shape[0]), found)


def num_steps(training: Training, num_train: int) -> int:
    """Steps of an epoch; images that would not fill a batch wait for another epoch."""
    return max(1, num_train // training.batch_size)


def make_batches(
    split: Split,
    training: Training,
    views: Views,
    seed: int,
    soft_targets: LogitsStore | None,
    first: int,
    members: NDArray[np.integer] | None = None,
) -> Iterator[Batch]:
    """Every batch of a training from step ``first`` on: epoch by epoch, in the order and the view drawn for each.

    With ``members``, the indices of some images, only of these.
    """
    chosen = np.arange(len(split.labels)) if members is None else members
    class_weights, per_epoch = weights_of_classes(training, split), num_steps(training, len(chosen))
    for epoch in range(first // per_epoch, training.epochs):
        order = chosen[epoch_order(seed, epoch, len(chosen))]
        view = epoch if soft_targets is None else epoch % len(soft_targets)
        for step in range(max(first, epoch * per_epoch), (epoch + 1) * per_epoch):
            indices = np.sort(order[step % per_epoch * training.batch_size :][: training.batch_size])
            at = (step, training.epochs * per_epoch)
            yield make_batch(split, indices, view, views, seed, soft_targets, class_weights, *at)


def make_batch(
    split: Split,
    indices: NDArray[np.integer],
    view: int,
    views: Views,
    seed: int,
    soft_targets: LogitsStore | None,
    class_weights: NDArray[np.float32],
    step: int = 0,
    total_steps: int = 1,
) -> Batch:
    """Gather what a step takes. Targets are mixed as the images are, and weights follow from them."""
    scene, mixture = set_scene(views, seed, split.images, indices, view)
    targets = split.targets(indices)
    if mixture is not None:
        share = mixture.share[:, None]
        targets = share * targets + (1 - share) * split.targets(mixture.partners)
    soft = np.zeros_like(targets)
    if soft_targets is not None:
        soft = soft_targets[view, indices]
    return Batch(
        scene,
        targets,
        _sample_weights(targets, class_weights),
        soft,
        np.float32(step / total_steps),
        indices,
        np.int64(step),
    )


def weights_of_classes(training: Training, split: Split) -> NDArray[np.float32]:
    """How much the classes weigh in the losses on labels, by the targets of the training images.

    Balanced: ``n / (K n_k)`` for class ``k``, shape ``(K,)``, with ``n_k`` the sum of its targets: then the classes
    weigh alike and the mean over the samples is 1. Of several labels an image: rows for absent and present, shape
    ``(2, K)``, ``n / 2`` over the number of images without and with each label. Not balanced: ones.
    """
    shape = (2, split.num_classes) if split.task.several else (split.num_classes,)
    if training.class_weights == "none":
        return np.ones(shape, np.float32)
    if split.task.several:
        present = split.labels.sum(axis=0)
        counts = np.stack([len(split.labels) - present, present])
    else:
        rows = split.task.targets(np.arange(split.num_classes), split.num_classes)
        counts = np.bincount(split.labels, minlength=split.num_classes) @ rows
    weights = len(split.labels) / (shape[0] * np.maximum(counts, 1))
    return np.asarray(weights, np.float32)


def _sample_weights(targets: NDArray[np.float32], class_weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The classes' weights in the shares in which a sample has them; linear, so that a mixture's are mixed too."""
    if class_weights.ndim == 1:
        return targets @ class_weights
    absent, present = class_weights
    return np.asarray(targets * present + (1 - targets) * absent)


def make_step(learner: Learner, optimizer: Any, workers: Workers = ALONE) -> Callable[[float, Batch], Any]:
    """Compile one step of gradient descent: ``step(learning_rate, batch) -> loss``."""
    variables = list(learner.variables)

    def differentiate(batch: Batch) -> tuple[Any, list[Any]]:
        pixels = show(batch.scene)
        with tf.GradientTape() as tape:
            loss = learner.loss(pixels, batch)
        return loss, mean(tape.gradient(loss, variables))

    def step(learning_rate: Any, batch: Batch) -> Any:
        loss, gradients = workers.run(differentiate, batch)
        optimizer.learning_rate.assign(learning_rate)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    compiled = tf.function(step, reduce_retracing=True)
    return lambda learning_rate, batch: compiled(
        tf.constant(learning_rate, tf.float32), tf.nest.map_structure(tf.convert_to_tensor, batch)
    )


def make_optimizer(learner: Learner, training: Training) -> Any:
    """SGD with Nesterov momentum or AdamW, built for the learner's variables; only kernels decay."""
    options = {
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay or None,
        "jit_compile": False,
    }
    if training.optimizer == "sgd":
        optimizer = tf_keras.optimizers.SGD(momentum=MOMENTUM, nesterov=True, **options)
    else:
        optimizer = tf_keras.optimizers.AdamW(**options)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    optimizer.build(list(learner.variables))
    learner.model.optimizer = optimizer  # tfmot reads the step count there
    return optimizer


def learning_rate_at(training: Training, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step: linear warm-up, then cosine, steps or constant.

    Cosine: ``0.5 * peak * (1 + cos(pi * t))`` with ``t`` from 0 after the warm-up to 1 at the end (Loshchilov and
    Hutter 2017).
    """
    warmup = min(training.warmup_epochs, training.epochs) * steps_per_epoch
    if step < warmup:
        return training.learning_rate * (step + 1) / (warmup + 1)
    if training.schedule == "cosine":
        elapsed = (step - warmup) / max(1.0, training.epochs * steps_per_epoch - warmup)
        return 0.5 * training.learning_rate * (1 + math.cos(math.pi * elapsed))
    if training.schedule == "step":
        passed = sum(step >= epoch * steps_per_epoch for epoch in training.step_epochs)
        return training.learning_rate * float(training.step_factor) ** passed
    return training.learning_rate


def epoch_order(seed: int, epoch: int, num_train: int) -> NDArray[np.int64]:
    """The order of the training images in an epoch: a permutation drawn from ``(seed, epoch)``."""
    return np.random.default_rng([seed, epoch]).permutation(num_train)
