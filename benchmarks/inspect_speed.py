"""What it takes to look at images before training, the check for leaks included: time for many JPEGs, memory for more.

Two fresh processes look at folders that are made up for this, two classes in each: one of large JPEGs, whose time
counts, and one of very many small files, whose memory counts. Of the large ones, ten stand there twice pixel for pixel
and ten a second time at another JPEG quality: all of them have to be found, or the benchmark ends with an error.
Memory is the largest resident set of the whole process, interpreter and libraries included.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import _host
import numpy as np
from PIL import Image

from edgekd.config.data import Data
from edgekd.data.look import look
from edgekd.data.made_up import made_up_images
from edgekd.data.pool import processors
from edgekd.measure import peak_rss_bytes

MAX_SECONDS = 60.0
MAX_MEMORY_BYTES = 600 * 1024**2
COPIES = 10
FILES_A_FOLDER = 5000


def make_large(root: Path, count: int, side: int) -> None:
    """JPEGs of noise with the spectrum of photographs, a crop and a turn of one of 64; the last 20 are copies."""
    grounds = made_up_images(64, 2 * side, 0)
    generator = np.random.default_rng(0)
    for number in range(count):
        path = root / "ab"[number % 2] / f"{number:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        copied = number - (count - 2 * COPIES)
        if copied >= 0:
            original = root / "ab"[copied % 2] / f"{copied:06}.jpg"
            if copied < COPIES:
                path.write_bytes(original.read_bytes())
            else:
                with Image.open(original) as image:
                    image.save(path, quality=70)
            continue
        top, left, turns = generator.integers(0, side), generator.integers(0, side), generator.integers(0, 4)
        pixels = grounds[number % len(grounds), top : top + side, left : left + side]
        Image.fromarray(np.rot90(pixels, turns).copy()).save(path, quality=90)


def make_small(root: Path, count: int, side: int) -> None:
    """PNG files of noise."""
    generator = np.random.default_rng(1)
    for number in range(count):
        path = root / "ab"[number % 2] / f"{number // FILES_A_FOLDER:03}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR).save(path, compress_level=1)


def inspect(folder: Path) -> dict[str, Any]:
    """Look at a folder, as ``edgekd data inspect`` does."""
    start = time.perf_counter()
    document = look(Data(path=str(folder))).document
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "memory_bytes": peak_rss_bytes(),
        "num_images": document["num_images"],
        "num_unreadable": len(document["unreadable"]),
        "num_duplicates": len(document["duplicates"]),
        "num_near": len(document["near"]),
    }


def in_fresh_process(folder: Path) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(inspect, folder).result()


def main() -> None:
    parser = _host.parser(__doc__)
    parser.add_argument("--num-large", type=int, default=5000, help="large JPEGs")
    parser.add_argument("--large-side", type=int, default=512, help="their side, in pixels")
    parser.add_argument("--num-small", type=int, default=100_000, help="small files")
    parser.add_argument("--small-side", type=int, default=28, help="their side, in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        large, small = Path(name) / "large", Path(name) / "small"
        large.mkdir()
        make_large(large, options.num_large, options.large_side)
        file_bytes = sum(path.stat().st_size for path in large.rglob("*.jpg"))
        speed = in_fresh_process(large)
        if speed["num_duplicates"] < COPIES or speed["num_near"] < COPIES or speed["num_unreadable"]:
            raise SystemExit(f"not all copies were found: {speed}")
        small.mkdir()
        make_small(small, options.num_small, options.small_side)
        memory = in_fresh_process(small)
    _host.report(
        {
            "benchmark": "inspect_speed",
            "processors": processors(),
            "large": {"side": options.large_side, "file_bytes": file_bytes, **speed},
            "max_seconds": MAX_SECONDS,
            "small": {"side": options.small_side, **memory},
            "max_memory_bytes": MAX_MEMORY_BYTES,
            "held": speed["seconds"] <= MAX_SECONDS and memory["memory_bytes"] <= MAX_MEMORY_BYTES,
            "load": _host.load(),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
