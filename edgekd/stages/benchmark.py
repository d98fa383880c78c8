"""Time models in fresh processes, interleaved at random, on real images."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from edgekd import latency, target
from edgekd._litert import as_input, open_interpreter
from edgekd.artifact import Artifact
from edgekd.config.benchmark import Benchmark
from edgekd.errors import BenchmarkError, ModelError
from edgekd.progress import Progress
from edgekd.statistics import Interval
from edgekd.target import Target

NUM_MADE_UP_INPUTS = 16
SECONDS_PER_PROCESS = 600
# Of the processors' time, over a second in which this process waits: what others take. The load average would count
# the training that ended a moment ago.
BUSY_SHARE = 0.25


def benchmark(
    models: Mapping[str, Path],
    images: NDArray[np.uint8] | None,
    config: Benchmark,
    out_dir: Path,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> Artifact:
    """Measure every model ``num_processes`` times, each time in a process of its own.

    A round runs every model once, in random order, so that what the machine does meanwhile meets them all alike.

    Args:
        models: files by name; ratios are against the first, and those of ``pairs``.
        images: uint8 ``(n, h, w, 3)`` of the models' input size; None, or a model of another input, gets random input.
        config: target, processes, runs.
        out_dir: folder of the artifact.
        pairs: further models to be compared, each with its baseline.
        seed: of the order and of made-up input.
        progress: where the task is shown.

    Returns:
        Facts ``{"models": {name: {"latency": [...], "peak_rss_bytes", "first_ms"}}, "ratios": [...], "host": {...},
        "warnings": [...]}``; latency in milliseconds.

    Raises:
        ModelError: a file that is no model, or a model that crashed its process.
        BenchmarkError: a process that ran too long.
    """
    profile = target.load(config.target)
    busy = psutil.cpu_percent(interval=1.0) / 100
    generator = np.random.default_rng(seed)
    names = list(models)
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    warnings: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = {name: _write_input(name, models[name], images, Path(folder), seed, warnings) for name in names}
        title = f"benchmark, {config.num_processes} processes a model"
        with (progress or Progress()).task(title, config.num_processes * len(names), "processes") as task:
            for _ in range(config.num_processes):
                for index in generator.permutation(len(names)):
                    name = names[index]
                    answers[name].append(_run_process(name, models[name], inputs[name], profile, config))
                    task.advance(1)
    cpus = os.cpu_count() or 1
    if busy > BUSY_SHARE:
        warnings.append(f"the machine was busy before the benchmark: others took {busy:.0%} of {cpus} processors")
    if profile.pin_cpus and not all(answer["pinned"] for rows in answers.values() for answer in rows):
        warnings.append(f"target {profile.name} asks for pinning to a processor, which this system does not allow")
    if profile.num_threads > cpus:
        warnings.append(f"target {profile.name} runs {profile.num_threads} threads on {cpus} processors")
    facts = {
        "models": {name: _figures(answers[name], profile, config) for name in names},
        "ratios": [
            _ratio(name, baseline, answers)
            for name, baseline in dict.fromkeys([*((name, names[0]) for name in names[1:]), *pairs])
        ],
        "host": {"busy_before": busy, "cpus": cpus},
        "warnings": warnings,
    }
    return Artifact.seal(out_dir, facts)


def _write_input(
    name: str, path: Path, images: NDArray[np.uint8] | None, folder: Path, seed: int, warnings: list[str]
) -> Path:
    """Write the model's inputs as an .npy file for its processes. Opening happens in a child first: it may crash."""
    details = _probe(name, path)
    shape, dtype = tuple(details["shape"][1:]), np.dtype(details["dtype"])
    file = folder / f"{len(list(folder.iterdir()))}.npy"
    if images is not None and shape == images.shape[1:] and dtype in (np.uint8, np.int8, np.float32):
        np.save(file, as_input(open_interpreter(path), images))
        return file
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (NUM_MADE_UP_INPUTS, *shape))
    if np.issubdtype(dtype, np.floating):
        made_up = pixels.astype(dtype)
    elif np.issubdtype(dtype, np.integer):
        made_up = (
            (pixels + min(0, int(np.iinfo(dtype).min))).astype(dtype) if dtype == np.int8 else pixels.astype(dtype)
        )
    else:
        raise ModelError(f'model "{name}" takes {dtype.name}; only numbers can be made up as input')
    np.save(file, made_up)
    warnings.append(f"{name} was timed on made-up input of shape {shape}")
    return file


_PROBE = """
import json, sys
from edgekd._litert import open_interpreter
from edgekd.errors import EdgekdError
try:
    details = open_interpreter(sys.argv[1]).get_input_details()[0]
    print(json.dumps({"shape": details["shape"].tolist(), "dtype": details["dtype"].__name__}))
except EdgekdError as error:
    print(json.dumps({"error": str(error)}))
"""


def _probe(name: str, path: Path) -> dict[str, Any]:
    return _child(name, [sys.executable, "-c", _PROBE, str(path)], "")


def _run_process(name: str, path: Path, images: Path, profile: Target, config: Benchmark) -> dict[str, Any]:
    request = {
        "model": str(path),
        "images": str(images),
        "kernel": profile.kernel,
        "num_threads": profile.num_threads,
        "pin_cpus": list(profile.pin_cpus),
        "warmup_runs": config.warmup_runs,
        "num_runs": config.num_runs,
    }
    return _child(name, [sys.executable, "-m", "edgekd.measure"], json.dumps(request))


def _child(name: str, command: Sequence[str], text: str) -> dict[str, Any]:
    """Run a child and read its JSON; a crash is the model's fault and named so."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=SECONDS_PER_PROCESS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(
            f'model "{name}" ran for more than {SECONDS_PER_PROCESS} s; lower the number of runs'
        ) from None
    if done.returncode < 0:
        raise ModelError(f'model "{name}" crashed the interpreter ({signal.Signals(-done.returncode).name})')
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BenchmarkError(f'the process that measures "{name}" failed: {reason}') from None
    if "error" in answer:
        raise ModelError(answer["error"])
    return answer


def _figures(answers: list[dict[str, Any]], profile: Target, config: Benchmark) -> dict[str, Any]:
    processes = [np.array(answer["invoke_ms"]) for answer in answers]
    pooled = np.concatenate(processes)
    median = latency.median_of_processes(processes)
    row = {
        "target": profile.name,
        "figures": profile.figures,
        "kernel": profile.kernel,
        "p50_ms": median.estimate,
        "p90_ms": latency.certified(pooled, 90),
        "p99_ms": latency.certified(pooled, 99),
        "p50_ci95_ms": _ends(median),
        "init_ms": float(np.median([answer["init_ms"] for answer in answers])),
        "first_ms": float(np.median([answer["first_ms"] for answer in answers])),
        "num_runs": len(pooled),
        "num_processes": config.num_processes,
        "num_threads": profile.num_threads,
    }
    return {"latency": [row], "peak_rss_bytes": int(np.median([answer["peak_rss_bytes"] for answer in answers]))}


def _ratio(name: str, baseline: str, answers: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    first, second = ([np.array(answer["invoke_ms"]) for answer in answers[key]] for key in (name, baseline))
    ratio = latency.ratio_of_medians(first, second)
    return {
        "model": name,
        "baseline": baseline,
        "ratio": ratio.estimate,
        "ci95": _ends(ratio),
        "verdict": latency.verdict(ratio),
    }


def _ends(interval: Interval) -> list[float] | None:
    """None for an open interval: one process says nothing of others."""
    return None if math.isinf(interval.high) else [interval.low, interval.high]
