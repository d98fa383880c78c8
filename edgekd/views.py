"""Replayable views: augmentation that is a pure function of (seed, sample, view number).

A stored teacher logit is right only when the teacher saw the very view that the student sees (Beyer et al. 2021,
"Knowledge distillation: a good teacher is patient and consistent"). So no generator state is kept: every random number
is a hash of what it is for, and a view can be drawn again in another epoch, process or machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import tf
from edgekd.config.training import Views
from edgekd.mapped import release

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


@dataclass(frozen=True)
class Mixture:
    """What is mixed into each view of a batch.

    Inside its box a view keeps ``kept`` of itself and the partner's view fills up the rest; outside it stays as it is.
    Mixup's box is the whole image; cutmix keeps nothing inside its box.

    Attributes:
        partners: sample numbers, shape ``(n,)``.
        boxes: ``top, left, bottom, right`` in pixels, the last two exclusive; shape ``(n, 4)``.
        kept: in [0, 1], shape ``(n,)``.
        share: of the sample in the whole image, and so in the targets; shape ``(n,)``.
    """

    partners: NDArray[np.int64]
    boxes: NDArray[np.int32]
    kept: NDArray[np.float32]
    share: NDArray[np.float32]


class View(NamedTuple):
    """Images, and how each is shown: the arguments of :func:`render`."""

    images: Any
    transforms: Any
    contrast: Any
    brightness: Any


class Scene(NamedTuple):
    """All that :func:`show` needs; named tuples, so that a ``tf.function`` takes it as it is.

    Attributes:
        own: the views of the samples.
        partner: those of their partners, each by its own parameters; empty where nothing is mixed.
        boxes, kept: of :class:`Mixture`; empty where nothing is mixed.
    """

    own: View
    partner: Any = ()
    boxes: Any = ()
    kept: Any = ()


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


def draw_mixture(
    config: Views,
    seed: int,
    samples: NDArray[np.integer],
    views: NDArray[np.integer] | int,
    num_samples: int,
    side: int,
) -> Mixture | None:
    """Draw what is mixed into a batch of views; None where the recipe mixes nothing.

    Mixup (Zhang et al. 2018): ``share ~ Beta(alpha, alpha)``. Cutmix (Yun et al. 2019): a box of the sides
    ``side sqrt(1 - share)`` about a uniform centre, cut off at the edge; the share is what it leaves. Where both are
    on, an even draw decides for each view. The partner is any other sample, each as likely.

    Args:
        config: how much is allowed.
        seed: of the run.
        samples: sample numbers, shape ``(n,)``.
        views: view numbers, shape ``(n,)`` or one for all.
        num_samples: of the data, to draw partners from.
        side: of the square images, in pixels.
    """
    from scipy.special import betaincinv

    if not (config.mixup_alpha or config.cutmix_alpha):
        return None
    partner, coin, level, across, down = (uniform(seed, samples, views, name) for name in range(8, 13))
    steps = 1 + (partner * (num_samples - 1)).astype(np.int64)
    partners = (samples.astype(np.int64) + steps) % num_samples
    both = config.mixup_alpha > 0 and config.cutmix_alpha > 0
    is_mixup = coin < 0.5 if both else np.full(len(samples), config.mixup_alpha > 0)
    alpha = np.where(is_mixup, config.mixup_alpha, config.cutmix_alpha)
    drawn = betaincinv(alpha, alpha, level)  # the quantile function: one uniform number gives one of the distribution
    half = (side * np.sqrt(1.0 - drawn) / 2).astype(np.int64)
    x, y = (across * side).astype(np.int64), (down * side).astype(np.int64)
    boxes = np.clip(np.stack([y - half, x - half, y + half, x + half], axis=1), 0, side)
    boxes[is_mixup] = [0, 0, side, side]
    kept = np.where(is_mixup, drawn, 0.0)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / side**2
    share = 1.0 - (1.0 - kept) * area
    return Mixture(partners, boxes.astype(np.int32), kept.astype(np.float32), share.astype(np.float32))


def set_scene(
    config: Views, seed: int, images: NDArray[np.uint8], samples: NDArray[np.integer], view: int
) -> tuple[Scene, Mixture | None]:
    """Gather what a batch of views shows, and what is mixed into it.

    Args:
        config: how much is allowed.
        seed: of the run.
        images: all of the data, uint8, shape ``(num_samples, side, side, c)``.
        samples: sample numbers, shape ``(n,)``.
        view: view number.
    """
    side = images.shape[1]

    def views_of(chosen: NDArray[np.integer]) -> View:
        drawn = view_parameters(config, seed, chosen, view, side)
        pixels = images[chosen]
        release(images)
        return View(pixels, drawn.transforms, drawn.contrast, drawn.brightness)

    mixture = draw_mixture(config, seed, samples, view, len(images), side)
    if mixture is None:
        return Scene(views_of(samples)), None
    return Scene(views_of(samples), views_of(mixture.partners), mixture.boxes, mixture.kept), mixture


def show(scene: Scene) -> Any:
    """Render the views of a batch and mix them; usable inside a ``tf.function``.

    Returns:
        float32 in 0..255, shape ``(n, h, w, c)``.
    """
    own = render(*scene.own)
    if not scene.partner:
        return own
    height, width = tf.unstack(tf.shape(own)[1:3])
    top, left, bottom, right = tf.unstack(scene.boxes[:, :, None], axis=1)
    rows, columns = tf.range(height)[None], tf.range(width)[None]
    inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]
    weight = tf.where(inside, scene.kept[:, None, None], 1.0)[..., None]
    return weight * own + (1.0 - weight) * render(*scene.partner)


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
