"""Losses on logits: pure functions, averaged over the batch.

``t`` and ``s`` are the logits of teacher and student, shape ``(n, K)``; no gradient flows into those of the teacher.
``targets`` has their shape: the share of each class in a sample, a one at the label's place where nothing is mixed.
``p(z) = softmax(z)``. The factor ``T**2`` keeps the size of the gradient when the temperature changes.
"""

from __future__ import annotations

from typing import Any

from edgekd._keras import tf

Tensor = Any  # tf.Tensor carries no useful static type

_EPSILON = 1e-7
_LEAST_DEVIATION = 0.1
_ROUNDING = 1e-6  # root mean square of a row's deviations: some units in the last place of a probability
# Low enough that a masked class has no probability, and far from where float32 overflows.
_MASKED = -1e9


def cross_entropy(
    targets: Tensor,
    logits: Tensor,
    label_smoothing: float = 0.0,
    weights: Tensor | float = 1.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Mean cross-entropy, each sample times its weight.

    ``-(1 - p)**gamma sum_k y_k log softmax(logits)_k`` with ``y = (1 - s) targets + s / K`` (Szegedy et al. 2016,
    section 7) and ``log p = sum_k targets_k log softmax(logits)_k``: of a one-hot row, ``p`` is the probability of the
    label (focal loss, Lin et al. 2017, eq. 4).

    Args:
        targets, logits: shape ``(n, K)``.
        label_smoothing: ``s`` in [0, 1).
        weights: of the samples, shape ``(n,)``.
        focal_gamma: ``gamma``, at least 0.
    """
    num_classes = logits.shape[-1]
    truth = tf.cast(targets, logits.dtype)
    smoothed = truth * (1.0 - label_smoothing) + label_smoothing / num_classes
    log_probs = tf.nn.log_softmax(logits)
    if focal_gamma:
        # 1 - p is at least the float's grain: the power has no gradient at zero.
        missing = 1.0 - tf.exp(tf.reduce_sum(truth * log_probs, axis=-1))
        weights = weights * tf.maximum(missing, _EPSILON) ** focal_gamma
    return -tf.reduce_mean(weights * tf.reduce_sum(smoothed * log_probs, axis=-1))


def binary_cross_entropy(
    targets: Tensor,
    logits: Tensor,
    label_smoothing: float = 0.0,
    weights: Tensor | float = 1.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Mean over images and labels of the cross-entropy of ``sigmoid(logits)``: the loss of a multi-label task.

    ``-(1 - p)**gamma (y log q + (1 - y) log(1 - q))`` with ``q = sigmoid(logits)``, ``y = (1 - s) targets + s / 2`` and
    ``log p = targets log q + (1 - targets) log(1 - q)`` (focal loss, Lin et al. 2017, eq. 4, which is about just this).

    Args:
        targets, logits: shape ``(n, K)``.
        label_smoothing: ``s`` in [0, 1).
        weights: of each label of each sample, shape ``(n, K)``.
        focal_gamma: ``gamma``, at least 0.
    """
    truth = tf.cast(targets, logits.dtype)
    smoothed = truth * (1.0 - label_smoothing) + label_smoothing / 2.0
    present, absent = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
    if focal_gamma:
        missing = 1.0 - tf.exp(truth * present + (1.0 - truth) * absent)
        weights = weights * tf.maximum(missing, _EPSILON) ** focal_gamma
    return -tf.reduce_mean(weights * (smoothed * present + (1.0 - smoothed) * absent))


def kd(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor) -> Tensor:
    """Mean ``T**2 * KL(p(t / T) || p(s / T))``, in nats (Hinton et al. 2015, section 2)."""
    teacher = _constant(teacher_logits, student_logits) / temperature
    return temperature**2 * _divergence(tf.nn.log_softmax(teacher), tf.nn.log_softmax(student_logits / temperature))


def binary_kd(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor) -> Tensor:
    """:func:`kd` of a multi-label task: the mean over images and labels of ``T**2 KL(q(t / T) || q(s / T))``.

    ``q(z)`` is the distribution ``(sigmoid(z), 1 - sigmoid(z))`` of one label.
    """
    teacher = _constant(teacher_logits, student_logits) / temperature
    student = student_logits / temperature
    present = tf.sigmoid(teacher) * (tf.math.log_sigmoid(teacher) - tf.math.log_sigmoid(student))
    absent = tf.sigmoid(-teacher) * (tf.math.log_sigmoid(-teacher) - tf.math.log_sigmoid(-student))
    return temperature**2 * tf.reduce_mean(present + absent)


def kd_standardized(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor) -> Tensor:
    """:func:`kd` of logits standardized per sample: ``(z - mean(z)) / std(z)`` (Sun et al. 2024).

    The student has to match the shape of the teacher's logits and not their range. With two classes every standardized
    pair is (1, -1) or (-1, 1): what is left is the class that the teacher names, and no confidence.

    The deviation counts as 0.1 where it is smaller. Between two classes the quotient jumps from -1 to 1 where the
    logits are equal, and without that floor its gradient there has no bound: trainings end in NaN.
    """
    teacher = _standardized(_constant(teacher_logits, student_logits))
    return kd(teacher, _standardized(student_logits), temperature)


def dkd(
    targets: Tensor,
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: Tensor,
    target_weight: float = 1.0,
    nontarget_weight: float = 8.0,
) -> Tensor:
    """Decoupled distillation: ``T**2 (alpha TCKD + beta NCKD)`` (Zhao et al. 2022, eq. 7).

    TCKD is the divergence between ``(p_y, 1 - p_y)`` of teacher and student for the true class ``y`` (that of the
    largest target), NCKD that between their distributions over the other classes. ``TCKD + (1 - p_y(t / T)) NCKD`` is
    :func:`kd`. With two classes NCKD is zero.

    Args:
        targets, teacher_logits, student_logits: shape ``(n, K)``.
        temperature: ``T`` > 0.
        target_weight, nontarget_weight: ``alpha`` and ``beta``, at least 0.
    """
    target = tf.one_hot(tf.argmax(targets, axis=-1), student_logits.shape[-1], dtype=student_logits.dtype)
    teacher = _constant(teacher_logits, student_logits) / temperature
    student = student_logits / temperature
    tckd = _divergence(_target_or_not(teacher, target), _target_or_not(student, target))
    nckd = _divergence(tf.nn.log_softmax(teacher + _MASKED * target), tf.nn.log_softmax(student + _MASKED * target))
    return temperature**2 * (target_weight * tckd + nontarget_weight * nckd)


def dist(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: Tensor,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
) -> Tensor:
    """``T**2`` times the distance of Pearson's correlation, over classes and over the batch (Huang et al. 2022, eq. 9).

    ``1 - r(p(s / T), p(t / T))``, of each sample's row (inter-class) and of each class's column (intra-class): the
    student keeps the ranking and not the numbers. With two classes the correlation of a row is 1 or -1. A row or column
    that varies by no more than rounding does correlates with nothing: it counts 0 and has no gradient, which would be
    without a bound there. Networks with rounded answers have such rows, and of two classes any network has one now and
    then, whose probabilities are the same but for their last digit: a single one moves all weights beyond any range.
    """
    teacher = tf.nn.softmax(_constant(teacher_logits, student_logits) / temperature)
    student = tf.nn.softmax(student_logits / temperature)
    inter = 1.0 - _correlation(teacher, student, axis=1)
    intra = 1.0 - _correlation(teacher, student, axis=0)
    return temperature**2 * (inter_weight * tf.reduce_mean(inter) + intra_weight * tf.reduce_mean(intra))


def _constant(teacher_logits: Tensor, like: Tensor) -> Tensor:
    return tf.stop_gradient(tf.cast(teacher_logits, like.dtype))


def _divergence(log_teacher: Tensor, log_student: Tensor) -> Tensor:
    """Mean ``KL(teacher || student)`` of rows of log-probabilities."""
    return tf.reduce_mean(tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), axis=-1))


def _standardized(logits: Tensor) -> Tensor:
    centred = logits - tf.reduce_mean(logits, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    return centred * tf.math.rsqrt(tf.maximum(variance, _LEAST_DEVIATION**2))


def _target_or_not(logits: Tensor, target: Tensor) -> Tensor:
    """``(log p_y, log(1 - p_y))``, shape ``(n, 2)``, without ever computing ``1 - p_y``."""
    everything = tf.reduce_logsumexp(logits, axis=-1)
    hit = tf.reduce_sum(logits * target, axis=-1)
    others = tf.reduce_logsumexp(logits + _MASKED * target, axis=-1)
    return tf.stack([hit - everything, others - everything], axis=-1)


def _correlation(a: Tensor, b: Tensor, axis: int) -> Tensor:
    a = a - tf.reduce_mean(a, axis=axis, keepdims=True)
    b = b - tf.reduce_mean(b, axis=axis, keepdims=True)
    squares_a, squares_b = (tf.reduce_sum(tf.square(values), axis=axis) for values in (a, b))
    least = tf.cast(tf.shape(a)[axis], a.dtype) * _ROUNDING**2
    varies = (squares_a > least) & (squares_b > least)
    # Two choices, as a gradient of infinity times the 0 of the one not taken would be no number.
    power = tf.where(varies, squares_a * squares_b, 1.0)
    return tf.where(varies, tf.reduce_sum(a * b, axis=axis) * tf.math.rsqrt(power), 0.0)
