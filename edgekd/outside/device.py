"""What a measurement on a device gives: figures of each model, the machine, and ratios; nothing of it is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekd import latency
from edgekd.errors import BenchmarkError
from edgekd.outside.session import Times, ends, median

MAX_TIMES = 10_000_000
MAX_TEXT = 200


@dataclass(frozen=True)
class DeviceReport:
    """Figures measured on a device.

    Attributes:
        device: as the user named it.
        summary: what it says of itself, in a line.
        machine: the same by name: ``cpu``, ``board``, ``machine``, versions.
        models: by name, rows as the report has them (``p50_ms``, ``num_runs``, ...), in milliseconds.
        ratios: every model against the first: ``{"model", "baseline", "ratio", "ci95", "verdict"}``.
        warnings: what to know of the figures.
    """

    device: str
    summary: str
    machine: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    ratios: Sequence[Mapping[str, Any]]
    warnings: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "device": self.device,
            "machine": dict(self.machine),
            "models": {name: dict(row) for name, row in self.models.items()},
            "ratios": [dict(row) for row in self.ratios],
            "warnings": list(self.warnings),
        }


def text(value: Any) -> str:
    """A stranger's text, short and without what steers a terminal; anything else is an empty text."""
    if not isinstance(value, str):
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in value[:MAX_TEXT])


def number(value: Any, low: float, high: float, name: str) -> float:
    """A stranger's number within its bounds. Raises BenchmarkError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BenchmarkError(f"the device answered {name} = {text(str(value))}; a number is wanted")
    if not low <= value <= high:
        raise BenchmarkError(f"the device answered {name} = {value}; {low:g} to {high:g} is possible")
    return float(value)


def checked(answer: Any) -> dict[str, Any]:
    """The answer of one measuring process, every field of it a number that can be. Raises BenchmarkError."""
    if not isinstance(answer, dict) or not isinstance(answer.get("invoke_ms"), list):
        raise BenchmarkError("the device answered something else than the figures of a measurement")
    times = answer["invoke_ms"]
    if not 1 <= len(times) <= MAX_TIMES:
        raise BenchmarkError(f"the device answered {len(times)} times; 1 to {MAX_TIMES} are possible")
    return {
        "invoke_ms": [number(value, 1e-6, 1e9, "invoke_ms") for value in times],
        "init_ms": number(answer.get("init_ms"), 0, 1e9, "init_ms"),
        "first_ms": number(answer.get("first_ms"), 0, 1e9, "first_ms"),
        "peak_rss_bytes": int(number(answer.get("peak_rss_bytes"), 0, 2**50, "peak_rss_bytes")),
    }


def figures(answers: Sequence[Mapping[str, Any]], *, device: str, kernel: str, num_threads: int) -> dict[str, Any]:
    """One model's row from the answers of its processes."""
    processes = [np.array(answer["invoke_ms"]) for answer in answers]
    pooled = np.concatenate(processes)
    middle = median(processes)
    return {
        "target": device,
        "figures": "measured",
        "kernel": kernel,
        "p50_ms": middle.estimate,
        "p90_ms": latency.certified(pooled, 90),
        "p99_ms": latency.certified(pooled, 99),
        "p50_ci95_ms": ends(middle),
        "init_ms": float(np.median([answer["init_ms"] for answer in answers])),
        "first_ms": float(np.median([answer["first_ms"] for answer in answers])),
        "num_runs": len(pooled),
        "num_processes": len(processes),
        "num_threads": num_threads,
        "peak_rss_bytes": int(np.median([answer["peak_rss_bytes"] for answer in answers])),
    }


def ratio_rows(times: Mapping[str, Sequence[Times]]) -> list[dict[str, Any]]:
    """Every model against the first, from the times of each round."""
    names = list(times)
    rows = []
    for name in names[1:]:
        ratio = latency.ratio_of_medians(times[name], times[names[0]])
        rows.append(
            {
                "model": name,
                "baseline": names[0],
                "ratio": ratio.estimate,
                "ci95": ends(ratio),
                "verdict": latency.verdict(ratio),
            }
        )
    return rows
