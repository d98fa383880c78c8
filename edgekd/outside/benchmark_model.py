"""Read what TensorFlow Lite's ``benchmark_model`` prints: latency, memory, and its table of operators.

Formats as in ``tensorflow/lite/tools/benchmark`` (README.md, ``benchmark_model.cc``, ``benchmark_utils``) and
``tensorflow/core/util/stats_calculator.cc``, which LiteRT prints unchanged::

    count=50 first=4210 curr=4105 min=4011 max=4903 avg=4150.2 std=92 p5=4020 median=4120 p95=4301
    Inference timings in us: Init: 18777, First inference: 64791, Warmup (avg): 57758.2, Inference (avg): 4150.2
    Memory footprint delta from the start of the tool (MB): init=8.97656 overall=18.7227

The last ``count=`` is that of the regular runs. ``p5``, ``median`` and ``p95`` came in 2023 (TensorFlow 2.15); older
builds of the tool give a mean alone. Every line may be preceded by a log prefix such as ``INFO: ``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from edgekd.errors import BenchmarkError
from edgekd.op_profile import Operator

MAX_OPERATORS = 10_000
MAX_LINE = 2_000  # characters; longer ones are no rows, and searching them would take long

_NUMBER = r"([0-9.]+(?:e[+-]?\d+)?)"
_COUNT = re.compile(r"\bcount=(\d+) ([a-z0-9]+=[^\s]+(?: [a-z0-9]+=[^\s]+)*)")
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_MEMORY = re.compile(rf"(?:[Mm]emory footprint)[^:]*\(MB\)[^:]*: init={_NUMBER} overall={_NUMBER}")
_TABLE = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_ROW = re.compile(r"^\s*(?P<name>\S.*?)\s+(?P<figures>(?:[0-9.]+%?\s+){5,7})(?P<label>\[.*\]:(?P<index>\d+)|\S.*)$")


@dataclass(frozen=True)
class ToolFigures:
    """One run of the tool, in milliseconds and MB; what its build does not print is None."""

    num_runs: int
    mean_ms: float
    median_ms: float | None
    p95_ms: float | None
    init_ms: float
    first_ms: float
    memory_mb: float | None


def parse_figures(text: str) -> ToolFigures:
    """Read the figures of the regular runs.

    Raises:
        BenchmarkError: the lines are not there, or hold no possible numbers.
    """
    timings = _TIMINGS.search(text)
    counts = _COUNT.findall(text)
    if timings is None or not counts:
        last = (text.strip().splitlines() or ["nothing"])[-1]
        raise BenchmarkError(f"benchmark_model printed no timings; its last line: {last[:200]}")
    count, fields = counts[-1]
    named = dict(pair.split("=", 1) for pair in fields.split())
    memory = _MEMORY.search(text)
    return ToolFigures(
        num_runs=int(count),
        mean_ms=_number(timings[4]) / 1000,
        median_ms=_number(named["median"]) / 1000 if "median" in named else None,
        p95_ms=_number(named["p95"]) / 1000 if "p95" in named else None,
        init_ms=_number(timings[1]) / 1000,
        first_ms=_number(timings[2]) / 1000,
        memory_mb=_number(memory[2]) if memory else None,
    )


def parse_operators(text: str) -> tuple[Operator, ...]:
    """Read the table of operators (``--enable_op_profiling=true``), slowest first.

    An operator runs in a delegate where the table says so: ``Delegate/...`` for one of its own, or the node that stands
    for all of them (``TfLiteXNNPackDelegate``).

    Raises:
        BenchmarkError: there is no table, or no operator in it.
    """
    start = text.find(_TABLE)
    start = text.find("Run Order", start)
    if text.find(_TABLE) < 0 or start < 0:
        raise BenchmarkError("benchmark_model printed no table of operators; was it built with profiling?")
    columns: list[str] = []
    rows: list[tuple[str, int, float]] = []
    for line in text[start:].splitlines()[1:]:
        if "====" in line or "Number of nodes executed" in line:
            break
        if "[node type]" in line:
            columns = re.findall(r"\[([^\]]+)\]", line)[1:-1]
            continue
        if len(line) > MAX_LINE:
            raise BenchmarkError(f"benchmark_model printed a line of {len(line)} characters in its table")
        found = _ROW.match(re.sub(r"^(?:INFO|[IVWE] \w+\s*): ", "", line))
        if not found or not columns:
            continue
        figures = dict(zip(columns, found["figures"].split(), strict=False))
        if len(found["figures"].split()) != len(columns):
            raise BenchmarkError(f"benchmark_model printed a row that does not fit its head: {line.strip()[:200]}")
        rows.append((found["name"], int(found["index"] or len(rows)), _number(figures["avg ms"])))
        if len(rows) > MAX_OPERATORS:
            raise BenchmarkError(f"benchmark_model printed more than {MAX_OPERATORS} operators")
    if not rows:
        raise BenchmarkError("benchmark_model printed an empty table of operators")
    total = math.fsum(ms for _, _, ms in rows)
    operators = [
        Operator(name.removeprefix("Delegate/"), index, "delegate" in name.lower(), ms, ms / total if total else 0.0)
        for name, index, ms in rows
    ]
    return tuple(sorted(operators, key=lambda row: (-row.ms, not row.in_delegate, row.index)))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BenchmarkError(f'benchmark_model printed "{text[:40]}" where a number is wanted') from None
    if not math.isfinite(value) or value < 0:
        raise BenchmarkError(f"benchmark_model printed {value} where a time or a size is wanted")
    return value
