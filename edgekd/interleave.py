"""Cases that are timed against each other: in rounds, each in a process of its own, in an order drawn anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._litert import KERNELS
from edgekd.benchmark_input import child
from edgekd.config.benchmark import Benchmark
from edgekd.errors import UserError, did_you_mean
from edgekd.progress import Progress
from edgekd.target import Target

Answer = dict[str, Any]
Ask = Callable[[str, Mapping[str, Any]], Answer]


def ask_process(name: str, request: Mapping[str, Any]) -> Answer:
    """Ask a fresh process of :mod:`edgekd.measure`. Raises ModelError and BenchmarkError as :func:`child`."""
    return child(name, [sys.executable, "-m", "edgekd.measure"], json.dumps(request))


@dataclass(frozen=True)
class Way:
    """How a model is run.

    Attributes:
        kernel: ``xnnpack``, ``builtin`` or ``reference``.
        num_threads: of the interpreter.
        pin_cpus: processors to pin to; empty pins nothing.
    """

    kernel: str
    num_threads: int
    pin_cpus: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One model, by its name, run in one way."""

    model: str
    way: Way


def ways(profile: Target, kernels: Sequence[str], threads: Sequence[int], cpus: int) -> tuple[list[Way], list[str]]:
    """The way of the profile, and then every one of ``kernels`` with every number of ``threads``.

    A profile that pins to a processor pins to as many as there are threads.

    Returns:
        The ways, without duplicates, and warnings on those that this host has too few processors for.

    Raises:
        UserError: an unknown kernel, no threads, or more threads than processors throughout.
    """
    for kernel in kernels:
        if kernel not in KERNELS:
            raise UserError(f'--kernels: unknown kernel "{kernel}"{did_you_mean(kernel, KERNELS)}')
    for count in threads:
        if count < 1:
            raise UserError(f"--threads: {count}; allowed: at least 1")
    possible = [count for count in threads if count <= cpus]
    if threads and not possible:
        raise UserError(f"--threads: {', '.join(map(str, threads))}; this host has {cpus} processors")
    own = Way(profile.kernel, profile.num_threads, profile.pin_cpus)
    found = [own]
    for kernel in kernels or ((own.kernel,) if threads else ()):
        for count in possible or (own.num_threads,):
            pinned = tuple(range(count)) if own.pin_cpus and count != own.num_threads else own.pin_cpus
            found.append(Way(kernel, count, pinned))
    left_out = [f"{count} threads were left out: this host has {cpus} processors" for count in threads if count > cpus]
    return list(dict.fromkeys(found)), left_out


def interleave(
    cases: Sequence[Case],
    models: Mapping[str, Path],
    inputs: Mapping[str, Path],
    config: Benchmark,
    generator: np.random.Generator,
    ask: Ask,
    progress: Progress,
) -> dict[Case, list[Answer]]:
    """Run every case once a round, ``config.num_processes`` rounds, in random order.

    What the machine does meanwhile meets all cases alike; see :func:`edgekd.latency.ratio_of_medians`.
    """
    answers: dict[Case, list[Answer]] = {case: [] for case in cases}
    title = f"benchmark, {config.num_processes} processes a model"
    with progress.task(title, config.num_processes * len(cases), "processes") as task:
        for _ in range(config.num_processes):
            for index in generator.permutation(len(cases)):
                case = cases[index]
                request = {
                    "model": str(models[case.model]),
                    "images": str(inputs[case.model]),
                    "kernel": case.way.kernel,
                    "num_threads": case.way.num_threads,
                    "pin_cpus": list(case.way.pin_cpus),
                    "warmup_runs": config.warmup_runs,
                    "num_runs": config.num_runs,
                }
                answers[case].append(ask(case.model, request))
                task.advance(1)
    return answers


def runs_of(answers: Sequence[Answer]) -> list[NDArray[np.float64]]:
    """Timed runs by process, in milliseconds."""
    return [np.array(answer["invoke_ms"]) for answer in answers]
