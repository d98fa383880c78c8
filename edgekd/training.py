"""The training loop that every network here goes through: teacher, student, and student under pruning.

A run is a pure function of (initial weights, data, configuration, seed, thread count): the order of the images is drawn
from (seed, epoch) and a view from (seed, sample, view), so that a loop that was killed and resumed from its checkpoint
ends with the same bytes as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import checkpoint, losses, metrics
from edgekd._keras import tf
from edgekd.checkpoint import State
from edgekd.config.training import Training, Views
from edgekd.data import Dataset, Split
from edgekd.data.pool import ahead
from edgekd.errors import TrainingError
from edgekd.logits_store import LogitsStore
from edgekd.mapped import release
from edgekd.progress import Progress
from edgekd.step import Batch, Learner, learning_rate_at, make_batches, make_optimizer, make_step, num_steps
from edgekd.synchronize import synchronized
from edgekd.tasks import probabilities
from edgekd.workers import ALONE, Workers

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""``images (n, h, w, c) -> logits (n, K)``"""

SECONDS_BETWEEN_CHECKPOINTS = 60.0


@dataclass(frozen=True)
class Hooks:
    """What pruning and learned schedules do within the loop.

    Attributes:
        on_start: takes the optimizer.
        before_step: called before each step.
        look_ahead: takes the batch of the coming step.
        before_evaluation: called at the end of each epoch.
        figures: of an epoch, beside the loss; they go into its record.
    """

    on_start: Callable[[Any], None] = lambda optimizer: None
    before_step: Callable[[], None] = lambda: None
    look_ahead: Callable[[Batch], None] = lambda batch: None
    before_evaluation: Callable[[], None] = lambda: None
    figures: Callable[[], Mapping[str, float]] = dict


def fit(
    learner: Learner,
    dataset: Dataset,
    *,
    training: Training,
    views: Views,
    seed: int,
    work: Path,
    progress: Progress,
    title: str,
    soft_targets: LogitsStore | None = None,
    hooks: Hooks | None = None,
    first_epoch_kept: int = 0,
    keep_initial: bool = False,
    workers: Workers = ALONE,
    members: NDArray[np.integer] | None = None,
) -> list[dict[str, float]]:
    """Train the learner's model in place and leave it with the weights of the epoch that was best on val, or the last.

    ``training.keep`` says which. Best is the highest val AUC; the lower val cross-entropy decides between equals.

    Args:
        learner: the networks and the loss.
        dataset: train is learned from, val chooses; test is not touched.
        training: how long and how fast.
        views: random views of the training images.
        seed: of order and views.
        work: folder of the checkpoint; a finished or broken-off run that is found there is gone on with.
        progress: where the task is shown.
        title: of the task.
        soft_targets: teacher's stored logits; epoch ``e`` shows view ``e % num_views``. Without them every epoch shows
            a view of its own.
        hooks: calls within the loop.
        first_epoch_kept: epochs before this one are not candidates (pruning has not reached its sparsity).
        keep_initial: the weights at the start are a candidate too.
        workers: who share each step. All leave the same weights and history; the chief alone writes to ``work``.
        members: indices of the training images that are learned from; None: all.

    Returns:
        One record per epoch: ``{"epoch", "loss", "val_loss", "val_top1", "val_auc"}``, the accuracy
        by its name for the task, and the figures of the hooks.

    Raises:
        TrainingError: the loss is not a number.
        WorkerError: another worker has ended.
    """
    hooks, model = hooks or Hooks(), learner.model
    if training.keep == "last":
        first_epoch_kept = training.epochs - 1
    steps_per_epoch = num_steps(training, len(dataset.train.labels if members is None else members))
    total_steps = training.epochs * steps_per_epoch
    optimizer = make_optimizer(learner, training)
    predict = make_predict(model)
    place = work / "checkpoint.npz"
    networks = [model, *learner.companions]
    state = checkpoint.restore(place, networks, optimizer) if workers.is_chief else None
    if state is None:
        state = State()
        if keep_initial:
            state.best, state.best_weights = rank(evaluate(predict, dataset.val)), model.get_weights()
    state = checkpoint.agree(state, networks, optimizer, workers)
    hooks.on_start(optimizer)
    step_function = make_step(learner, optimizer, workers)
    last_saved = time.monotonic()
    batches = make_batches(dataset.train, training, views, seed, soft_targets, state.step, members)
    with (
        synchronized(networks, workers.count > 1),
        progress.task(title, total_steps * training.batch_size) as task,
        closing(ahead(batches)) as waiting,
    ):
        task.skip(state.step * training.batch_size)
        task.resume(state.history)
        while state.step < total_steps:
            epoch, position = divmod(state.step, steps_per_epoch)
            batch = next(waiting)
            hooks.before_step()
            batch = batch._replace(scene=workers.own(batch.scene))
            hooks.look_ahead(batch)
            with workers.noticing():
                loss = float(step_function(learning_rate_at(training, state.step, steps_per_epoch), batch))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"{title}: the loss is {loss} at step {state.step} of {total_steps}; lower the learning_rate "
                    f"({training.learning_rate}). The last good checkpoint is kept"
                )
            state.step += 1
            state.loss_sum += loss
            task.advance(training.batch_size, loss=loss)
            epoch_ends = position + 1 == steps_per_epoch
            if epoch_ends:
                hooks.before_evaluation()
                score = workers.from_chief(lambda: evaluate(predict, dataset.val))
                state.history.append(_record(epoch, state.loss_sum / steps_per_epoch, score, hooks.figures()))
                state.loss_sum = 0.0
                reached = rank(score)
                if epoch >= first_epoch_kept and (state.best is None or reached > state.best):
                    state.best, state.best_weights = reached, model.get_weights()
            if epoch_ends or time.monotonic() - last_saved > SECONDS_BETWEEN_CHECKPOINTS:
                if workers.is_chief:
                    checkpoint.save(place, networks, optimizer, state)
                last_saved = time.monotonic()
            if epoch_ends:  # after the checkpoint: who looks on may end the training here
                task.end_epoch(state.history[-1])
    if state.best_weights:
        model.set_weights(state.best_weights)
        workers.take_from_chief(model.weights)
    return state.history


def make_predict(model: Any, batch_size: int = 256) -> Predict:
    """Compile ``predict(images uint8 (n, h, w, c)) -> logits float32 (n, K)``; no augmentation, no training mode."""
    compiled = tf.function(lambda pixels: model(tf.cast(pixels, tf.float32), training=False), reduce_retracing=True)

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        starts = range(0, len(images), batch_size)
        logits = []
        for start in starts:
            logits.append(compiled(tf.constant(images[start : start + batch_size])).numpy())
            release(images)
        return np.concatenate(logits)

    return predict


def evaluate(predict: Predict, split: Split) -> dict[str, float]:
    """Loss on the labels, accuracy and AUC of a Keras model: ``{"loss", "top1", "auc"}``. Chooses epochs.

    The accuracy stands under the name that it has for the task. None of this is reported.
    """
    task, logits = split.task, predict(split.images)
    loss = float(losses.on_labels(Training(), tf.constant(split.targets()), tf.constant(logits), head=task.head))
    probs = probabilities(logits, task.head)
    accuracy, auc = metrics.accuracy(probs, split.labels), metrics.auc(probs, split.labels)
    return {"loss": loss, task.accuracy: accuracy, "auc": auc}


def rank(score: Mapping[str, float]) -> tuple[float, float]:
    """What val chooses by: the higher AUC; between equals the lower cross-entropy."""
    return score["auc"], -score["loss"]


def _record(epoch: int, loss: float, score: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    return {"epoch": epoch, "loss": loss, **{f"val_{name}": value for name, value in score.items()}, **more}
