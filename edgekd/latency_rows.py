"""What measuring processes answered, as rows of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekd import latency
from edgekd.interleave import Answer, Case, Way, runs_of
from edgekd.statistics import Interval
from edgekd.target import Target


def latency_row(way: Way, answers: Sequence[Answer], profile: Target) -> dict[str, Any]:
    """One entry of a model's ``latency``: percentiles with their intervals, times in milliseconds.

    A percentile that so few runs do not certify is None, and so is an interval that the processes do not bound.
    """
    processes = runs_of(answers)
    total = sum(runs.size for runs in processes)
    percentiles: dict[str, Any] = {}
    for percent in (50, 90, 99):
        there = percent == 50 or total >= latency.runs_needed(percent)
        found = latency.percentile_interval(processes, percent) if there else None
        percentiles[f"p{percent}_ms"] = found and found.estimate
        percentiles[f"p{percent}_ci95_ms"] = found and _ends(found)
    return {
        **{"target": profile.name, "figures": profile.figures, "kernel": way.kernel},
        **percentiles,
        "init_ms": float(np.median([answer["init_ms"] for answer in answers])),
        "first_ms": float(np.median([answer["first_ms"] for answer in answers])),
        "warmup_runs": int(np.median([answer["warmup_runs"] for answer in answers])),
        "num_runs": total,
        "num_processes": len(answers),
        "num_threads": way.num_threads,
    }


def raw_row(case: Case, answers: Sequence[Answer]) -> dict[str, Any]:
    """Every timed run of one case, by process and turn, from which all figures can be computed again."""
    how = {"kernel": case.way.kernel, "num_threads": case.way.num_threads}
    times = [turns.tolist() for turns in runs_of(answers)]
    return {"model": case.model, **how, "invoke_ms": times}


def compared(first: latency.Runs, second: latency.Runs) -> dict[str, Any]:
    """The ratio of two medians, its interval for another session, and the verdict on the first."""
    ratio = latency.repeatable_ratio(first, second)
    return {"ratio": ratio.estimate, "ci95": _ends(ratio), "verdict": latency.verdict(ratio)}


def _ends(interval: Interval) -> list[float] | None:
    return None if math.isinf(interval.high) else [interval.low, interval.high]
