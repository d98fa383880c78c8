"""Images of nothing, for a network whose own images are not at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HOW_DRAWN = (
    "noise whose amplitude falls with the frequency f as 1 / f**a, like that of photographs, a between 0.5 and 1.5; "
    "from grey to colourful, from dark to bright, each image over the full range 0..255"
)
_EXPONENTS = (0.5, 1.5)
_MOST_GAMMA = 3.0


def made_up_images(count: int, side: int, seed: int) -> NDArray[np.uint8]:
    """Draw RGB images, uint8 ``(count, side, side, 3)``; the first ones do not depend on ``count``.

    White noise would be averaged away by the first layers and tell nothing. Photographs have an amplitude spectrum of
    about ``1 / f`` (Field 1987, "Relations between the statistics of natural images and the response properties of
    cortical cells"); here the exponent varies from image to image, and so do how much the three colours share (0 to 1)
    and the gamma (1/3 to 3, uniform in its logarithm) of the image, which spans 0..255.
    """
    generator = np.random.default_rng(seed)
    return np.stack([_image(side, generator) for _ in range(count)])


def _image(side: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf  # no mean: the stretch below sets the brightness
    amplitude = frequency ** -generator.uniform(*_EXPONENTS)
    noise = generator.normal(size=(side, side, 4))
    fields = np.fft.irfft2(np.fft.rfft2(noise, axes=(0, 1)) * amplitude[..., None], (side, side), axes=(0, 1))
    shared = generator.uniform()
    colours = np.sqrt(shared) * fields[..., 3:] + np.sqrt(1 - shared) * fields[..., :3]
    stretched = (colours - colours.min()) / max(float(np.ptp(colours)), np.finfo(float).tiny)
    gamma = _MOST_GAMMA ** generator.uniform(-1, 1)
    return np.asarray(np.rint(255 * stretched**gamma), np.uint8)
