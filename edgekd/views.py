"""Replayable views: augmentation that is a pure function of (seed, sample, view number).

A stored teacher logit is right only when the teacher saw the very view that the student sees (Beyer et al. 2021,
"Knowledge distillation: a good teacher is patient and consistent"). So no generator state is kept: every random number
is a hash of what it is for, and a view can be drawn again in another epoch, process or machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import tf
from edgekd.recipe import Views

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class ViewParameters:
    """What is done to each image of a batch.

    Attributes:
        transforms: shape ``(n, 8)``; maps from output to input pixels, as ``ImageProjectiveTransformV3`` takes them.
        contrast: shape ``(n,)``; factor about the image's mean.
        brightness: shape ``(n,)``; added, in grey levels of 0..255.
    """

    transforms: NDArray[np.float32]
    contrast: NDArray[np.float32]
    brightness: NDArray[np.float32]


def uniform(
    seed: int, samples: NDArray[np.integer], views: NDArray[np.integer] | int, name: int
) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), one per sample: a hash of ``(seed, sample, view, name)``.

    SplitMix64's mixing function (Steele et al. 2014, "Fast splittable pseudorandom number generators"), applied once
    for each of the four numbers.

    Args:
        seed: of the run.
        samples: sample numbers, shape ``(n,)``.
        views: view numbers, shape ``(n,)`` or one for all.
        name: which of a view's random numbers this is.
    """
    state = np.full(np.shape(samples), np.uint64(seed))
    with np.errstate(over="ignore"):  # wrapping around is the arithmetic of the hash
        for part in (samples, views, name):
            state = _mix(state + _GOLDEN * (np.asarray(part).astype(np.uint64) + np.uint64(1)))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def view_parameters(
    config: Views, seed: int, samples: NDArray[np.integer], views: NDArray[np.integer] | int, side: int
) -> ViewParameters:
    """Draw the parameters of a batch of views.

    The output pixel ``p`` shows the input at ``A (p - c) + c + t``, with ``c`` the centre, ``t`` a shift by whole
    pixels (so that a shift alone blurs nothing) and ``A`` = rotation x zoom x mirroring.

    Args:
        config: how much is allowed.
        seed: of the run.
        samples: sample numbers, shape ``(n,)``.
        views: view numbers, shape ``(n,)`` or one for all.
        side: of the square images, in pixels.
    """

    def draw(name: int) -> NDArray[np.float64]:
        return uniform(seed, samples, views, name)

    def symmetric(name: int, largest: float) -> NDArray[np.float64]:
        return (2.0 * draw(name) - 1.0) * largest

    mirror_x = np.where(config.horizontal_flip & (draw(0) < 0.5), -1.0, 1.0)
    mirror_y = np.where(config.vertical_flip & (draw(1) < 0.5), -1.0, 1.0)
    angle = np.deg2rad(symmetric(2, config.max_rotation))
    zoom = 1.0 + symmetric(3, config.max_zoom)
    shift_x = np.rint(symmetric(4, config.max_shift * side))
    shift_y = np.rint(symmetric(5, config.max_shift * side))
    a0, a1 = zoom * np.cos(angle) * mirror_x, -zoom * np.sin(angle) * mirror_y
    b0, b1 = zoom * np.sin(angle) * mirror_x, zoom * np.cos(angle) * mirror_y
    centre = (side - 1) / 2
    a2 = centre * (1.0 - a0 - a1) + shift_x
    b2 = centre * (1.0 - b0 - b1) + shift_y
    zeros = np.zeros_like(a0)
    return ViewParameters(
        transforms=np.stack([a0, a1, a2, b0, b1, b2, zeros, zeros], axis=1).astype(np.float32),
        contrast=(1.0 + symmetric(6, config.max_contrast)).astype(np.float32),
        brightness=symmetric(7, config.max_brightness * 255.0).astype(np.float32),
    )


def render(images: Any, transforms: Any, contrast: Any, brightness: Any) -> Any:
    """Show a batch as its views say; usable inside a ``tf.function``.

    Args:
        images: uint8, shape ``(n, h, w, c)``.
        transforms, contrast, brightness: of :class:`ViewParameters`.

    Returns:
        float32 in 0..255, shape ``(n, h, w, c)``. Pixels from outside the image are its reflection.
    """
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    mean = tf.reduce_mean(moved, axis=(1, 2, 3), keepdims=True)
    contrast, brightness = contrast[:, None, None, None], brightness[:, None, None, None]
    return tf.clip_by_value((moved - mean) * contrast + mean + brightness, 0.0, 255.0)
