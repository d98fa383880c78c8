"""How many images a second a server answers, by the number that it is given at a time, and what a million cost."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import apart, latency
from edgekd._litert import in_type
from edgekd.artifact import Artifact
from edgekd.config.benchmark import Benchmark
from edgekd.progress import Progress
from edgekd.serving.cost import priced
from edgekd.target import SAVED_MODEL, Target

CHILD = "edgekd.serving.child"
SECONDS = 1800.0
Answer = dict[str, Any]
Ask = Callable[[str, Mapping[str, Any]], Answer]


def ask_process(title: str, request: Mapping[str, Any]) -> Answer:
    """Ask a fresh process of :mod:`edgekd.serving.child`. Raises ModelError as :func:`edgekd.apart.ask`."""
    return apart.ask("time", request, title, SECONDS, module=CHILD)


def throughput(
    exported: Artifact,
    images: NDArray[np.uint8],
    config: Benchmark,
    profile: Target,
    out_dir: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    ask: Ask = ask_process,
) -> Artifact:
    """Time every exported form ``config.num_processes`` times, each time in a process of its own, in random order.

    A process tries all batch sizes, the smallest first, and warms up for each until its times are steady
    (:mod:`edgekd.steady`). Its images per second are all timed images over the sum of their times; processes are the
    sample, of which the median is given with its interval (:func:`edgekd.latency.percentile_interval`).

    Args:
        exported: of the export stage.
        images: uint8 ``(n, h, w, 3)`` of the test split.
        config: processes, runs, and the price of an hour.
        profile: threads and batch sizes.
        out_dir: of the artifact.
        seed: of the order.
        progress: where the task is shown.
        ask: who measures: takes a title and the request of the child, returns its answer.

    Returns:
        Facts ``{"target", "num_threads", "num_processes", "price_per_hour", "currency", "forms": [...], "warnings"}``.
        A form has ``id``, ``runtime``, ``init_ms`` and ``batches``: ``{"batch_size", "images_per_second", "ci95",
        "peak_rss_bytes", "num_runs", "cost_per_million", "cost_ci95"}``; intervals are None where too few processes
        bound them, costs where no price was stated.

    Raises:
        ModelError: a form does not run, or takes longer than half an hour.
    """
    forms = {str(form["id"]): form for form in exported.facts["forms"]}
    answers: dict[str, list[Answer]] = {id: [] for id in forms}
    generator, ids = np.random.default_rng(seed), list(forms)
    shared = {"num_threads": profile.num_threads, "batch_sizes": list(profile.batch_sizes)}
    shared |= {"warmup_runs": config.warmup_runs, "num_runs": config.num_runs}
    with tempfile.TemporaryDirectory() as folder:
        requests = {}
        for id, form in forms.items():
            np.save(Path(folder) / f"{id}.npy", in_type(images, np.dtype(form["input"]["dtype"])))
            kind = id if id == SAVED_MODEL else "onnx"
            paths = {"model": str(exported.path / form["path"]), "images": str(Path(folder) / f"{id}.npy")}
            requests[id] = {"kind": kind, **paths, **shared}
        title = f"throughput, {config.num_processes} processes a form"
        with (progress or Progress()).task(title, config.num_processes * len(ids), "processes") as task:
            for _ in range(config.num_processes):
                for index in generator.permutation(len(ids)):
                    answers[ids[index]].append(ask(f'"{forms[ids[index]]["path"]}"', requests[ids[index]]))
                    task.advance(1)
    rows = [
        {
            "id": id,
            "runtime": _runtime(id),
            "init_ms": float(np.median([answer["init_ms"] for answer in found])),
            "batches": [
                priced(row_of(same), config.price_per_hour)
                for same in zip(*(answer["batches"] for answer in found), strict=True)
            ],
        }
        for id, found in answers.items()
    ]
    unsteady = [
        f"{id} did not become steady in {count} of {len(found) * len(found[0]['batches'])} series of batches"
        for id, found in answers.items()
        if (count := sum(not row["steady"] for answer in found for row in answer["batches"]))
    ]
    told = {"target": profile.name, "num_threads": profile.num_threads, "num_processes": config.num_processes}
    price = {"price_per_hour": config.price_per_hour, "currency": config.currency}
    return Artifact.seal(out_dir, {**told, **price, "forms": rows, "warnings": unsteady})


def row_of(same: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One batch size as the processes found it."""
    size, runs = same[0]["batch_size"], same[0]["num_runs"]
    times = [np.array([row["seconds"] / (size * row["num_runs"])]) for row in same]
    seconds = latency.percentile_interval(times, 50)
    bounded = seconds.low > 0 and math.isfinite(seconds.high)
    return {
        "batch_size": size,
        "images_per_second": 1 / seconds.estimate,
        "ci95": [1 / seconds.high, 1 / seconds.low] if bounded else None,
        "peak_rss_bytes": int(np.median([row["peak_rss_bytes"] for row in same])),
        "num_runs": runs * len(same),
    }


def _runtime(id: str) -> str:
    package = "tensorflow" if id == SAVED_MODEL else "onnxruntime"
    return f"{package} {version(package)}"
