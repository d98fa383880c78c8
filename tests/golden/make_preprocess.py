"""Write ``preprocess.json``: what Pillow itself makes of small pictures. Python's and Kotlin's tests both read it.

::

    python tests/golden/make_preprocess.py          compare the file with what Pillow gives now; 1 if they differ
    python tests/golden/make_preprocess.py --write  write it anew

Nothing of edgekd is imported: the orientations are the table of the EXIF specification, the rest are calls of Pillow.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PATH = Path(__file__).with_name("preprocess.json")
TINY_BYTES = 600  # an expected tensor up to this size is written out, so that a failing test can show the difference

FORMAT = [
    "cases: each is one picture, and the uint8 RGB square that preprocessing must make of it.",
    "width, height: of the stored picture, before it is turned upright.",
    "pixels: either base64 of its bytes R, G, B, rows from the top, width * height * 3 of them, or the text 'formula':"
    " then the byte of channel c at column x and row y is"
    " (((3 * x * x + 5 * y * y + 7 * x * y * (c + 1)) >> 4) + 85 * c) & 255, all in 32-bit integers.",
    "orientation: the EXIF number 1..8; the picture is turned upright first.",
    "resize: stretch, or center_crop: of the upright picture the square of its shorter side,"
    " left = (width - side) / 2 and top = (height - side) / 2, rounded down.",
    "size: side of the result in pixels; Pillow's BILINEAR, 8 bits per channel, columns first and then rows.",
    "sha256: of the result's bytes R, G, B, rows from the top, size * size * 3 of them, in hexadecimal.",
    "expected: the same bytes in base64, there for tiny results alone.",
    "over_black: one picture of 256 x 256 pixels R = G = B = x, A = y, with alpha not multiplied in, laid over black;"
    " sha256 is that of its R, G, B bytes, not resized.",
]

# By the EXIF specification, tag 0x0112: where the stored row 0 and column 0 are in the picture as it is looked at.
UPRIGHT = {
    1: None,  # top, left
    2: Image.Transpose.FLIP_LEFT_RIGHT,  # top, right
    3: Image.Transpose.ROTATE_180,  # bottom, right
    4: Image.Transpose.FLIP_TOP_BOTTOM,  # bottom, left
    5: Image.Transpose.TRANSPOSE,  # left, top
    6: Image.Transpose.ROTATE_270,  # right, top
    7: Image.Transpose.TRANSVERSE,  # right, bottom
    8: Image.Transpose.ROTATE_90,  # left, bottom
}

# width, height, size: down, up and neither, odd and even, sides of one pixel, long and thin, one axis each way.
SHAPES = [
    (16, 16, 16),
    (32, 32, 16),
    (31, 33, 16),
    (17, 13, 8),
    (61, 47, 32),
    (47, 61, 28),
    (5, 7, 32),
    (3, 3, 13),
    (2, 3, 8),
    (1, 1, 8),
    (1, 1, 1),
    (1, 37, 9),
    (41, 1, 9),
    (1, 2, 3),
    (23, 9, 1),
    (9, 50, 14),
    (64, 5, 14),
]
LARGE = [(317, 241, 32), (241, 320, 224), (1001, 3, 16), (640, 480, 96), (500, 501, 64)]


def formula(width: int, height: int) -> NDArray[np.uint8]:
    """The picture that the format calls ``formula``: curved bands, wide ones at the top left and ever narrower ones."""
    y, x, c = np.ogrid[:height, :width, :3]
    return ((((3 * x * x + 5 * y * y + 7 * x * y * (c + 1)) >> 4) + 85 * c) & 255).astype(np.uint8)


def expected(pixels: NDArray[np.uint8], orientation: int, resize: str, size: int) -> bytes:
    """What Pillow makes of a stored picture."""
    image = Image.fromarray(pixels)
    turn = UPRIGHT[orientation]
    image = image if turn is None else image.transpose(turn)
    if resize == "center_crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    narrowed = image.resize((size, image.height), Image.Resampling.BILINEAR)
    return narrowed.resize((size, size), Image.Resampling.BILINEAR).tobytes()


def make() -> dict[str, Any]:
    """The whole file."""
    generator = np.random.default_rng(0)
    cases = []

    def add(width: int, height: int, size: int, orientation: int, resize: str, *, large: bool = False) -> None:
        noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        pixels = formula(width, height) if large else noise
        tensor = expected(pixels, orientation, resize, size)
        case = {
            "width": width,
            "height": height,
            "pixels": "formula" if large else base64.b64encode(pixels.tobytes()).decode(),
            "orientation": orientation,
            "resize": resize,
            "size": size,
            "sha256": hashlib.sha256(tensor).hexdigest(),
        }
        if len(tensor) <= TINY_BYTES:
            case["expected"] = base64.b64encode(tensor).decode()
        cases.append(case)

    for width, height, size in SHAPES:
        for resize in ("stretch", "center_crop"):
            add(width, height, size, 1, resize)
    for orientation in UPRIGHT:
        add(3, 2, 6, orientation, "stretch")
        add(19, 12, 11, orientation, "stretch")
        add(12, 19, 11, orientation, "center_crop")
    for width, height, size in LARGE:
        add(width, height, size, 1, "stretch", large=True)
        add(width, height, size, 6, "center_crop", large=True)
    return {"format": FORMAT, "pillow": Image.__version__, "over_black": over_black(), "cases": cases}


def over_black() -> dict[str, Any]:
    """Every value under every alpha, as ``Image.alpha_composite`` lays it over black."""
    y, x = np.mgrid[:256, :256].astype(np.uint8)
    picture = Image.fromarray(np.stack([x, x, x, y], axis=2))
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    result = Image.alpha_composite(black, picture).convert("RGB")
    return {"width": 256, "height": 256, "sha256": hashlib.sha256(result.tobytes()).hexdigest()}


def main() -> int:
    """Compare, or write."""
    content = make()
    if "--write" in sys.argv[1:]:
        PATH.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"{PATH.name}: {len(content['cases'])} cases by Pillow {content['pillow']}")
        return 0
    there = json.loads(PATH.read_text(encoding="utf-8"))
    same = {**there, "pillow": ""} == {**content, "pillow": ""}
    print(f"{PATH.name} " + ("is what Pillow gives" if same else "differs from what Pillow gives; --write replaces it"))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
