"""Cases that are timed against each other: in rounds of fresh processes, which take turns in an order drawn anew.

A processor changes its pace within tenths of a second, when the one beside it falls idle or its clock is stepped: here
by a third, for half a second at a time. Processes that run one after the other meet different paces; short turns meet
the same one, and the ratio of two models is taken turn by turn. The idea is that of duet benchmarking (Bulej et al.
2020, "Duet benchmarking: improving measurement accuracy in the cloud"), with turns in the place of a second processor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekd._litert import KERNELS
from edgekd.config.benchmark import Benchmark
from edgekd.errors import UserError, did_you_mean
from edgekd.progress import Progress
from edgekd.target import Target

Answer = dict[str, Any]

# Of a process: as few as spread its runs over the round, and as many as leave several runs to each.
TURNS = 10
# Processes that live at once, each with its model in memory. Cases beyond come after them in the round.
TOGETHER = 8


class Measuring(Protocol):
    """A process of :mod:`edgekd.measure` that is warm."""

    def take_turn(self) -> None:
        """Have it run its next turn, and return when it has."""

    def answer(self) -> Answer:
        """What it measured, after the last turn."""


Begin = Callable[[str, Mapping[str, Any]], AbstractContextManager[Measuring]]


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
    begin: Begin,
    progress: Progress,
) -> dict[Case, list[Answer]]:
    """Run every case once a round, ``config.num_processes`` rounds.

    In a round each case has a process. They start and warm up one after the other in random order, and then take
    :data:`TURNS` turns each, every time round in another random order, so that what the machine does meanwhile meets
    all cases alike; see :func:`edgekd.latency.ratio_of_medians`.
    """
    answers: dict[Case, list[Answer]] = {case: [] for case in cases}
    title = f"benchmark, {config.num_processes} processes a model"
    with progress.task(title, config.num_processes * len(cases), "processes") as task:
        for _ in range(config.num_processes):
            drawn = [cases[index] for index in generator.permutation(len(cases))]
            for start in range(0, len(drawn), TOGETHER):
                together = drawn[start : start + TOGETHER]
                with ExitStack() as stack:
                    processes = [
                        stack.enter_context(begin(case.model, _request(case, models, inputs, config)))
                        for case in together
                    ]
                    for _ in range(TURNS):
                        for index in generator.permutation(len(together)):
                            processes[index].take_turn()
                    for case, process in zip(together, processes, strict=True):
                        answers[case].append(process.answer())
                        task.advance(1)
    return answers


def _request(case: Case, models: Mapping[str, Path], inputs: Mapping[str, Path], config: Benchmark) -> dict[str, Any]:
    return {
        "model": str(models[case.model]),
        "images": str(inputs[case.model]),
        "kernel": case.way.kernel,
        "num_threads": case.way.num_threads,
        "pin_cpus": list(case.way.pin_cpus),
        "warmup_runs": config.warmup_runs,
        "num_runs": config.num_runs,
        "num_turns": TURNS,
    }


def runs_of(answers: Sequence[Answer]) -> list[NDArray[np.float64]]:
    """Timed runs by process, in milliseconds, ``(turns, runs)`` each."""
    return [np.array(answer["invoke_ms"]).reshape(answer["num_turns"], -1) for answer in answers]
