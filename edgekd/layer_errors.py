"""Which layers of a finished run quantization hurts: finds the run's files and images, and compares them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import apart, api, pipeline
from edgekd.cache import Cache
from edgekd.data import Dataset
from edgekd.errors import UserError
from edgekd.progress import Progress

FLOAT, INT8 = "student_fp32.tflite", "student_int8.tflite"
RECIPE_FILE = "recipe.toml"
CHILD = "edgekd.layer_errors_child"
SECONDS = 3600.0
"""Longest time that the comparison may take: each operator runs the whole float model over the images."""


def layer_errors(
    run: Path, *, data: str | None, num_images: int, cache: Cache, progress: Progress | None = None
) -> dict[str, Any]:
    """Rank the operators of a run's INT8 student by what their quantization does to the logits.

    Args:
        run: the ``--out`` folder of a build.
        data: where the images of the recipe's data set are now; None: where they were.
        num_images: images of val, evenly spaced.
        cache: store of finished stages; the prepared images are taken from there.
        progress: where long work is shown.

    Returns:
        ``{"run", "dataset", "split", "num_images", "fp32", "int8", "layers": [{"layer", "operator", "tensor",
        "logits_snr_db", "output_snr_db"}]}``; decibels, None where there is no error at all.

    Raises:
        UserError: no run folder, or one without the two files.
        ModelError: files that cannot be read, that are not of one model, or that crash the interpreter.
        DataError: images that are no longer there.
    """
    files = {name: run / "models" / name for name in (FLOAT, INT8)}
    recipe_file = run / RECIPE_FILE
    if not recipe_file.is_file():
        raise UserError(f'"{run}" is no run folder (it has no {RECIPE_FILE}); give the --out folder of edgekd build')
    for name, path in files.items():
        if not path.is_file():
            variant = name.removeprefix("student_").removesuffix(".tflite")
            raise UserError(f'"{run}" has no models/{name}; build it with "{variant}" in quantize.variants')
    loaded = api.load_recipe(str(recipe_file), data=data)
    made, _ = pipeline.artifacts(loaded, cache=cache, progress=progress, until="data")
    dataset = Dataset.open(made["data"])
    count = len(dataset.val.labels)
    chosen = np.unique(np.linspace(0, count - 1, min(num_images, count)).round().astype(np.int64))
    return {
        "run": str(run),
        "dataset": dataset.facts["name"],
        "split": "val",
        "num_images": len(chosen),
        "fp32": FLOAT,
        "int8": INT8,
        **compare(files[FLOAT], files[INT8], dataset.val.images[chosen]),
    }


def compare(fp32: Path, int8: Path, images: NDArray[np.uint8]) -> dict[str, Any]:
    """Compare two files over uint8 images ``(n, h, w, 3)`` in a child process; ``{"layers": [...]}``, worst first.

    Raises:
        ModelError: the files cannot be read, are not of one model, or crash the interpreter.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "images.npy", images)
        request = {"fp32": str(fp32), "int8": str(int8), "images": str(Path(folder) / "images.npy")}
        return apart.ask("layer_errors", request, f'"{fp32.name}" or "{int8.name}"', SECONDS, module=CHILD)
