"""edgekd's preprocessing against ``preprocess.json``, which Pillow alone wrote and which Kotlin's tests read too."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekd.preprocessing import preprocess, to_rgb

FILE = Path(__file__).with_name("preprocess.json")
GOLDEN = json.loads(FILE.read_text(encoding="utf-8"))
ORIENTATION = 0x0112


def stored_pixels(case: dict[str, Any]) -> np.ndarray:
    """As the file's ``format`` says, the formula in 32-bit integers, as any language has them."""
    width, height = case["width"], case["height"]
    if case["pixels"] != "formula":
        return np.frombuffer(base64.b64decode(case["pixels"]), np.uint8).reshape(height, width, 3)
    x, y = np.arange(width, dtype=np.int32)[None, :, None], np.arange(height, dtype=np.int32)[:, None, None]
    c = np.arange(3, dtype=np.int32)[None, None, :]
    value: np.ndarray = np.right_shift(3 * x * x + 5 * y * y + 7 * x * y * (c + 1), 4) + 85 * c
    return np.bitwise_and(value, 255).astype(np.uint8)


def name_of(case: dict[str, Any]) -> str:
    return f"{case['width']}x{case['height']}-to-{case['size']}-{case['resize']}-{case['orientation']}"


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=name_of)
def test_result_is_pillows(case: dict[str, Any]) -> None:
    image = Image.fromarray(stored_pixels(case))
    image.getexif()[ORIENTATION] = case["orientation"]
    result = preprocess(image, case["size"], case["resize"])
    if "expected" in case:
        assert result.tobytes() == base64.b64decode(case["expected"])
    assert hashlib.sha256(result.tobytes()).hexdigest() == case["sha256"]


def test_every_value_under_every_alpha_is_laid_over_black() -> None:
    y, x = np.mgrid[:256, :256].astype(np.uint8)
    result = to_rgb(Image.fromarray(np.stack([x, x, x, y], axis=2)))
    assert hashlib.sha256(result.tobytes()).hexdigest() == GOLDEN["over_black"]["sha256"]


def test_the_cases_cover_what_goes_wrong_between_two_implementations() -> None:
    cases = GOLDEN["cases"]
    assert {case["orientation"] for case in cases} == set(range(1, 9))
    for resize in ("stretch", "center_crop"):
        shapes = [(case["width"], case["height"], case["size"]) for case in cases if case["resize"] == resize]
        assert any(min(width, height) > size for width, height, size in shapes), "both sides shrink"
        assert any(max(width, height) < size for width, height, size in shapes), "both sides grow"
        assert any(min(width, height) < size < max(width, height) for width, height, size in shapes), "one of each"
        assert any(min(width, height) == 1 < max(width, height) for width, height, _ in shapes), "a side of one pixel"
        assert any(width % 2 and height % 2 for width, height, _ in shapes), "odd sides"
        # A crop that cannot be in the middle: which of the two nearest places it takes.
        assert any((width - height) % 2 for width, height, _ in shapes)
    assert len({case["sha256"] for case in cases}) == len(cases)


def test_a_single_pixel_fills_the_square() -> None:
    case = next(case for case in GOLDEN["cases"] if (case["width"], case["height"], case["size"]) == (1, 1, 8))
    assert base64.b64decode(case["expected"]) == 64 * base64.b64decode(case["pixels"])


def test_the_file_is_what_its_script_writes() -> None:
    script = str(FILE.with_name("make_preprocess.py"))
    before = FILE.read_bytes()
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "preprocess.json is what Pillow gives")
    assert FILE.read_bytes() == before, "without --write nothing is written"
