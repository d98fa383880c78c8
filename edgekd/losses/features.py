"""Losses on what is inside the networks: pure functions of feature maps, averaged over the batch.

A feature map has shape ``(n, h, w, c)``; an embedding is a map averaged over its area, ``(n, c)``. No gradient flows
into the teacher. Where two maps differ in height and width, both are averaged down to the smaller.
"""

from __future__ import annotations

from typing import Any

from edgekd._keras import tf

Tensor = Any

_EPSILON = 1e-12


def attention(teacher_map: Tensor, student_map: Tensor) -> Tensor:
    """Attention transfer (Zagoruyko and Komodakis 2017, eq. 2, with the squared norm).

    ``|| q(S) - q(T) ||**2`` with ``q(A)`` the sum over channels of ``A**2`` as a vector of length one: the student
    looks where the teacher looks. Lies in [0, 2], whatever the size of the map.
    """
    teacher_map, student_map = _matched(teacher_map, student_map)
    difference = _attention_vector(student_map) - _attention_vector(teacher_map)
    return tf.reduce_mean(tf.reduce_sum(tf.square(difference), axis=1))


def fitnet(teacher_map: Tensor, student_map: Tensor, adapter: Tensor) -> Tensor:
    """Hints (Romero et al. 2015, eq. 3): ``1/2 mean((A S - T)**2)`` with a learned 1x1 convolution ``A``.

    Args:
        teacher_map: shape ``(n, h, w, c)``.
        student_map: shape ``(n, h, w, d)``.
        adapter: shape ``(d, c)``.
    """
    teacher_map, student_map = _matched(teacher_map, student_map)
    return 0.5 * tf.reduce_mean(tf.square(tf.tensordot(student_map, adapter, 1) - teacher_map))


def rkd_distance(teacher_map: Tensor, student_map: Tensor) -> Tensor:
    """Relational distillation of distances (Park et al. 2019, eq. 5 and 6).

    Mean Huber loss between the distances of all pairs of embeddings in the batch, each network's divided by their mean.
    """
    teacher, student = tf.stop_gradient(embedding(teacher_map)), embedding(student_map)
    return tf.reduce_mean(_huber(_relative_distances(student) - _relative_distances(teacher)))


def rkd_angle(teacher_map: Tensor, student_map: Tensor) -> Tensor:
    """Relational distillation of angles (Park et al. 2019, eq. 7 and 8).

    Mean Huber loss between the cosines of the angles ``i j k`` of all triples of embeddings in the batch. Takes
    ``n**2 (n + c)`` numbers of memory.
    """
    teacher, student = tf.stop_gradient(embedding(teacher_map)), embedding(student_map)
    return tf.reduce_mean(_huber(_cosines(student) - _cosines(tf.cast(teacher, student.dtype))))


def _matched(teacher_map: Tensor, student_map: Tensor) -> tuple[Tensor, Tensor]:
    """The two maps with equal height and width; the teacher's as a constant."""
    teacher_map = tf.stop_gradient(tf.cast(teacher_map, student_map.dtype))
    height, width = (min(teacher_map.shape[axis], student_map.shape[axis]) for axis in (1, 2))
    return _averaged_to(teacher_map, height, width), _averaged_to(student_map, height, width)


def _averaged_to(feature_map: Tensor, height: int, width: int) -> Tensor:
    """Average over equal blocks; over overlapping triangles where the sides do not divide each other."""
    _, tall, wide, channels = feature_map.shape
    if (tall, wide) == (height, width):
        return feature_map
    if tall % height or wide % width:
        return tf.image.resize(feature_map, (height, width), method="bilinear", antialias=True)
    blocks = tf.reshape(feature_map, (-1, height, tall // height, width, wide // width, channels))
    return tf.reduce_mean(blocks, axis=(2, 4))


def _attention_vector(feature_map: Tensor) -> Tensor:
    energy = tf.reduce_sum(tf.square(feature_map), axis=-1)
    return tf.math.l2_normalize(tf.reshape(energy, (-1, energy.shape[1] * energy.shape[2])), axis=1)


def embedding(feature_map: Tensor) -> Tensor:
    """A map averaged over its area: ``(n, h, w, c)`` to ``(n, c)``."""
    return tf.reduce_mean(feature_map, axis=(1, 2))


def _relative_distances(embedding: Tensor) -> Tensor:
    difference = embedding[:, None] - embedding[None]
    squares = tf.reduce_sum(tf.square(difference), axis=-1)
    # The root has no gradient at zero: where two are the same point, the distance is the constant zero.
    apart = squares > _EPSILON
    distances = tf.where(apart, tf.sqrt(tf.where(apart, squares, tf.ones_like(squares))), tf.zeros_like(squares))
    count = tf.reduce_sum(tf.cast(apart, distances.dtype))
    return tf.math.divide_no_nan(distances * count, tf.reduce_sum(distances))


def _cosines(embedding: Tensor) -> Tensor:
    """Shape ``(n, n, n)``: ``[j, i, k]`` is the cosine of the angle at ``j`` between the ways to ``i`` and ``k``."""
    ways = tf.math.l2_normalize(embedding[None] - embedding[:, None], axis=-1)
    return tf.matmul(ways, ways, transpose_b=True)


def _huber(difference: Tensor) -> Tensor:
    size = tf.abs(difference)
    return tf.where(size <= 1.0, 0.5 * tf.square(difference), size - 0.5)
