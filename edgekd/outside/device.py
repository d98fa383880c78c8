"""What a measurement on a device gives: figures of each model, the machine, and ratios; nothing of it is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgekd.errors import BenchmarkError
from edgekd.interleave import Way
from edgekd.latency_rows import compared, latency_row
from edgekd.outside.session import Times
from edgekd.target import Target

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
        "num_turns": 1,
        "init_ms": number(answer.get("init_ms"), 0, 1e9, "init_ms"),
        "warmup_runs": int(number(answer.get("warmup_runs"), 0, MAX_TIMES, "warmup_runs")),
        "first_ms": number(answer.get("first_ms"), 0, 1e9, "first_ms"),
        "peak_rss_bytes": int(number(answer.get("peak_rss_bytes"), 0, 2**50, "peak_rss_bytes")),
    }


def figures(answers: Sequence[Mapping[str, Any]], *, device: str, profile: Target) -> dict[str, Any]:
    """One model's row from the answers of its processes."""
    way = Way(profile.kernel, profile.num_threads, ())
    row = latency_row(way, [dict(answer) for answer in answers], replace(profile, name=device, figures="measured"))
    return {**row, "peak_rss_bytes": int(np.median([answer["peak_rss_bytes"] for answer in answers]))}


def ratio_rows(times: Mapping[str, Sequence[Times]]) -> list[dict[str, Any]]:
    """Every model against the first, from the times of each round."""
    first, *others = times
    return [{"model": name, "baseline": first, **compared(times[name], times[first])} for name in others]
