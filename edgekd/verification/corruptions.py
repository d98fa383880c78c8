"""What happens to pictures between a scanner and a model: in kinds, of rising severity, and repeatable.

Images are uint8 RGB ``(n, s, s, 3)`` at the model's size. The kinds follow Hendrycks and Dietterich 2019, "Benchmarking
neural network robustness to common corruptions and perturbations"; the severities are our own, in stated units.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Corruption:
    """One kind.

    Attributes:
        title: for people.
        unit: of the severity, as it follows the number.
        severities: mildest first.
        apply: from images, severity and seed to images of the same shape.
    """

    title: str
    unit: str
    severities: tuple[float, ...]
    apply: Callable[[Images, float, int], Images]


def jpeg(images: Images, quality: float, seed: int) -> Images:
    """Written as JPEG of this quality, colours at half the resolution, and read again."""
    return _each(images, lambda image: _through_jpeg(image, int(quality)))


def noise(images: Images, deviation: float, seed: int) -> Images:
    """Gaussian noise of this standard deviation in grey levels, of its own in each colour but for grey images."""
    generator = np.random.default_rng(seed)
    drawn = generator.normal(0, deviation, images.shape)
    grey = is_grey(images)
    drawn[grey] = drawn[grey][..., :1]
    return _clipped(images + drawn)


def brighter(images: Images, levels: float, seed: int) -> Images:
    """So many grey levels added; what passes 255 is cut off."""
    return _clipped(images + np.float64(levels))


def darker(images: Images, levels: float, seed: int) -> Images:
    """So many grey levels taken away; what falls below 0 is cut off."""
    return _clipped(images - np.float64(levels))


def blur(images: Images, percent: float, seed: int) -> Images:
    """Gaussian blur whose standard deviation is this percentage of the side."""
    radius = percent / 100 * images.shape[1]
    return _each(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def shift(images: Images, percent: float, seed: int) -> Images:
    """Moved by this percentage of the side, at least a pixel, in one of eight directions; the edge is repeated."""
    side = images.shape[1]
    far = max(1, round(percent / 100 * side))
    steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    chosen = np.random.default_rng(seed).integers(0, len(steps), len(images))
    places = np.arange(side)
    moved = np.empty_like(images)
    for index, (down, right) in enumerate(steps[number] for number in chosen):
        rows, columns = (np.clip(places - far * step, 0, side - 1) for step in (down, right))
        moved[index] = images[index][rows][:, columns]
    return moved


def is_grey(images: Images) -> NDArray[np.bool_]:
    """Whether all three colours of an image are equal, shape ``(n,)``."""
    return np.asarray(np.all(images == images[..., :1], axis=(1, 2, 3)))


CORRUPTIONS = {
    "jpeg": Corruption("JPEG", "quality", (90, 75, 50, 25, 10), jpeg),
    "noise": Corruption("noise", "grey levels", (4, 8, 16, 32), noise),
    "darker": Corruption("darker", "grey levels", (16, 32, 48, 64), darker),
    "brighter": Corruption("brighter", "grey levels", (16, 32, 48, 64), brighter),
    "blur": Corruption("blur", "% of the side", (1, 2, 3, 5), blur),
    "shift": Corruption("shift", "% of the side", (3, 6, 9, 12), shift),
}


def _clipped(values: NDArray[np.floating]) -> Images:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _each(images: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    return np.stack([np.asarray(change(Image.fromarray(np.ascontiguousarray(image)))) for image in images])


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return Image.open(file).convert("RGB")
