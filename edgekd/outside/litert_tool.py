"""LiteRT's own benchmark tool (``litert-benchmark`` of the ai-edge-litert wheel) on the same file, in one session."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data.source import Pictures
from edgekd.errors import BenchmarkError, MissingRequirementError
from edgekd.outside.session import NUM_THREADS, Session, Times, ends, interleave, median, time_litert, write_inputs
from edgekd.progress import Progress
from edgekd.statistics import Interval

SCRIPT = "litert-benchmark"
AGREEMENT = 0.10
ROUNDING_MS = 0.005  # half of the last digit that the tool writes
SECONDS = 600
MAX_RESULT_BYTES = 1 << 20


@dataclass(frozen=True)
class ToolResult:
    """What one run of the tool reports: the median in milliseconds, rounded to 0.01, and how it ran."""

    median_ms: float
    num_runs: int
    fully_accelerated: bool


@dataclass(frozen=True)
class ToolComparison:
    """edgekd's median beside the tool's.

    Attributes:
        ours: median of LiteRT as edgekd measures it, milliseconds.
        theirs_ms: median over the rounds of the medians that the tool reports.
        explanation: why they differ by more than :data:`AGREEMENT`; None where they agree.
        litert: version of the wheel.
    """

    ours: Interval
    theirs_ms: float
    explanation: str | None
    litert: str

    @property
    def ratio(self) -> float:
        """``theirs / ours``."""
        return self.theirs_ms / self.ours.estimate

    @property
    def ratio_by_rounding(self) -> tuple[float, float]:
        """What the ratio may be before the tool's rounding."""
        low, high = max(0.0, self.theirs_ms - ROUNDING_MS), self.theirs_ms + ROUNDING_MS
        return low / self.ours.estimate, high / self.ours.estimate

    def as_json(self) -> dict[str, Any]:
        """For ``--json``. No verdict: an interval of rounded figures would be too narrow."""
        return {
            "litert": self.litert,
            "num_threads": NUM_THREADS,
            "litert_p50_ms": self.ours.estimate,
            "litert_p50_ci95_ms": ends(self.ours),
            "p50_ms": self.theirs_ms,
            "ratio": self.ratio,
            "ratio_by_rounding": list(self.ratio_by_rounding),
            "agrees": self.explanation is None,
            "explanation": self.explanation,
        }


def find_tool() -> str:
    """The module behind the console script. Raises MissingRequirementError where the wheel has none."""
    for script in entry_points(group="console_scripts", name=SCRIPT):
        return script.module
    raise MissingRequirementError(
        f"--litert-benchmark needs the {SCRIPT} script, which ai-edge-litert {version('ai-edge-litert')} lacks; "
        'run pip install "ai-edge-litert>=2.3", or leave it out'
    )


def parse_result(text: str) -> ToolResult:
    """Read the JSON that the tool writes (``--result_json``, ai-edge-litert 2.3).

    Raises:
        BenchmarkError: no JSON, or not the figures that are expected.
    """
    try:
        document = json.loads(text)
        median, runs = float(document["latency"]["median_ms"]), int(document["latency"]["num_runs"])
        accelerated = document["fully_accelerated"] is True
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise BenchmarkError(f"{SCRIPT} wrote something else than its figures: {error!r}") from None
    if not math.isfinite(median) or median < 0 or runs < 1:
        raise BenchmarkError(f"{SCRIPT} wrote figures that are none: a median of {median} ms over {runs} runs")
    return ToolResult(median, runs, accelerated)


def explain(ours_ms: float, theirs_ms: float, fully_accelerated: bool) -> str | None:
    """Why two medians differ by more than :data:`AGREEMENT`; None where they do not.

    Args:
        ours_ms: edgekd's median.
        theirs_ms: the tool's, rounded to 0.01.
        fully_accelerated: what the tool says of the model.
    """
    apart, allowed = abs(theirs_ms - ours_ms), AGREEMENT * ours_ms + 1e-9  # 1.1 - 1.0 is a little more than 0.1
    if apart <= allowed:
        return None
    if apart - ROUNDING_MS <= allowed:
        reasons = [
            f"it rounds to 0.01 ms: {theirs_ms:.2f} stands for {max(0.0, theirs_ms - ROUNDING_MS):.3f} to "
            f"{theirs_ms + ROUNDING_MS:.3f} ms"
        ]
    else:
        reasons = [
            f"{theirs_ms - ours_ms:+.3f} ms is more than its rounding to 0.01 ms; it times CompiledModel.run_by_name "
            "with the handling of buffers in Python, edgekd Interpreter.invoke alone"
        ]
    if not fully_accelerated:
        reasons.append("it says that not every operator runs in XNNPACK")
    return "; ".join([*reasons, "its input is one random tensor"])


def run_tool(model: Path, session: Session) -> ToolResult:
    """One fresh process of the tool.

    Raises:
        BenchmarkError: it failed, took too long, or wrote nothing that can be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [
            *(sys.executable, "-m", find_tool(), f"--model={model.resolve()}", f"--result_json={result}"),
            *(f"--num_threads={NUM_THREADS}", f"--num_runs={session.num_runs}"),
            f"--warmup_runs={session.warmup_runs}",
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f'{SCRIPT} ran for more than {SECONDS} s on "{model.name}"') from None
        if done.returncode or not result.is_file():
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise BenchmarkError(f'{SCRIPT} ended with {done.returncode} on "{model.name}": {lines[-1][:300]}')
        return parse_result(result.read_bytes()[:MAX_RESULT_BYTES].decode(errors="replace"))


def compare(
    model: Path, session: Session, *, pictures: Pictures | None = None, progress: Progress | None = None
) -> ToolComparison:
    """Time a file with edgekd and with the tool, interleaved, in fresh processes.

    Raises:
        MissingRequirementError: the wheel has no such tool.
        ModelError: the file is no model of one input and one output.
        BenchmarkError: the tool failed.
    """
    find_tool()
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.npy"
        write_inputs(model, inputs, session, pictures)
        results: list[ToolResult] = []

        def theirs() -> Times:
            results.append(run_tool(model, session))
            return np.array([results[-1].median_ms])

        contenders = {"litert": lambda: time_litert(model, inputs, session), SCRIPT: theirs}
        found = interleave(contenders, session, title=f"{model.name}: edgekd, {SCRIPT}", progress=progress)
    ours = median(found["litert"])
    theirs_ms = float(np.median(np.concatenate(found[SCRIPT])))
    accelerated = all(result.fully_accelerated for result in results)
    return ToolComparison(ours, theirs_ms, explain(ours.estimate, theirs_ms, accelerated), version("ai-edge-litert"))
