"""How fast this machine trains a network: ``python -m edgekd.pace_child pace``, which :mod:`edgekd.estimate` asks.

A process of its own, so that threads can be set and its peak of memory is that of training.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from edgekd import _keras, channels, losses, measure, model_child
from edgekd.config.training import Training, Views
from edgekd.data import Split
from edgekd.errors import ModelError
from edgekd.models import build_student, build_teacher
from edgekd.options import read_table
from edgekd.step import Learner, make_batch, make_optimizer, make_step, weights_of_classes
from edgekd.tasks import TASKS
from edgekd.training import make_predict

MOST_STEPS, SECONDS = 10, 3.0
NUM_PREDICTED = 256


def pace(request: dict[str, Any]) -> dict[str, Any]:
    """Take a few steps of each network on noise.

    Args:
        request: ``networks[]`` of ``name``, ``kind`` (teacher or student), ``model``, ``width_multiplier``,
            ``seen_size``, ``training`` and ``views`` (tables); ``image_size``, ``num_classes``, ``task``,
            ``num_threads``.

    Returns:
        ``{"networks": {name: {"train_seconds", "run_seconds", "start_seconds", "num_params", "macs",
        "peak_rss_bytes"}}}``: seconds an image in training and when only run, seconds to build and trace; the peak is
        that of the process up to then, and ``macs`` None where the layers cannot be followed.
    """
    _keras.set_determinism(request["num_threads"])
    return {"networks": {row["name"]: _pace_of(row, request) for row in request["networks"]}}


def _pace_of(row: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    _keras.reset(0)
    size, num_classes, task = request["image_size"], request["num_classes"], TASKS[request["task"]]
    shape = {"image_size": size, "num_classes": num_classes, "width_multiplier": row["width_multiplier"]}
    if row["kind"] == "teacher":
        model = build_teacher(row["model"], weights="none", seen_size=row["seen_size"], **shape)
    else:
        model = build_student(row["model"], weights="none", **shape)
    training, views = read_table(Training, row["training"]), read_table(Views, row["views"])
    generator = np.random.default_rng(0)
    count = max(training.batch_size, 2 * num_classes)
    images = generator.integers(0, 256, (count, size, size, 3), np.uint8)
    labels = np.arange(count) % num_classes
    if task.several:
        labels = np.eye(num_classes, dtype=np.int64)[labels]
    split = Split(images, labels, num_classes, task)
    learner = Learner.alone(
        model, lambda batch, logits: losses.on_labels(training, batch.targets, logits, batch.weights, task.head)
    )
    step = make_step(learner, make_optimizer(learner, training))
    weights = weights_of_classes(training, split)
    indices = np.arange(training.batch_size)

    def take(number: int) -> None:
        batch = make_batch(split, indices, number, views, 0, None, weights, number, MOST_STEPS + 1)
        float(step(training.learning_rate, batch))

    take(0)
    begun = time.monotonic()
    steps = 0
    while steps < MOST_STEPS and (steps < 2 or time.monotonic() - begun < SECONDS):
        steps += 1
        take(steps)
    train_seconds = (time.monotonic() - begun) / (steps * training.batch_size)
    predict = make_predict(model)
    pictures = np.resize(images, (NUM_PREDICTED, size, size, 3))
    predict(pictures)
    run = time.monotonic()
    predict(pictures)
    run_seconds = (time.monotonic() - run) / NUM_PREDICTED
    return {
        "train_seconds": train_seconds,
        "run_seconds": run_seconds,
        "start_seconds": begun - started,
        "num_params": int(model.count_params()),
        "macs": _macs(model),
        "peak_rss_bytes": measure.peak_rss_bytes(),
    }


def _macs(model: Any) -> int | None:
    try:
        return channels.macs(model)
    except ModelError:
        return None


if __name__ == "__main__":
    model_child.main({"pace": pace})
