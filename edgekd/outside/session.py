"""A session in which something from outside is timed beside LiteRT: interleaved rounds of fresh processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import latency
from edgekd.apart import ask
from edgekd.benchmark_input import write_input
from edgekd.data.source import Pictures
from edgekd.progress import Progress
from edgekd.statistics import Interval

KERNEL = "xnnpack"
NUM_THREADS = 1
CHILD = "edgekd.outside.child"

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Session:
    """How long a comparison runs. Everything in it runs on one thread and is not pinned, so that it is alike.

    Attributes:
        num_processes: rounds; each starts every contender once, in a process of its own.
        num_runs: timed inferences per process.
        warmup_runs: untimed inferences before them.
        seed: of the order and of made-up input.
    """

    num_processes: int = 5
    num_runs: int = 100
    warmup_runs: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Beside:
    """Two contenders on the same file: medians in milliseconds, and the ratio theirs / ours.

    Attributes:
        ours: median of LiteRT as edgekd measures it.
        theirs: median of the one from outside.
        ratio: ``theirs / ours`` with its interval over rounds.
        verdict: what the interval says of theirs.
    """

    ours: Interval
    theirs: Interval
    ratio: Interval
    verdict: latency.Verdict

    def as_json(self) -> dict[str, Any]:
        """The names that a report would use; an open interval is None."""
        return {
            "litert_p50_ms": self.ours.estimate,
            "litert_p50_ci95_ms": ends(self.ours),
            "p50_ms": self.theirs.estimate,
            "p50_ci95_ms": ends(self.theirs),
            "ratio": self.ratio.estimate,
            "ratio_ci95": ends(self.ratio),
            "verdict": self.verdict,
        }


def median(rounds: list[Times]) -> Interval:
    """Median over all runs, given round by round, with its interval."""
    return latency.percentile_interval(rounds, 50)


def ends(interval: Interval) -> list[float] | None:
    """Low and high; None for an open interval, which one process leaves."""
    return [interval.low, interval.high] if math.isfinite(interval.high) else None


def interleave(
    contenders: Mapping[str, Callable[[], Times]],
    session: Session,
    *,
    title: str = "",
    progress: Progress | None = None,
) -> dict[str, list[Times]]:
    """Run every contender once a round, in random order; return the times of each, round by round."""
    generator = np.random.default_rng(session.seed)
    names = list(contenders)
    found: dict[str, list[Times]] = {name: [] for name in names}
    with (progress or Progress()).task(title, session.num_processes * len(names), "processes") as task:
        for _ in range(session.num_processes):
            for index in generator.permutation(len(names)):
                found[names[index]].append(contenders[names[index]]())
                task.advance(1)
    return found


def beside(ours: list[Times], theirs: list[Times]) -> Beside:
    """Compare the times of two contenders, given round by round."""
    ratio = latency.ratio_of_medians(theirs, ours)
    return Beside(median(ours), median(theirs), ratio, latency.verdict(ratio))


def measuring_request(
    model: str, images: str, session: Session, *, kernel: str = KERNEL, num_threads: int = NUM_THREADS
) -> dict[str, Any]:
    """What :mod:`edgekd.measure` is asked; paths are those of the machine that it runs on."""
    return {
        "model": model,
        "images": images,
        "kernel": kernel,
        "num_threads": num_threads,
        "pin_cpus": [],
        "warmup_runs": session.warmup_runs,
        "num_runs": session.num_runs,
        "num_turns": 1,
    }


def time_litert(
    model: Path, inputs: Path, session: Session, *, kernel: str = KERNEL, num_threads: int = NUM_THREADS
) -> Times:
    """Milliseconds of the timed runs of one fresh process, LiteRT's interpreter."""
    request = measuring_request(str(model), str(inputs), session, kernel=kernel, num_threads=num_threads)
    answer = ask("measure", request, f'model "{model.name}"', module="edgekd.measure")
    return np.array(answer["invoke_ms"], np.float64)


def write_inputs(model: Path, target: Path, session: Session, pictures: Pictures | None = None) -> dict[str, Any]:
    """Write the inputs of a session as an .npy file, real ones where there are pictures that the model can take.

    Args:
        model: the file, which may be anybody's: a child opens it first.
        target: the .npy to be written.
        session: its seed makes input up.
        pictures: images, or None.

    Returns:
        ``{"input": dtype, "output": dtype, "made_up": bool}``.

    Raises:
        ModelError: the file is no model, or has several inputs or outputs.
        DataError: a picture that cannot be read.
    """
    kind = ask("kind", {"model": str(model)}, f'model "{model.name}"', module=CHILD)
    made = write_input(model.stem, model, pictures, target, session.seed)
    return {**kind, "made_up": made.warning is not None}
