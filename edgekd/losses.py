"""Loss functions of distillation: pure functions of logits, averaged over the batch."""

from __future__ import annotations

from typing import Any

from edgekd._keras import tf

Tensor = Any  # tf.Tensor carries no useful static type


def cross_entropy(labels: Tensor, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of integer labels.

    ``-sum_k y_k log softmax(logits)_k`` with ``y = (1 - s) onehot(label) + s / K`` (Szegedy et al. 2016, section 7).

    Args:
        labels: integers, shape ``(n,)``.
        logits: shape ``(n, K)``.
        label_smoothing: ``s`` in [0, 1).
    """
    num_classes = logits.shape[-1]
    targets = tf.one_hot(labels, num_classes, dtype=logits.dtype)
    targets = targets * (1.0 - label_smoothing) + label_smoothing / num_classes
    return -tf.reduce_mean(tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1))


def kd(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """Mean ``T**2 * KL(softmax(teacher / T) || softmax(student / T))``, in nats (Hinton et al. 2015, section 2).

    The factor ``T**2`` keeps the size of the gradient when the temperature changes.

    Args:
        teacher_logits: shape ``(n, K)``; no gradient flows into them.
        student_logits: shape ``(n, K)``.
        temperature: ``T`` > 0.
    """
    teacher = tf.stop_gradient(tf.cast(teacher_logits, student_logits.dtype)) / temperature
    log_teacher = tf.nn.log_softmax(teacher)
    log_student = tf.nn.log_softmax(student_logits / temperature)
    divergence = tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), axis=-1)
    return temperature**2 * tf.reduce_mean(divergence)


def distillation(
    labels: Tensor,
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
    hard_loss_weight: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """``w * cross_entropy(labels, student) + (1 - w) * kd(teacher, student, T)`` (Hinton et al. 2015).

    Args:
        labels: integers, shape ``(n,)``.
        student_logits, teacher_logits: shape ``(n, K)``.
        temperature: ``T`` > 0.
        hard_loss_weight: ``w`` in [0, 1].
        label_smoothing: of the hard loss, in [0, 1).
    """
    hard = cross_entropy(labels, student_logits, label_smoothing)
    soft = kd(teacher_logits, student_logits, temperature)
    return hard_loss_weight * hard + (1.0 - hard_loss_weight) * soft
