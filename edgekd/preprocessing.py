"""The one definition of preprocessing: from any picture to the model's uint8 square.

EXIF rotation, RGB, stretch or centre crop, Pillow's ``BILINEAR`` resize. Training, calibration, test, goldens and app
all go through this; everything else (normalisation, temperature) is inside the model's graph. Needs numpy and Pillow
alone.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edgekd.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
RESIZES = ("stretch", "center_crop")
MAX_PIXELS = 64_000_000

Picture = Image.Image | NDArray[np.uint8]


def open_image(source: Path | bytes, name: str | None = None) -> Image.Image:
    """Decode a PNG, JPEG, BMP or TIFF file completely.

    Args:
        source: path, or the file's bytes.
        name: what messages call it; the path by default.

    Raises:
        DataError: not an image of these formats, a broken one, or one of more than 64 million pixels.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    try:
        image = Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS)
        _check_size(image.width, image.height, name)
        image.load()
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f'"{name}" has more than {MAX_PIXELS:,} pixels; scale it down') from None
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        raise DataError(
            f'"{name}" cannot be read as {", ".join(FORMATS)}: {str(error) or type(error).__name__}'
        ) from None
    return image


def preprocess(picture: Picture, size: int, resize: str = "stretch") -> NDArray[np.uint8]:
    """Bring a picture into the model's form.

    Args:
        picture: a Pillow image of any mode, or a uint8 array ``(h, w)`` or ``(h, w, 3)``.
        size: side of the square, in pixels.
        resize: ``stretch`` both sides to the square, or ``center_crop`` the largest centred square first.

    Returns:
        uint8 RGB, shape ``(size, size, 3)``.

    Raises:
        DataError: an empty or oversized picture, or an array of another kind.
    """
    if resize not in RESIZES:
        raise DataError(f'resize "{resize}": allowed: {", ".join(RESIZES)}')
    image = to_rgb(picture)
    if resize == "center_crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def to_rgb(picture: Picture) -> Image.Image:
    """Rotate as EXIF says and convert to RGB.

    Grey is replicated. 16-bit grey keeps its upper byte. Transparency is laid over black.

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
    image = ImageOps.exif_transpose(picture)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "F":
            raise DataError("an image of floating-point values has no stated range; save it as 8 or 16 bit")
        return Image.fromarray((np.clip(values, 0, 65535).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        overlay = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), overlay).convert("RGB")
    return image.convert("RGB")


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise DataError(f'"{name}" is empty: {width} x {height} pixels')
    if width * height > MAX_PIXELS:
        raise DataError(f'"{name}" has {width * height:,} pixels, more than {MAX_PIXELS:,}; scale it down')
