"""The answers of LiteRT's kernels on 64-bit Arm against those of the same kernels on this machine."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import apart
from edgekd.arm64 import emulator
from edgekd.arm64.pins import pins
from edgekd.errors import MissingRequirementError
from edgekd.tflite.edit import cut_float_tail

KERNELS = ("xnnpack", "reference")
RUNTIME = "ai-edge-litert"


@dataclass(frozen=True)
class Compared:
    """One model with one kernel.

    Attributes:
        model, kernel: which.
        integers: whether what was compared are integers, which must be equal; else they are floats.
        num_different: images whose output is not the same, bit for bit.
        largest_difference: in units of the output.
    """

    model: str
    kernel: str
    integers: bool
    num_different: int
    largest_difference: float


def require(cache: Path) -> None:
    """Raise MissingRequirementError unless emulator and user land are there and both LiteRTs are of one version."""
    from edgekd.arm64.install import installed

    emulator.find()
    installed(cache)
    pinned = next(pin.version for pin in pins() if pin.name == RUNTIME)
    here = importlib.metadata.version(RUNTIME)
    if here != pinned:
        raise MissingRequirementError(
            f"{RUNTIME} is {here} here and {pinned} in the user land, and two versions need not agree; install {pinned}"
        )


def compare(models: Mapping[str, Path], images: NDArray[np.uint8], root: Path, cpu: str) -> list[Compared]:
    """Run images through every model with every kernel, here and there, each side in a process of its own.

    A model that ends in floats (a DEQUANTIZE, a SOFTMAX) is run twice: as it is, and up to its last integers. Floats of
    two processors may differ in their last bits; integers may not.

    Args:
        models: files by name, integer throughout but for such an end.
        images: uint8 ``(n, h, w, 3)`` of their input size.
        root: of the user land.
        cpu: of ``emulator.CPUS``.

    Raises:
        ModelError: a model that cannot be run on either side.
        MissingRequirementError: no emulator.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", images)
        files: list[tuple[str, Path]] = []
        for index, (id, path) in enumerate(models.items()):
            core = folder / f"core_{index}.tflite"
            core.write_bytes(cut_float_tail(path.read_bytes()))
            files += [(id, path), (id, core)]
        jobs = [
            (id, kernel, {"model": str(path), "images": str(folder / "images.npy"), "kernel": kernel})
            for id, path in files
            for kernel in KERNELS
        ]
        title = f"models {', '.join(models)}"
        apart.ask("outputs", _request(folder, "here", jobs), title)
        emulator.ask(root, cpu, "outputs", _request(folder, "there", jobs), f"{title} on the emulated {cpu}")
        found = [
            _compared(id, kernel, *(np.load(folder / f"{side}_{index}.npy") for side in ("here", "there")))
            for index, (id, kernel, _) in enumerate(jobs)
        ]
    return list(dict.fromkeys(found))  # a model that is integer to its end was its own core


def _request(folder: Path, side: str, jobs: list[tuple[str, str, dict[str, str]]]) -> dict[str, Any]:
    return {"jobs": [{**job, "out": str(folder / f"{side}_{index}.npy")} for index, (_, _, job) in enumerate(jobs)]}


def _compared(id: str, kernel: str, here: NDArray[Any], there: NDArray[Any]) -> Compared:
    difference = np.abs(here.astype(np.float64) - there)
    return Compared(
        id,
        kernel,
        integers=bool(np.issubdtype(here.dtype, np.integer)),
        num_different=int(np.any(here != there, axis=1).sum()),
        largest_difference=float(difference.max(initial=0)),
    )
