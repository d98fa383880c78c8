"""A model on TensorFlow Lite Micro, on this machine: its answers against LiteRT's reference kernels, and its arena."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import apart
from edgekd._litert import in_type
from edgekd.errors import MissingRequirementError, ModelError
from edgekd.tflite.view import open_view

AMPLE_BYTES = 1 << 28
"""An arena that any model for a microcontroller fits in a thousand times."""
ALIGNMENT = 16
"""Arenas start at and are cut to multiples of this."""
SECONDS = 120.0


def require() -> str:
    """The version of tflite-micro; raise MissingRequirementError where it is not installed."""
    if importlib.util.find_spec("tflite_micro") is None:
        raise MissingRequirementError(
            'the target "microcontroller" runs models by TensorFlow Lite Micro; pip install "edgekd[micro]" '
            "(there are wheels for Linux on x86-64)"
        )
    return importlib.metadata.version("tflite-micro")


def examine(path: Path, images: NDArray[np.uint8]) -> dict[str, Any]:
    """Run images by TensorFlow Lite Micro and by LiteRT's reference kernels, each in a process of its own.

    Args:
        path: a model of one input and one output; an int8 input takes pixels minus 128.
        images: uint8 ``(n, h, w, 3)`` of the model's input size.

    Returns:
        ``version``, ``num_images``, ``num_different`` (images whose output is not the same, bit for bit),
        ``largest_difference`` (in units of the output), and ``arena_bytes``, the smallest arena that gives the first
        image's answer.

    Raises:
        ModelError: a model that either of the two does not run.
        MissingRequirementError: tflite-micro is not installed.
    """
    version, title = require(), f'model "{path.name}"'
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", images)
        job = {"model": str(path), "images": str(folder / "images.npy"), "kernel": "reference"}
        apart.ask("outputs", {"jobs": [{**job, "out": str(folder / "reference.npy")}]}, title)
        reference = np.load(folder / "reference.npy", allow_pickle=False)
        inputs = in_type(images, np.dtype(open_view(path).inputs[0].dtype))
        found = _outputs(path, inputs, AMPLE_BYTES, folder)
        first = found[:1]

        def suffices(arena: int) -> bool:
            try:
                return np.array_equal(_outputs(path, inputs[:1], arena, folder), first)
            except ModelError:
                return False

        arena = smallest(suffices, ALIGNMENT, AMPLE_BYTES)
    different = found.astype(np.float64) - reference
    return {
        "version": version,
        "num_images": len(images),
        "num_different": int(np.any(different != 0, axis=1).sum()),
        "largest_difference": float(np.abs(different).max()),
        "arena_bytes": arena,
    }


def _outputs(path: Path, inputs: NDArray[Any], arena: int, folder: Path) -> NDArray[Any]:
    np.save(folder / "inputs.npy", inputs)
    request = {"model": str(path), "inputs": str(folder / "inputs.npy"), "arena": arena, "out": str(folder / "out.npy")}
    apart.ask("outputs", request, f'model "{path.name}" on TFLite Micro', SECONDS, module="edgekd.micro_child")
    found: NDArray[Any] = np.load(folder / "out.npy", allow_pickle=False)
    return found


def smallest(suffices: Callable[[int], bool], step: int, most: int) -> int:
    """The smallest multiple of ``step`` that suffices, by doubling and bisection; what suffices does so for all above.

    Args:
        suffices: is asked some two times the logarithm of the answer, and never about 0.
        step: every size is a multiple of it.
        most: known to suffice; a multiple of ``step``.
    """
    low, high = 0, step
    while high < most and not suffices(high):
        low, high = high, min(2 * high, most)
    while high - low > step:
        middle = (low + high) // 2 // step * step
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
