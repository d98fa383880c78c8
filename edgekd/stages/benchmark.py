"""Time models in fresh processes, interleaved at random, on real images."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil

from edgekd import latency, machine, target
from edgekd.artifact import Artifact, write_json
from edgekd.benchmark_input import Input, write_input
from edgekd.config.benchmark import Benchmark
from edgekd.data.source import Pictures
from edgekd.interleave import Answer, Begin, Case, interleave, runs_of, ways
from edgekd.latency_rows import compared, latency_row, raw_row
from edgekd.measuring import MeasuringProcess
from edgekd.progress import Progress

RUNS_FILE = "runs.json"
# Of its wall time, what a process on one thread may lack of a processor.
LACKING = 0.05
MOST_LACKING = 0.1  # of the processes, before it is told
DRIFT = 0.05


def benchmark(
    models: Mapping[str, Path],
    images: Pictures | None,
    config: Benchmark,
    out_dir: Path,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    kernels: Sequence[str] = (),
    threads: Sequence[int] = (),
    seed: int = 0,
    progress: Progress | None = None,
    begin: Begin = MeasuringProcess,
) -> Artifact:
    """Measure every model ``num_processes`` times, each time in a process of its own.

    In a round the processes of all models take turns, in random order, so that what the machine does meanwhile meets
    them all alike. A process warms up until its times are steady (:mod:`edgekd.steady`); what happened to the machine
    meanwhile is recorded, and said where it makes the figures doubtful (:mod:`edgekd.machine`).

    Args:
        models: files by name; ratios are against the first, and those of ``pairs``.
        images: arrays or image files, brought to each model's input size; None, or a model that takes no RGB square,
            gets made-up input.
        config: target, processes, runs.
        out_dir: folder of the artifact; ``runs.json`` holds every timed run.
        pairs: further models to be compared, each with its baseline.
        kernels, threads: further ways to run each model, every kernel with every number of threads.
        seed: of the order and of made-up input.
        progress: where the task is shown.
        begin: starts who measures: takes a model's name and the request of :mod:`edgekd.measure`.

    Returns:
        Facts ``{"models": {name: {"tflite_bytes", "latency": [...], "peak_rss_bytes"[, "preprocessing"]}},
        "ratios": [...], "scaling": [...], "host": {...}, "warnings": [...]}``; latency in milliseconds, the target's
        own way first.

    Raises:
        UserError: kernels or threads that this host cannot run.
        ModelError: a file that is no model, or a model that crashed its process.
        DataError: a picture that cannot be read.
        RecipeError: a target that has no latency on this machine.
        BenchmarkError: a process that ran too long.
    """
    profile, cpus = target.timed(config.target), os.cpu_count() or 1
    (own, *further), warnings = ways(profile, kernels, threads, cpus)
    cases = [Case(name, way) for name in models for way in (own, *further)]
    busy = psutil.cpu_percent(interval=1.0) / 100
    with tempfile.TemporaryDirectory() as folder:
        inputs = {
            name: write_input(name, path, images, Path(folder) / f"{number}.npy", seed)
            for number, (name, path) in enumerate(models.items())
        }
        files = {name: made.file for name, made in inputs.items()}
        before = machine.read()
        generator = np.random.default_rng(seed)
        answers = interleave(cases, models, files, config, generator, begin, progress or Progress())
        meanwhile = machine.between(before, machine.read(), cpus)
    runs = {case: runs_of(rows) for case, rows in answers.items()}
    drift = latency.drift([np.array([np.median(times) for times in processes]) for processes in runs.values()])
    if busy > machine.BUSY_SHARE:
        warnings.append(f"the machine was busy before the benchmark: others took {busy:.0%} of {cpus} processors")
    warnings += machine.warnings(meanwhile, cpus)
    if drift is not None and abs(drift) > DRIFT:
        word = "slower" if drift > 0 else "faster"
        warnings.append(f"drift: the last third of the rounds was {abs(drift):.0%} {word} than the first")
    warnings += _warnings(answers, inputs, config, cpus)
    first = next(iter(models))
    facts = {
        "models": {
            name: {
                "tflite_bytes": path.stat().st_size,
                "latency": [latency_row(way, answers[Case(name, way)], profile) for way in (own, *further)],
                "peak_rss_bytes": int(np.median([answer["peak_rss_bytes"] for answer in answers[Case(name, own)]])),
                **({"preprocessing": inputs[name].preprocessing} if inputs[name].preprocessing else {}),
            }
            for name, path in models.items()
        },
        "ratios": [
            {"model": name, "baseline": base, **compared(runs[Case(name, own)], runs[Case(base, own)])}
            for name, base in dict.fromkeys([*((name, first) for name in models if name != first), *pairs])
        ],
        "scaling": [
            {
                **{"model": name, "kernel": way.kernel, "num_threads": way.num_threads},
                "baseline": {"kernel": own.kernel, "num_threads": own.num_threads},
                **compared(runs[Case(name, way)], runs[Case(name, own)]),
            }
            for name in models
            for way in further
        ],
        "host": {"busy_before": busy, "cpus": cpus, "drift": drift, **meanwhile},
        "warnings": warnings,
    }
    write_json(out_dir / RUNS_FILE, [raw_row(case, rows) for case, rows in answers.items()])
    return Artifact.seal(out_dir, facts)


def _warnings(
    answers: Mapping[Case, Sequence[Answer]], inputs: Mapping[str, Input], config: Benchmark, cpus: int
) -> Iterator[str]:
    """What was the matter with the input, the profile and the processes."""
    yield from (made.warning for made in inputs.values() if made.warning)
    pinning = {case: rows for case, rows in answers.items() if case.way.pin_cpus}
    if not all(answer["pinned"] for rows in pinning.values() for answer in rows):
        yield f"target {config.target} asks for pinning to a processor, which this system does not allow"
    least = latency.rounds_needed()
    if len(answers) > 1 and config.num_processes < least:
        yield f"{config.num_processes} processes of each model show no difference between models; {least} are the least"
    asked = max(case.way.num_threads for case in answers)
    if asked > cpus:
        yield f"target {config.target} runs {asked} threads on {cpus} processors"
    for name in inputs:
        rows = [answer for case, found in answers.items() if case.model == name for answer in found]
        unsteady = sum(not answer["steady"] for answer in rows)
        if unsteady:
            yield f"{name} did not become steady in {unsteady} of {len(rows)} processes"
        # Of more threads the processor time says nothing: they wait for each other.
        alone = [case for case in answers if case.model == name and case.way.num_threads == 1]
        rows = [answer for case in alone for answer in answers[case]]
        lacking = sum(answer["cpu_share"] < 1 - LACKING for answer in rows)
        if lacking > len(rows) * MOST_LACKING:
            switches = sum(answer["involuntary_switches"] for answer in rows)
            yield (
                f"{name}: {lacking} of {len(rows)} processes lacked the processor for more than {LACKING:.0%} of the "
                f"time ({switches} involuntary switches)"
            )
