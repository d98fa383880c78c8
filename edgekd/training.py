"""The training loop that every network here goes through: teacher, student, and student under pruning.

A run is a pure function of (initial weights, data, configuration, seed, thread count): the order of the images is drawn
from (seed, epoch) and a view from (seed, sample, view), so that a loop that was killed and resumed from its checkpoint
ends with the same bytes as one that was not.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import losses, metrics
from edgekd._keras import tf
from edgekd.config.training import Training, Views
from edgekd.data import Dataset, Split
from edgekd.data.pool import ahead
from edgekd.errors import TrainingError
from edgekd.logits_store import LogitsStore
from edgekd.mapped import release
from edgekd.progress import Progress
from edgekd.step import Learner, learning_rate_at, make_batches, make_optimizer, make_step, num_steps
from edgekd.tasks import probabilities

logger = logging.getLogger("edgekd")

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""``images (n, h, w, c) -> logits (n, K)``"""

SECONDS_BETWEEN_CHECKPOINTS = 60.0


@dataclass(frozen=True)
class Hooks:
    """What pruning does at the three places where tfmot wants to be called in a custom loop."""

    on_start: Callable[[Any], None] = lambda optimizer: None
    before_step: Callable[[], None] = lambda: None
    before_evaluation: Callable[[], None] = lambda: None


@dataclass
class _State:
    """Where a loop stands; all of it goes into the checkpoint."""

    step: int = 0
    loss_sum: float = 0.0
    best: tuple[float, float] | None = None
    best_weights: list[NDArray[Any]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


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
        hooks: calls that pruning needs.
        first_epoch_kept: epochs before this one are not candidates (pruning has not reached its sparsity).
        keep_initial: the weights at the start are a candidate too.

    Returns:
        One record per epoch: ``{"epoch", "loss", "val_loss", "val_top1", "val_auc"}``, the accuracy
        by its name for the task.

    Raises:
        TrainingError: the loss is not a number.
    """
    hooks, model = hooks or Hooks(), learner.model
    if training.keep == "last":
        first_epoch_kept = training.epochs - 1
    steps_per_epoch = num_steps(training, len(dataset.train.labels))
    total_steps = training.epochs * steps_per_epoch
    optimizer = make_optimizer(learner, training)
    predict = make_predict(model)
    state = _State()
    checkpoint = work / "checkpoint.npz"
    restored = _restore(checkpoint, learner, optimizer) if checkpoint.exists() else None
    if restored:
        state = restored
    elif keep_initial:
        score = evaluate(predict, dataset.val)
        state.best, state.best_weights = rank(score), model.get_weights()
    hooks.on_start(optimizer)
    step_function = make_step(learner, optimizer)
    last_saved = time.monotonic()
    batches = make_batches(dataset.train, training, views, seed, soft_targets, state.step)
    with progress.task(title, total_steps * training.batch_size) as task, closing(ahead(batches)) as waiting:
        task.skip(state.step * training.batch_size)
        task.resume(state.history)
        while state.step < total_steps:
            epoch, position = divmod(state.step, steps_per_epoch)
            batch = next(waiting)
            hooks.before_step()
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
                _end_epoch(model, evaluate(predict, dataset.val), state, epoch, steps_per_epoch, first_epoch_kept)
            if epoch_ends or time.monotonic() - last_saved > SECONDS_BETWEEN_CHECKPOINTS:
                _save(checkpoint, learner, optimizer, state)
                last_saved = time.monotonic()
            if epoch_ends:  # after the checkpoint: who looks on may end the training here
                task.end_epoch(state.history[-1])
    if state.best_weights:
        model.set_weights(state.best_weights)
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


def _end_epoch(
    model: Any, score: dict[str, float], state: _State, epoch: int, steps_per_epoch: int, first_epoch_kept: int
) -> None:
    state.history.append(
        {
            "epoch": epoch,
            "loss": state.loss_sum / steps_per_epoch,
            **{f"val_{name}": value for name, value in score.items()},
        }
    )
    state.loss_sum = 0.0
    reached = rank(score)
    if epoch >= first_epoch_kept and (state.best is None or reached > state.best):
        state.best, state.best_weights = reached, model.get_weights()


def _save(path: Path, learner: Learner, optimizer: Any, state: _State) -> None:
    groups = {
        **{f"network{index}": network.get_weights() for index, network in enumerate(_networks(learner))},
        "optimizer": [variable.numpy() for variable in optimizer.variables],
        "best": state.best_weights,
    }
    arrays = {
        f"{group}/{index:05d}": array
        for group, group_arrays in groups.items()
        for index, array in enumerate(group_arrays)
    }
    facts = {"step": state.step, "loss_sum": state.loss_sum, "best": state.best, "history": state.history}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")  # another process may train the same
    with temporary.open("wb") as file:
        np.savez(file, state=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _networks(learner: Learner) -> list[Any]:
    return [learner.model, *learner.companions]


def _restore(path: Path, learner: Learner, optimizer: Any) -> _State | None:
    """Read a checkpoint back; a damaged one is a warning, and training starts anew."""
    networks = {f"network{index}": network for index, network in enumerate(_networks(learner))}
    groups: dict[str, list[NDArray[Any]]] = {name: [] for name in (*networks, "optimizer", "best")}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in sorted(archive.files):
                if name != "state":
                    groups[name.split("/")[0]].append(archive[name])
            facts = json.loads(archive["state"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning(f"a checkpoint is damaged and its training starts anew: {error}")
        return None
    for name, network in networks.items():
        network.set_weights(groups[name])
    for variable, value in zip(optimizer.variables, groups["optimizer"], strict=True):
        variable.assign(value)
    best = None if facts["best"] is None else (facts["best"][0], facts["best"][1])
    return _State(facts["step"], facts["loss_sum"], best, groups["best"], facts["history"])
