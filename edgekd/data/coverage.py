"""Whether the calibration images cover what val holds: its classes, and its grey levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.mapped import release

# Rarer than this by chance, it is told; differences of fewer grey levels change no range that matters.
_CHANCE = 0.001
_LEVELS = 4
_IMAGES_HELD = 256
_FIGURES = ("mean grey level", "1st percentile of grey levels", "99th percentile of grey levels")


def coverage_warnings(
    calibration_images: NDArray[np.uint8],
    calibration_labels: NDArray[np.int64],
    val_images: NDArray[np.uint8],
    val_labels: NDArray[np.int64],
    class_names: Sequence[str],
) -> list[str]:
    """Say which classes and which brightness of val INT8 is not calibrated for.

    Brightness of an image: mean, 1st and 99th percentile of its grey levels. Of ``n`` images of val and ``m`` of
    calibration from one source, the ``k`` darkest (or brightest) are all of val with probability
    ``prod_{i<k} (n - i) / (n + m - i)``. Where it is below 1 in 1,000, and they lie out by more than four grey levels,
    the calibration images lack them.

    Args:
        calibration_images, val_images: uint8 ``(n, h, w, c)``.
        calibration_labels, val_labels: class numbers ``(n,)``, or 0 and 1 ``(n, K)``.
        class_names: in the order of the numbers.
    """
    remedy = "INT8 is not calibrated for them; raise data.num_calibration_samples, or put such images into train"
    warnings = []
    for number, name in enumerate(class_names):
        if _having(val_labels, number) and not _having(calibration_labels, number):
            warnings.append(f'no calibration image of class "{name}", of which val has some: {remedy}')
    calibration, val = brightness(calibration_images), brightness(val_images)
    for column, figure in enumerate(_FIGURES):
        low, high = calibration[:, column].min(), calibration[:, column].max()
        for below, limit, side in ((True, low - _LEVELS, "below"), (False, high + _LEVELS, "above")):
            out = val[:, column] < limit if below else val[:, column] > limit
            if out.any() and chance(int(out.sum()), len(val), len(calibration)) < _CHANCE:
                warnings.append(
                    f"{out.sum()} of {len(val)} val images have a {figure} {side} that of all {len(calibration)} "
                    f"calibration images ({low:.0f} to {high:.0f}; val has {val[:, column].min():.0f} to "
                    f"{val[:, column].max():.0f}): {remedy}"
                )
    return warnings


def brightness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean, 1st and 99th percentile of the grey levels of each image, shape ``(n, 3)``."""
    rows = np.empty((len(images), 3))
    for index, (row, image) in enumerate(zip(rows, images, strict=True)):
        if index % _IMAGES_HELD == 0:
            release(images)
        counts = np.bincount(image.ravel(), minlength=256)
        shares = np.cumsum(counts) / image.size
        row[:] = counts @ np.arange(256) / image.size, np.searchsorted(shares, 0.01), np.searchsorted(shares, 0.99)
    return rows


def chance(count: int, num_val: int, num_calibration: int) -> float:
    """Probability that the ``count`` most extreme of all images are of val, by chance alone."""
    order = np.arange(count)
    return float(np.prod((num_val - order) / (num_val + num_calibration - order)))


def _having(labels: NDArray[np.int64], number: int) -> bool:
    return bool(np.any(labels[:, number] if labels.ndim == 2 else labels == number))
