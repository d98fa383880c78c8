"""How long an app is busy before the model can run: decoding a picture, and bringing it into the model's form."""

from __future__ import annotations

import functools
import io
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from edgekd.config.data import Data
from edgekd.data.source import Images, Pictures, are_pixels
from edgekd.errors import DataError
from edgekd.latency import certified, percentile
from edgekd.preprocessing import Picture, open_image, preprocess

FEWEST_READINGS = 20
FILES, MADE = "image files", "PNG files made of the arrays"

Reader = Callable[[], Picture]
"""Decodes one picture. Raises DataError."""


def preprocessing_times(pictures: Pictures, config: Data) -> dict[str, Any] | None:
    """Time decoding and resizing apart, one picture after the other on one thread, by the recipe's own rules.

    What a data set holds as pixels is packed into PNG files in memory first, as an app gets no arrays. Files were read
    before, so that the disk is not timed; unreadable ones are left out.

    Args:
        pictures: some of a data set, as they came.
        config: how they become the model's input.

    Returns:
        :func:`timed`, and ``of``: :data:`FILES` or :data:`MADE`. None where no picture can be read.
    """
    if are_pixels(pictures):
        readers, of = _as_png(pictures), MADE
    else:
        readers, of = [picture.read for picture in pictures if _readable(picture.read)], FILES
    rule = functools.partial(
        preprocess, size=config.image_size, resize=config.resize, sixteen_bit_max=config.sixteen_bit_max
    )
    return {"of": of, **timed(readers, rule)} if readers else None


def timed(readers: Sequence[Reader], prepare: Callable[[Picture], Any]) -> dict[str, float | None]:
    """Read and prepare each picture in turn, all of them again until there are :data:`FEWEST_READINGS`.

    Returns:
        ``{"num_images", "decode_p50_ms", "resize_p50_ms", "p50_ms", "p90_ms"}``; the last two of both together, and the
        90th percentile None where the readings are too few to certify it.
    """
    rows = []
    for read in list(readers) * math.ceil(FEWEST_READINGS / len(readers)):
        began = time.perf_counter()
        picture = read()
        decoded = time.perf_counter()
        prepare(picture)
        rows.append((1e3 * (decoded - began), 1e3 * (time.perf_counter() - decoded)))
    decode, resize = np.array(rows).T
    return {
        "num_images": len(readers),
        "decode_p50_ms": percentile(decode, 50),
        "resize_p50_ms": percentile(resize, 50),
        "p50_ms": percentile(decode + resize, 50),
        "p90_ms": certified(decode + resize, 90),
    }


def _as_png(images: Images) -> list[Reader]:
    readers: list[Reader] = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        readers.append(functools.partial(open_image, file.getvalue()))
    return readers


def _readable(read: Reader) -> bool:
    try:
        read()
    except DataError:
        return False
    return True
