"""How a supernet learns: in every step the largest subnet, the smallest, and some between (BigNAS, Yu et al. 2020)."""

from __future__ import annotations

from typing import Any

from edgekd import losses, objectives
from edgekd._keras import tf
from edgekd.config.distill import Distill
from edgekd.step import Batch, Learner
from edgekd.supernet import elastic
from edgekd.supernet.space import Space, rows_of
from edgekd.tasks import SOFTMAX


def learner(
    model: Any,
    space: Space,
    distillation: Distill,
    head: str = SOFTMAX,
    *,
    subnets_per_step: int,
    inplace_weight: float,
    seed: int,
) -> Learner:
    """The largest network learns by the recipe's losses on logits, ``L``; the others from it as well.

    ``loss = L(largest) + sum over the others of (1 - w) L(other) + w kd(largest, other)`` with ``w = inplace_weight``.
    No gradient flows into the largest from what the others learn of it.

    Args:
        model: the student ``blocks`` of ``space.largest``.
        space: of the subnets.
        distillation: losses, temperature and weights.
        head: of the task.
        subnets_per_step: drawn anew in every step, beside the smallest.
        inplace_weight: in [0, 1].
        seed: of the draws.
    """
    config = losses.on_logits(distillation)
    objective = objectives.on_stored_logits(config, head)
    smallest = tf.constant(rows_of(space.smallest))[None]
    # Traced once, and called for each subnet.
    run = tf.function(lambda pixels, choice: elastic.logits(model, space, pixels, choice))

    def loss(pixels: Any, batch: Batch) -> Any:
        largest = model(pixels, training=True)
        temperature, _ = objectives.course(config, batch)
        total = objective(batch, largest)
        choices = tf.concat([smallest, draws(space, seed, batch.step, subnets_per_step)], axis=0)
        for index in range(1 + subnets_per_step):
            answer = run(pixels, choices[index])
            inplace = losses.on_soft_targets(tf.stop_gradient(largest), answer, temperature, head)
            total += (1 - inplace_weight) * objective(batch, answer) + inplace_weight * inplace
        return total

    return Learner(model, loss, model.trainable_variables)


def draws(space: Space, seed: int, step: Any, count: int) -> Any:
    """Subnets for a step, every value drawn evenly: int32 ``(count, stages, 4)``, a pure function of (seed, step)."""
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])
    shares = tf.random.stateless_uniform((count, len(space.stages), len(space.stages[0])), key)
    rows = [
        [_pick(values, shares[:, index, gene]) for gene, values in enumerate(stage)]
        for index, stage in enumerate(space.stages)
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=1)


def _pick(values: tuple[int, ...], share: Any) -> Any:
    return tf.gather(tf.constant(values, tf.int32), tf.cast(share * len(values), tf.int32))
