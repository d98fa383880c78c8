"""Many images on one."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageOps

TILE = 96
GAP = 4
_GROUND = (128, 128, 128)


def contact_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Lay RGB images out in rows of ``columns``, on grey; each is fitted into a square of ``TILE`` pixels.

    Args:
        images: at least one.
        columns: how many beside each other.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    step = TILE + GAP
    sheet = Image.new("RGB", (columns * step + GAP, rows * step + GAP), _GROUND)
    for index, image in enumerate(images):
        tile = ImageOps.pad(image, (TILE, TILE), Image.Resampling.BILINEAR, color=_GROUND)
        sheet.paste(tile, (GAP + index % columns * step, GAP + index // columns * step))
    return sheet
