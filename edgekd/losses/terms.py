"""The losses by name, and their weighted sum."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgekd._keras import tf, tf_keras
from edgekd.config.distill import Distill
from edgekd.config.training import Training
from edgekd.errors import RecipeError
from edgekd.losses import contrast, features, logits
from edgekd.registry import Registry
from edgekd.tasks import SIGMOID, SOFTMAX, Task

Tensor = Any


@dataclass(frozen=True)
class Signals:
    """What a loss may look at in one step.

    Attributes:
        targets: a row of shares of the classes for each sample, shape ``(n, K)``.
        logits: the student's, shape ``(n, K)``.
        teacher_logits: shape ``(n, K)``.
        temperature: ``T`` > 0, of this step.
        hard_loss_weight: share of the loss on the labels, of this step.
        weights: of the samples in the losses on labels, shape ``(n,)``; of their labels, ``(n, K)``, with a sigmoid.
        features: the student's feature maps, each ``(n, h, w, c)``; of the pairs that the losses compare.
        teacher_features: the teacher's, in the same order.
        indices: of the samples among the training images, shape ``(n,)``.
        step: number of the step, from 0.
        head: of the task: ``softmax`` or ``sigmoid``.
    """

    targets: Tensor
    logits: Tensor
    teacher_logits: Tensor
    temperature: Tensor | float
    hard_loss_weight: Tensor | float
    weights: Tensor | float = 1.0
    features: Sequence[Tensor] = ()
    teacher_features: Sequence[Tensor] = ()
    indices: Tensor = None
    step: Tensor | int = 0
    head: str = SOFTMAX


@dataclass(frozen=True)
class Term:
    """One loss, ready to be computed.

    Attributes:
        function: from what a step sees to a scalar.
        adapters: Keras layers that are trained with the student and thrown away after it.
    """

    function: Callable[[Signals], Tensor]
    adapters: Sequence[Any] = ()


@dataclass(frozen=True)
class Pair:
    """A layer of the student and one of the teacher that are compared.

    Attributes:
        student, teacher: names of the layers.
        student_channels, teacher_channels: of their feature maps.
    """

    student: str
    teacher: str
    student_channels: int
    teacher_channels: int


@dataclass(frozen=True)
class Setting:
    """What a loss is built for, beside the recipe.

    Attributes:
        pairs: layers that are compared.
        num_train: training images.
        seed: of what the loss draws.
    """

    pairs: Sequence[Pair] = ()
    num_train: int = 0
    seed: int = 0


Builder = Callable[[Distill, Setting], Term]

LOSSES: Registry[Builder] = Registry("loss", "edgekd.losses", RecipeError)

_LABEL_SMOOTHING = 0.1


def on_features(builder: Builder) -> Builder:
    """Mark a builder whose loss compares feature maps: then the teacher has to run in every step."""
    builder.needs_features = True  # type: ignore[attr-defined]  # a function carries what its reader asks for
    return builder


def of_one_class(builder: Builder) -> Builder:
    """Mark a builder whose loss compares distributions over classes: an image with several labels has none."""
    builder.of_one_class = True  # type: ignore[attr-defined]
    return builder


def feature_losses(config: Distill) -> list[str]:
    """Those losses of a recipe that compare feature maps."""
    return [name for name in config.loss if getattr(LOSSES[name], "needs_features", False)]


def on_logits(config: Distill) -> Distill:
    """The same without the losses on feature maps; with ``kd`` where no other is left."""
    needing = feature_losses(config)
    kept = {name: weight for name, weight in config.loss.items() if name not in needing}
    return dataclasses.replace(config, loss=kept or {"kd": 1.0})


def check_task(config: Distill, task: Task) -> None:
    """Raise before anything is trained where a loss makes no sense for the task of the data.

    Raises:
        RecipeError: it names the loss, and those that are allowed.
    """
    refused = [name for name in config.loss if task.several and getattr(LOSSES[name], "of_one_class", False)]
    if refused:
        allowed = sorted(name for name in LOSSES if not getattr(LOSSES[name], "of_one_class", False))
        raise RecipeError(
            f'distill.loss "{refused[0]}" compares distributions over classes, and a {task.name} task has none; '
            f"allowed: {', '.join(allowed)}"
        )


def check(config: Distill) -> None:
    """Raise before anything is trained where a recipe asks for what cannot be.

    Raises:
        RecipeError: an unknown loss, none at all where the teacher has a share, or one that compares features while
            only logits are stored.
    """
    for name in config.loss:
        LOSSES[name]
    if config.uses_teacher and not any(weight > 0 for weight in config.loss.values()):
        raise RecipeError(
            f"distill.loss = {dict(config.loss)}: a loss with a weight above 0 is wanted, as hard_loss_weight leaves "
            "it a share; or set distill.hard_loss_weight = 1"
        )
    needing = feature_losses(config)
    if needing and config.mode in ("stored", "self"):
        raise RecipeError(
            f'distill.loss "{needing[0]}" compares feature maps, and distill.mode = "{config.mode}" stores logits '
            'alone; set distill.mode = "live" or "mutual", or choose a loss on logits'
        )


def scheduled(start: float, end: float | None, elapsed: Tensor) -> Tensor | float:
    """A value that goes linearly from ``start`` to ``end`` as ``elapsed`` goes from 0 to 1; without an end it stays."""
    return start if end is None else start + (end - start) * elapsed


def on_labels(
    training: Training,
    targets: Tensor,
    student_logits: Tensor,
    weights: Tensor | float = 1.0,
    head: str = SOFTMAX,
) -> Tensor:
    """The loss on the labels that a recipe's training asks for, by the head of the task."""
    function = _ON_LABELS[head]
    return function(targets, student_logits, training.label_smoothing, weights, training.focal_gamma)


def on_soft_targets(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor, head: str = SOFTMAX) -> Tensor:
    """Plain distillation, by the head of the task."""
    return _ON_SOFT_TARGETS[head](teacher_logits, student_logits, temperature)


_ON_LABELS = {SOFTMAX: logits.cross_entropy, SIGMOID: logits.binary_cross_entropy}
_ON_SOFT_TARGETS = {SOFTMAX: logits.kd, SIGMOID: logits.binary_kd}


def objective(config: Distill, setting: Setting | None = None) -> Term:
    """``w * on_labels + (1 - w) * sum of weight * loss``, with ``w = hard_loss_weight``."""
    parts = [(weight, LOSSES[name](config, setting or Setting())) for name, weight in config.loss.items()]

    def total(see: Signals) -> Tensor:
        hard = on_labels(config.training, see.targets, see.logits, see.weights, see.head)
        if not config.uses_teacher:
            return hard
        soft = [weight * part.function(see) for weight, part in parts]
        return see.hard_loss_weight * hard + (1.0 - see.hard_loss_weight) * tf.add_n(soft)

    return Term(total, [adapter for _, part in parts for adapter in part.adapters])


@LOSSES.register("kd")
def _kd(config: Distill, setting: Setting) -> Term:
    return Term(lambda see: on_soft_targets(see.teacher_logits, see.logits, see.temperature, see.head))


@LOSSES.register("kd_standardized")
@of_one_class
def _kd_standardized(config: Distill, setting: Setting) -> Term:
    return Term(lambda see: logits.kd_standardized(see.teacher_logits, see.logits, see.temperature))


@LOSSES.register("dkd")
@of_one_class
def _dkd(config: Distill, setting: Setting) -> Term:
    weights = config.dkd_target_weight, config.dkd_nontarget_weight
    return Term(lambda see: logits.dkd(see.targets, see.teacher_logits, see.logits, see.temperature, *weights))


@LOSSES.register("dist")
@of_one_class
def _dist(config: Distill, setting: Setting) -> Term:
    return Term(lambda see: logits.dist(see.teacher_logits, see.logits, see.temperature))


@LOSSES.register("label_smoothing")
def _label_smoothing(config: Distill, setting: Setting) -> Term:
    """The control: soft targets that no teacher gave (Yuan et al. 2020, "Revisiting knowledge distillation")."""
    return Term(lambda see: _ON_LABELS[see.head](see.targets, see.logits, _LABEL_SMOOTHING, see.weights))


@LOSSES.register("attention")
@on_features
def _attention(config: Distill, setting: Setting) -> Term:
    return Term(lambda see: _mean(map(features.attention, see.teacher_features, see.features)))


@LOSSES.register("fitnet")
@on_features
def _fitnet(config: Distill, setting: Setting) -> Term:
    adapters = []
    for index, pair in enumerate(setting.pairs):
        adapter = tf_keras.layers.Dense(pair.teacher_channels, use_bias=False, name=f"fitnet_adapter{index}")
        adapter.build((None, None, None, pair.student_channels))
        adapters.append(adapter)

    def hint(see: Signals) -> Tensor:
        kernels = [adapter.kernel for adapter in adapters]
        return _mean(map(features.fitnet, see.teacher_features, see.features, kernels))

    return Term(hint, adapters)


@LOSSES.register("rkd")
@on_features
def _rkd(config: Distill, setting: Setting) -> Term:
    """Distances and angles between the last pair's embeddings; weighted 1 to 2 as in the paper's best setting."""

    def relations(see: Signals) -> Tensor:
        teacher, student = see.teacher_features[-1], see.features[-1]
        return features.rkd_distance(teacher, student) + 2.0 * features.rkd_angle(teacher, student)

    return Term(relations)


@LOSSES.register("crd")
@on_features
def _crd(config: Distill, setting: Setting) -> Term:
    """Of the last pair's embeddings."""
    last = setting.pairs[-1]
    # More than there are images would show some twice and teach nothing new.
    negatives = min(config.crd_negatives, setting.num_train)
    layer = contrast.Contrast(last.student_channels, last.teacher_channels, setting.num_train, negatives, setting.seed)

    def contrasted(see: Signals) -> Tensor:
        teacher = tf.stop_gradient(features.embedding(see.teacher_features[-1]))
        return layer(features.embedding(see.features[-1]), teacher, see.indices, see.step)

    return Term(contrasted, [layer])


def _mean(values: Any) -> Tensor:
    values = list(values)
    return tf.add_n(values) / len(values)
