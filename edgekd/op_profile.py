"""Where the time of an inference goes, operator by operator, and which of them run inside XNNPACK."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.apart import ask
from edgekd.data.source import Pictures
from edgekd.errors import BenchmarkError, RecipeError
from edgekd.outside import litert_c
from edgekd.outside.session import Session, time_litert, write_inputs

TOP = 10
TRIM = 0.25  # of the runs at either end: an interrupt makes one operator of one run 100 times slower
LITTLE_COVERED = 0.8
"""Below this share of an inference the operators' whole microseconds leave too much out."""


@dataclass(frozen=True)
class Operator:
    """One operator of the graph as it runs.

    Attributes:
        name: as LiteRT, or XNNPACK for what it runs, calls it.
        index: of the node in the graph, or in XNNPACK's own.
        in_delegate: it runs inside XNNPACK.
        ms: mean over the runs without the fastest and the slowest quarter.
        share: of the time of all operators, 0 to 1.
    """

    name: str
    index: int
    in_delegate: bool
    ms: float
    share: float


@dataclass(frozen=True)
class OpProfile:
    """The operators of a model, slowest first.

    Attributes:
        operators: all of them.
        invoke_ms: median of the whole inference without profiling, in a process of its own.
        covered: what the operators' times add up to, as a share of ``invoke_ms``. They are counted in whole
            microseconds, rounded down, so that many small operators leave a part out; profiling adds to them.
        delegate_share: of the operators' time, what runs inside XNNPACK.
        num_runs: profiled inferences.
        litert: version of the runtime.
    """

    operators: tuple[Operator, ...]
    invoke_ms: float
    covered: float
    delegate_share: float
    num_runs: int
    litert: str

    def as_json(self) -> dict[str, Any]:
        """For ``--json``: the figures, and all operators."""
        return {**vars(self), "operators": [vars(operator) for operator in self.operators]}


def summarise(runs: Sequence[Sequence[dict[str, Any]]], invoke_ms: float, litert: str = "") -> OpProfile:
    """Put the events of several inferences together.

    Args:
        runs: per inference its events ``{"tag", "type", "index", "us"}``, types as in :mod:`edgekd.outside.litert_c`.
        invoke_ms: an inference without profiling.
        litert: version of the runtime.

    Raises:
        BenchmarkError: no operator was reported, or not the same ones in every run.
    """
    inside = (litert_c.DELEGATE_OPERATOR, litert_c.DELEGATE_PROFILED_OPERATOR)
    times: dict[tuple[bool, int, str], list[int]] = {}
    for events in runs:
        # Where XNNPACK reports its own operators, the node that stands for all of them would count them twice.
        detailed = any(event["type"] in inside for event in events)
        for event in events:
            delegated = event["type"] in inside
            if not delegated and event["type"] != litert_c.OPERATOR:
                continue
            if detailed and not delegated and "delegate" in event["tag"].lower():
                continue
            times.setdefault((delegated, int(event["index"]), event["tag"]), []).append(event["us"])
    if not times:
        raise BenchmarkError("LiteRT's profiler reported no operator; does this build of it profile?")
    if {len(row) for row in times.values()} != {len(runs)}:
        raise BenchmarkError("LiteRT's profiler reported other operators from run to run; are they too many for it?")
    means = {key: _middle_mean(row) / 1000 for key, row in times.items()}
    total = sum(means.values())
    operators = [
        Operator(name, index, delegated, mean, mean / total if total else 0.0)
        for (delegated, index, name), mean in means.items()
    ]
    return OpProfile(
        operators=tuple(sorted(operators, key=lambda row: (-row.ms, not row.in_delegate, row.index))),
        invoke_ms=invoke_ms,
        covered=total / invoke_ms,
        delegate_share=sum(row.share for row in operators if row.in_delegate),
        num_runs=len(runs),
        litert=litert,
    )


def require(kernel: str) -> None:
    """Raise MissingRequirementError or RecipeError where this runtime, or these kernels, cannot be profiled."""
    litert_c.library_path()
    if kernel not in litert_c.KERNEL_MODES:
        known = ", ".join(litert_c.KERNEL_MODES)
        raise RecipeError(f'--profile: the kernels "{kernel}" cannot be profiled; {known} can')


def profile(
    model: Path,
    session: Session,
    *,
    kernel: str = "xnnpack",
    num_threads: int = 1,
    pictures: Pictures | None = None,
) -> OpProfile:
    """Profile a model in a child process. The profiler slows it down: shares are to be read, not latency.

    Args:
        model: a .tflite of one input and one output.
        session: runs and warm-up of the one process.
        kernel: ``xnnpack`` or ``builtin``.
        num_threads: of the interpreter.
        pictures: brought to its input size; None, or a model of no RGB square, has its input made up.

    Raises:
        MissingRequirementError: a version of LiteRT whose structs are not known.
        RecipeError: kernels that cannot be profiled.
        ModelError: a file that is no model or that crashes.
        BenchmarkError: a profile that says nothing.
    """
    litert_c.library_path()
    if kernel not in litert_c.KERNEL_MODES:
        raise RecipeError(
            f'--profile: the kernels "{kernel}" cannot be profiled; {", ".join(litert_c.KERNEL_MODES)} can'
        )
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.npy"
        write_inputs(model, inputs, session, pictures)
        request = {
            "model": str(model),
            "images": str(inputs),
            "kernel": kernel,
            "num_threads": num_threads,
            "warmup_runs": session.warmup_runs,
            "num_runs": session.num_runs,
        }
        answer = ask("profile", request, f'model "{model.name}"', module=litert_c.__name__)
        plain = float(np.median(time_litert(model, inputs, session, kernel=kernel, num_threads=num_threads)))
    return summarise(answer["runs"], plain, answer["litert"])


def _middle_mean(values: Sequence[int]) -> float:
    """Mean without ``TRIM`` of the values at either end."""
    cut = int(TRIM * len(values))
    return float(np.mean(np.sort(values)[cut : len(values) - cut]))
