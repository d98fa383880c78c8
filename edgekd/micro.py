"""A model on TensorFlow Lite Micro, on this machine: its answers against LiteRT's reference kernels, and its arena."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import apart
from edgekd._litert import in_type
from edgekd.errors import MissingRequirementError
from edgekd.tflite.view import open_view

AMPLE_BYTES = 1 << 28
"""An arena that any model for a microcontroller fits in a thousand times."""


def require() -> str:
    """The version of tflite-micro; raise MissingRequirementError where it is not installed."""
    if importlib.util.find_spec("tflite_micro") is None:
        raise MissingRequirementError(
            'a target with runtime = "tflite_micro" runs models by TensorFlow Lite Micro; pip install "edgekd[micro]" '
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
        np.save(folder / "inputs.npy", in_type(images, np.dtype(open_view(path).inputs[0].dtype)))
        request = {"model": str(path), "inputs": str(folder / "inputs.npy"), "arena": AMPLE_BYTES}
        ask("outputs", {**request, "out": str(folder / "micro.npy")}, path)
        found = np.load(folder / "micro.npy", allow_pickle=False)
        arena = ask("arena", request, path)["arena_bytes"]
    different = found.astype(np.float64) - reference
    return {
        "version": version,
        "num_images": len(images),
        "num_different": int(np.any(different != 0, axis=1).sum()),
        "largest_difference": float(np.abs(different).max()),
        "arena_bytes": arena,
    }


def ask(task: str, request: dict[str, Any], path: Path) -> dict[str, Any]:
    """One question to :mod:`edgekd.micro_child`; raise ModelError where TensorFlow Lite Micro cannot run the model."""
    return apart.ask(task, request, f'model "{path.name}" on TFLite Micro', module="edgekd.micro_child")
