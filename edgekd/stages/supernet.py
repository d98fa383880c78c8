"""Train a supernet: one network that holds every candidate of an architecture search."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import _keras
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.training import Training
from edgekd.data import Dataset
from edgekd.logits_store import LogitsStore
from edgekd.models import build_student
from edgekd.progress import Progress
from edgekd.supernet import elastic, sandwich
from edgekd.supernet.space import Space
from edgekd.training import evaluate, fit


def supernet(
    data: Artifact,
    logits: Artifact | None,
    config: Training,
    out_dir: Path,
    *,
    space: Space,
    distillation: Distill,
    subnets_per_step: int,
    inplace_weight: float,
    num_batchnorm_images: int,
    seed: int,
    work: Path,
    progress: Progress,
) -> Artifact:
    """Train the largest network of a space, and with it all others.

    Args:
        data: images.
        logits: the teacher's, stored for the views; None where the student learns from the labels alone.
        config: how long and how fast; it weighs the classes too.
        out_dir: where ``model/``, the largest network, goes.
        space: of the networks.
        distillation: losses on logits, and views; feature maps are left out.
        subnets_per_step, inplace_weight: see :func:`edgekd.supernet.sandwich.learner`.
        num_batchnorm_images: that the smallest is judged with, for the facts.
        seed: of weights, order, views and subnets.
        work: folder of the checkpoint.
        progress: where the task is shown.

    Returns:
        Facts ``{"history", "num_subnets", "val": {"largest", "smallest"}}``; the history is the largest network's.

    Raises:
        TrainingError: the loss is not a number.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    model = build_student(
        "blocks",
        image_size=dataset.image_size,
        num_classes=dataset.num_classes,
        width_multiplier=1.0,
        blocks=space.largest,
    )
    history = fit(
        sandwich.learner(
            model,
            space,
            dataclasses.replace(distillation, training=config),
            dataset.task.head,
            subnets_per_step=subnets_per_step,
            inplace_weight=inplace_weight,
            seed=seed,
        ),
        dataset,
        training=config,
        views=distillation.views,
        seed=seed,
        work=work / "supernet",
        progress=progress,
        title="supernet",
        soft_targets=None if logits is None else LogitsStore.open(logits.path),
    )
    _keras.save_model(model, out_dir / "model")
    ask = elastic.predictor(model, space, evenly(dataset.train.images, num_batchnorm_images))
    ends = {"largest": space.largest, "smallest": space.smallest}
    val: dict[str, Any] = {name: evaluate(ask(blocks), dataset.val) for name, blocks in ends.items()}
    return Artifact.seal(out_dir, {"history": history, "num_subnets": space.size, "val": val})


def evenly(images: NDArray[Any], count: int) -> NDArray[Any]:
    """At most so many, evenly spaced: the same whoever asks."""
    return images[np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(np.int64))]
