"""A process that times a served model in batches: ``python -m edgekd.serving.child time``, asked like ``model_child``.

Its peak memory is that of Python, the runtime and the model; one process holds one form alone.
"""

from __future__ import annotations

import math
import os
import time
from typing import Any

from edgekd import steady
from edgekd.measure import peak_rss_bytes
from edgekd.model_child import main
from edgekd.model_process import Opened, open_onnx, open_saved_model

FEWEST_RUNS = 10


def time_batches(request: dict[str, Any]) -> dict[str, Any]:
    """Time batches, the smallest first: from an array in memory to the answers in memory.

    Args:
        request: ``kind`` (``saved_model`` or ``onnx``), ``model`` and ``images`` (paths; images is an .npy of inputs
            ``(n, ...)`` in the model's type, taken round and round), ``num_threads``, ``batch_sizes``, and by images
            ``warmup_runs`` (fewest; they go on until the times are steady) and ``num_runs``: of batches of ``b`` a
            ``b``-th as many are run, at least ten.

    Returns:
        ``{"init_ms", "batches": [{"batch_size", "warmup_runs", "steady", "num_runs", "seconds", "peak_rss_bytes"}]}``;
        ``seconds`` is the sum over the timed runs, ``peak_rss_bytes`` the largest memory up to and with this batch.
    """
    import numpy as np

    images = np.load(request["images"], allow_pickle=False)
    began = time.perf_counter_ns()
    opened = _open(request["kind"], request["model"], request["num_threads"])
    init_ms = (time.perf_counter_ns() - began) / 1e6
    rows = []
    for size in sorted(set(request["batch_sizes"])):
        batch = np.ascontiguousarray(np.take(images, np.arange(size), axis=0, mode="wrap"))

        def run(batch: Any = batch) -> float:
            before = time.perf_counter()
            opened.run(batch)
            return time.perf_counter() - before

        warming, is_steady = steady.warm_up(run, math.ceil(request["warmup_runs"] / size))
        num_runs = max(FEWEST_RUNS, math.ceil(request["num_runs"] / size))
        seconds = math.fsum(run() for _ in range(num_runs))
        found = {"batch_size": size, "warmup_runs": len(warming), "steady": is_steady, "num_runs": num_runs}
        rows.append({**found, "seconds": seconds, "peak_rss_bytes": peak_rss_bytes()})
    return {"init_ms": init_ms, "batches": rows}


def _open(kind: str, path: str, num_threads: int) -> Opened:
    """On the processor alone: the profile's threads are what is measured."""
    if kind == "onnx":
        return open_onnx(path, num_threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(num_threads)
    tf.config.threading.set_inter_op_parallelism_threads(num_threads)
    return open_saved_model(path)


if __name__ == "__main__":
    main({"time": time_batches})
