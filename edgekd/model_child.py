"""A process that runs a stranger's model and answers one question: ``python -m edgekd.model_child TASK``.

The request is JSON on stdin, the answer one line of JSON on stdout. What crashes or hangs takes this process with it
and no other; :mod:`edgekd.apart` is the near side. Imports numpy and LiteRT, and for the goldens Pillow.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

NUM_PICTURES = 8
PATCHES = 4  # along each side of a made-up picture: finer noise would be averaged away by the first layers
MAX_ELEMENTS = 1 << 26
MEMORY_BYTES = 8 << 30
# What a float32 input may be meant to take: bytes as they are, 0 to 1, -1 to 1.
FLOAT_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
# Outputs that differ by less, relative to the largest, are the same: float sums in another order differ so.
TOLERANCE = 1e-6


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Run made-up pictures: does the output depend on the input?

    Args:
        request: ``model``, a path.

    Returns:
        ``{"constant": bool, "finite": bool, "num_inputs": int}``. Constant: every output is the same for all pictures,
        in every range that a float input may be meant to take.
    """
    import numpy as np

    from edgekd._litert import open_interpreter
    from edgekd.errors import ModelError

    limit_memory()
    interpreter = open_interpreter(request["model"])
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    for row in inputs:
        if not np.issubdtype(row["dtype"], np.number) and row["dtype"] != np.bool_:
            raise ModelError(f"input of type {np.dtype(row['dtype']).name}; only numbers can be made up")
        if math.prod(int(side) for side in row["shape"]) > MAX_ELEMENTS:
            raise ModelError(f"input of shape {row['shape'].tolist()}; too large to be made up")
    floating = any(np.issubdtype(row["dtype"], np.floating) for row in inputs)
    answers: list[Any] = []
    for low, high in FLOAT_RANGES if floating else FLOAT_RANGES[:1]:
        generator = np.random.default_rng(0)
        for index in range(NUM_PICTURES):
            for row in inputs:
                unit = made_up(tuple(int(side) for side in row["shape"]), index, generator)
                interpreter.set_tensor(row["index"], in_range(unit, np.dtype(row["dtype"]), low, high))
            interpreter.invoke()
            found = [interpreter.get_tensor(row["index"]).astype(np.float64).ravel() for row in outputs]
            answers.append(np.concatenate(found))
    # A shape may follow the input; what differs in length differs.
    same_length = len({len(answer) for answer in answers}) == 1
    finite = all(bool(np.isfinite(answer).all()) for answer in answers)
    constant = False
    if same_length:
        rows = np.nan_to_num(np.stack(answers))
        spread = float(np.ptp(rows, axis=0).max(initial=0))
        constant = spread <= TOLERANCE * float(np.abs(rows).max(initial=0))
    return {"constant": constant, "finite": finite, "num_inputs": len(answers)}


def made_up(shape: tuple[int, ...], index: int, generator: Any) -> Any:
    """Values in 0..1: the first of all zeros, the second of all ones, then patches of random brightness."""
    import numpy as np

    if index < 2:
        return np.full(shape, float(index))
    if len(shape) != 4:
        return generator.uniform(size=shape)
    batch, height, width, channels = shape
    patches = generator.uniform(size=(batch, PATCHES, PATCHES, channels))
    rows, columns = np.arange(height) * PATCHES // max(height, 1), np.arange(width) * PATCHES // max(width, 1)
    return patches[:, rows][:, :, columns]


def in_range(unit: Any, dtype: Any, low: float, high: float) -> Any:
    """Values of 0..1 in the type of an input: floats from ``low`` to ``high``, bytes over all that they hold."""
    import numpy as np

    if np.issubdtype(dtype, np.floating):
        return (low + unit * (high - low)).astype(dtype)
    if dtype == np.bool_:
        return unit > 0.5
    smallest = max(int(np.iinfo(dtype).min), -(2**15))
    largest = min(int(np.iinfo(dtype).max), 2**15 - 1)
    return np.rint(smallest + unit * (largest - smallest)).astype(dtype)


def self_test(request: dict[str, Any]) -> dict[str, Any]:
    """Run the goldens of the bundle at ``bundle`` with every kernel: ``{"failures": {kernel: [text, ...]}}``."""
    from edgekd._litert import KERNELS
    from edgekd.manifest import MANIFEST_FILE, parse_manifest
    from edgekd.runtime import LoadedBundle

    folder = Path(request["bundle"])
    bundle = LoadedBundle(folder, parse_manifest((folder / MANIFEST_FILE).read_bytes(), str(folder)))
    return {"failures": {kernel: bundle.self_test(kernel) for kernel in KERNELS}}  # type: ignore[arg-type]


def predict(request: dict[str, Any]) -> dict[str, Any]:
    """Write the probabilities that ``model`` gives, with the task's ``head``.

    ``jobs`` are ``{"images", "kernel", "out", "raw"}`` each: an .npy of uint8 images, the kernel, where to write, and
    whether the output is written as it is.
    """
    import numpy as np

    from edgekd._litert import open_interpreter, predict_probs, run

    for job in request["jobs"]:
        images = np.load(job["images"], mmap_mode="r", allow_pickle=False)
        if job["raw"]:
            answers = run(open_interpreter(request["model"], job["kernel"]), images)
        else:
            answers = predict_probs(request["model"], images, kernel=job["kernel"], head=request["head"])
        np.save(job["out"], answers, allow_pickle=False)
    return {"num_jobs": len(request["jobs"])}


def outputs(request: dict[str, Any]) -> dict[str, Any]:
    """Write what models give, as it is: integers stay integers.

    ``jobs`` are ``{"model", "images", "kernel", "out"}`` each: a path, an .npy of uint8 images, the kernel, and where
    to write.
    """
    import numpy as np

    from edgekd._litert import open_interpreter, run

    for job in request["jobs"]:
        images = np.load(job["images"], allow_pickle=False)
        np.save(job["out"], run(open_interpreter(job["model"], job["kernel"]), images), allow_pickle=False)
    return {"num_jobs": len(request["jobs"])}


Task = Callable[[dict[str, Any]], dict[str, Any]]

TASKS: Mapping[str, Task] = {
    "probe": probe,
    "self_test": self_test,
    "predict": predict,
    "outputs": outputs,
}


def main(tasks: Mapping[str, Task] = TASKS) -> None:
    """Answer one request; whatever the model raises is answered as ``{"error": message}``."""
    request = json.load(sys.stdin)
    try:
        answer = tasks[sys.argv[1]](request)
    except Exception as error:  # a stranger's model raises what it likes
        answer = {"error": (str(error).strip().splitlines() or [type(error).__name__])[0][:300]}
    print(json.dumps(answer))


def limit_memory() -> None:
    """Let a damaged model that asks for all memory fail by itself, where the system can limit a process."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > MEMORY_BYTES:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, hard))


if __name__ == "__main__":
    main()
