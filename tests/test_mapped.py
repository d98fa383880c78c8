"""What is read of a mapped array is let go of; what is not mapped, or could be written, is left alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd.mapped import release


def resident(array: np.ndarray) -> int:
    """KiB of this array's file that this process has in memory, by the kernel's own account."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            inside = str(array.filename) in line
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux what is in memory")
def test_pages_are_let_go_of_and_come_back(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, (512, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "images.npy", content)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert resident(mapped) == 0
    mapped.sum()
    assert resident(mapped) >= 2000  # 2 MiB
    release(mapped[5:10])  # a part stands for its file
    assert resident(mapped) == 0
    np.testing.assert_array_equal(mapped, content)


def test_what_could_have_been_written_to_is_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros(100_000, np.uint8))
    copied = np.load(tmp_path / "images.npy", mmap_mode="c")
    copied[:] = 7
    release(copied)
    assert (copied == 7).all()
    plain = np.arange(5)
    release(plain)
    release(plain[1:])
    assert plain.tolist() == [0, 1, 2, 3, 4]
