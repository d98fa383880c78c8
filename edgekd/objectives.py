"""What a step of training minimizes where the teacher's answers come with the batch: to distil, to prune."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from edgekd import losses
from edgekd.config.distill import Distill
from edgekd.step import Batch, Objective
from edgekd.tasks import SOFTMAX

Course = Callable[[Batch], tuple[Any, Any]]
"""From a batch to temperature and weight of the loss on the labels, at its step."""


def on_stored_logits(config: Distill, head: str = SOFTMAX, learned: Course | None = None) -> Objective:
    """The losses of a recipe, with the teacher's logits as they are stored.

    Args:
        config: losses on logits, and the course of temperature and weight.
        head: of the task: ``softmax`` or ``sigmoid``.
        learned: another course than the recipe's.
    """
    total, taken = losses.objective(config).function, learned or functools.partial(course, config)
    return lambda batch, logits: total(
        losses.Signals(batch.targets, logits, batch.soft_targets, *taken(batch), batch.weights, head=head)
    )


def while_pruning(distillation: Distill, head: str = SOFTMAX) -> Objective:
    """What a student goes on learning by while it is pruned: the distillation as its schedules end, on stored logits.

    Losses on feature maps are left out, as pruning changes the layers that they read; where there are no others, ``kd``
    takes their place.
    """
    return on_stored_logits(losses.on_logits(distillation.at_end()), head)


def course(config: Distill, batch: Batch) -> tuple[Any, Any]:
    """Temperature and weight of the loss on the labels, at the batch's step."""
    return (
        losses.scheduled(config.temperature, config.temperature_end, batch.elapsed),
        losses.scheduled(config.hard_loss_weight, config.hard_loss_weight_end, batch.elapsed),
    )
