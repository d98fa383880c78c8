"""Arrays that are mapped from files: what was read of them stays in memory until somebody lets go of it."""

from __future__ import annotations

import mmap
from typing import Any

from numpy.typing import NDArray


def release(array: NDArray[Any]) -> None:
    """Let go of the pages of a mapped array, so that a set larger than memory can be read.

    The system keeps them as long as it has room, and gives them back without reading the disk. An array that is not
    mapped, or could have been written to, is left alone; so is any where the system has no such call.
    """
    base = array.base
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and not array.flags.writeable and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)
