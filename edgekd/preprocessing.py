"""The one definition of preprocessing: from any picture to the model's uint8 square.

EXIF rotation, RGB, stretch or centre crop, Pillow's ``BILINEAR`` resize. Training, calibration, test, goldens and app
all go through this; everything else (normalisation, temperature) is inside the model's graph. Needs numpy and Pillow
alone.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edgekd.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
RESIZES = ("stretch", "center_crop")
MAX_PIXELS = 64_000_000
SIXTEEN_BIT_MAX = 0xFFFF

Picture = Image.Image | NDArray[np.uint8]


def open_image(source: Path | bytes, name: str | None = None) -> Image.Image:
    """Decode a PNG, JPEG, BMP or TIFF file completely.

    Args:
        source: path, or the file's bytes.
        name: what messages call it; the path by default.

    Raises:
        DataError: not an image of these formats, a broken one, one of several pages, or one of more than 64 million
            pixels.
    """
    with _reading(source, name) as image:
        image.load()
        return image


def shorter_side(source: Path | bytes, name: str | None = None) -> int:
    """Shorter side of an image file in pixels, from its header alone. Raises DataError as :func:`open_image`."""
    with _reading(source, name) as image:
        return min(image.size)


@contextmanager
def _reading(source: Path | bytes, name: str | None) -> Iterator[Image.Image]:
    name = name or (str(source) if isinstance(source, Path) else "image")
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is a lower one
                image = Image.open(file, formats=FORMATS)
            _check_size(image.width, image.height, name)
            # A phone's JPEG may carry further frames (MPO); the first one is the picture.
            pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if pages > 1:
                raise DataError(f'"{name}" has {pages} pages; save the one that counts as a file of its own')
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f'"{name}" has more than {MAX_PIXELS:,} pixels; scale it down') from None
    except UnidentifiedImageError:
        raise DataError(f'"{name}" is not an image in the form {", ".join(FORMATS)}; convert it') from None
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f'"{name}" cannot be read: {reason or type(error).__name__}') from None


def preprocess(
    picture: Picture, size: int, resize: str = "stretch", sixteen_bit_max: int = SIXTEEN_BIT_MAX
) -> NDArray[np.uint8]:
    """Bring a picture into the model's form.

    Args:
        picture: a Pillow image of any mode, or a uint8 array ``(h, w)`` or ``(h, w, 3)``.
        size: side of the square, in pixels.
        resize: ``stretch`` both sides to the square, or ``center_crop`` the largest centred square first.
        sixteen_bit_max: as of :func:`to_rgb`.

    Returns:
        uint8 RGB, shape ``(size, size, 3)``.

    Raises:
        DataError: an empty or oversized picture, or an array of another kind.
    """
    if resize not in RESIZES:
        raise DataError(f'resize "{resize}": allowed: {", ".join(RESIZES)}')
    image = to_rgb(picture, sixteen_bit_max)
    if resize == "center_crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (size, size):
        # Columns first, always: which axis Pillow takes first depends on its version and decides about the last bit.
        image = image.resize((size, image.height), Image.Resampling.BILINEAR)
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def to_rgb(picture: Picture, sixteen_bit_max: int = SIXTEEN_BIT_MAX) -> Image.Image:
    """Rotate as EXIF says and convert to RGB.

    Grey is replicated. 16-bit grey becomes ``min(value, m) * 256 // (m + 1)`` with ``m = sixteen_bit_max``: the upper
    byte, ``value >> 8``, for 65,535, and ``value >> 4`` for 4,095. 16-bit colours keep their upper byte. Transparency
    is laid over black.

    Raises:
        DataError: as :func:`preprocess`.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)):
            raise DataError(
                f"an array of {picture.dtype} with shape {picture.shape}: "
                "uint8 with shape (h, w) or (h, w, 3) is wanted"
            )
        _check_size(picture.shape[1], picture.shape[0], "array")
        picture = Image.fromarray(picture)
    _check_size(picture.width, picture.height, "image")
    try:
        image = ImageOps.exif_transpose(picture)
        if image.mode.startswith("I"):
            return _eight_bit(image, sixteen_bit_max).convert("RGB")
        if image.mode == "F":
            raise DataError("an image of floating-point values has no stated range; save it as 8 or 16 bit")
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
        return image.convert("RGB")
    except DataError:
        raise
    except Exception as error:  # broken EXIF, or a mode that Pillow cannot convert
        raise DataError(f"an image of mode {picture.mode} cannot be converted to RGB: {error}") from None


def _eight_bit(image: Image.Image, white: int) -> Image.Image:
    """Grey of 16 bits, which Pillow gives as mode I;16 or, in some versions, as I, to 8 bits."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise DataError("an image of 32-bit values has no stated range; save it as 8 or 16 bit")
    return Image.fromarray((np.minimum(values.astype(np.uint32), white) * 256 // (white + 1)).astype(np.uint8))


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise DataError(f'"{name}" is empty: {width} x {height} pixels')
    if width * height > MAX_PIXELS:
        raise DataError(f'"{name}" has {width * height:,} pixels, more than {MAX_PIXELS:,}; scale it down')
