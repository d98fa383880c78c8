"""Contrastive representation distillation (Tian et al. 2020, "Contrastive representation distillation").

The student's embedding of an image has to be told from those of other images by the teacher's embedding of it. Others
come from memory: the embeddings of every training image as they were last seen, one bank of each network.
"""

from __future__ import annotations

import math
from typing import Any

from edgekd._keras import tf, tf_keras

Tensor = Any

# As in the paper's experiments (section 4 and its code).
NUM_FEATURES = 128
TEMPERATURE = 0.07
MEMORY_KEPT = 0.5


def nce(anchors: Tensor, positives: Tensor, negatives: Tensor, log_mean: Tensor) -> Tensor:
    """Noise-contrastive estimation of which pairs belong together (Tian et al. 2020, eq. 18 and 19).

    ``-log h(a, p) - sum over the N negatives of log(1 - h(a, q))``, averaged over the batch, with
    ``h(a, b) = e / (e + N m)`` and ``e = exp(a . b / 0.07)``. ``m`` is the mean of ``e`` over all images, held fixed:
    the normalising constant of Wu et al. (2018), by which the paper's ``N / M`` is multiplied.

    Args:
        anchors: unit vectors, shape ``(n, d)``.
        positives: of the other network for the same images, shape ``(n, d)``.
        negatives: of the other network for images drawn at random, the same for all anchors, shape ``(N, d)``.
        log_mean: ``log m``.
    """
    prior = log_mean + tf.constant(math.log(negatives.shape[0]), anchors.dtype)
    together, apart = similarities(anchors, positives, negatives)
    # log h = -softplus(prior - s) and log(1 - h) = -softplus(s - prior), whatever the size of s.
    return tf.reduce_mean(tf.math.softplus(prior - together) + tf.reduce_sum(tf.math.softplus(apart - prior), axis=1))


def similarities(anchors: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """``a . p / 0.07``, shape ``(n,)``, and ``a . q / 0.07``, shape ``(n, N)``."""
    return (
        tf.reduce_sum(anchors * positives, axis=1) / TEMPERATURE,
        tf.matmul(anchors, negatives, transpose_b=True) / TEMPERATURE,
    )


def log_mean_of(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Logarithm of the mean of ``e`` over all pairs of a batch."""
    together, apart = similarities(anchors, positives, negatives)
    every = tf.concat([together[:, None], apart], axis=1)
    return tf.stop_gradient(tf.reduce_logsumexp(every) - tf.math.log(tf.cast(tf.size(every), every.dtype)))


class Contrast(tf_keras.layers.Layer):  # type: ignore[misc]  # tf_keras has no types
    """The state of the loss: two learned projections, and for each network a bank of what was last seen.

    Args:
        student_features, teacher_features: channels of the two embeddings.
        num_train: training images.
        num_negatives: drawn in each step, with replacement.
        seed: of the draws; those of a step depend on the seed and the step alone.
    """

    def __init__(
        self, student_features: int, teacher_features: int, num_train: int, num_negatives: int, seed: int
    ) -> None:
        super().__init__(name="contrast")
        self.num_train, self.num_negatives, self.seed = num_train, num_negatives, seed
        self.projections = []
        for role, features in (("student", student_features), ("teacher", teacher_features)):
            projection = tf_keras.layers.Dense(NUM_FEATURES, name=f"contrast_{role}")
            projection.build((None, features))
            self.projections.append(projection)
        spread = math.sqrt(3 / NUM_FEATURES)  # rows of length one, on average
        self.banks = [
            self.add_weight(
                name=f"bank_{role}",
                shape=(num_train, NUM_FEATURES),
                initializer=tf_keras.initializers.RandomUniform(-spread, spread),
                trainable=False,
            )
            for role in ("student", "teacher")
        ]
        self.log_means = self.add_weight(name="log_means", shape=(2,), initializer="zeros", trainable=False)

    def call(self, student: Tensor, teacher: Tensor, indices: Tensor, step: Tensor) -> Tensor:
        """The loss of a step, both ways: student against the teacher's bank and teacher against the student's.

        Afterwards the banks hold what was seen, averaged with what they held, and the first step has set the two
        normalising constants.

        Args:
            student, teacher: embeddings, shape ``(n, student_features)`` and ``(n, teacher_features)``.
            indices: of the images among the training images, all different, shape ``(n,)``.
            step: number of the step.
        """
        ours, theirs = (
            tf.math.l2_normalize(projection(embedding), axis=1)
            for projection, embedding in zip(self.projections, (student, teacher), strict=True)
        )
        drawn = tf.random.stateless_uniform(
            [self.num_negatives], [self.seed, step], maxval=self.num_train, dtype=tf.int64
        )
        student_bank, teacher_bank = self.banks
        sides = (
            (ours, theirs, tf.gather(teacher_bank, drawn)),
            (theirs, ours, tf.gather(student_bank, drawn)),
        )
        fresh = tf.stack([log_mean_of(*side) for side in sides])
        log_means = tf.where(tf.equal(step, 0), fresh, self.log_means)
        self.log_means.assign(log_means)
        for bank, seen in zip(self.banks, (ours, theirs), strict=True):
            mixed = MEMORY_KEPT * tf.gather(bank, indices) + (1 - MEMORY_KEPT) * tf.stop_gradient(seen)
            bank.scatter_update(tf.IndexedSlices(tf.math.l2_normalize(mixed, axis=1), indices))
        return nce(*sides[0], log_means[0]) + nce(*sides[1], log_means[1])
