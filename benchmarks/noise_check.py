"""How often the benchmark errs: equal models told apart, and a true slowdown that is not found. Prints JSON.

    python benchmarks/noise_check.py MODEL.tflite --out benchmarks/results/noise_check.json

A trial is one benchmark of the file under two names, at a nominal level of 1 %. Trials are of two kinds, in turn
as long as there are both:

- ``same``: both names are measured alike; every verdict but "within noise" is an error.
- ``slowed``: the process that measures the second name spins for 5 % of each inference's time (``_slowed.py``); every
  verdict but "slower" is a miss. The median ratio over all trials says what the slowdown really was.

The intervals are Clopper and Pearson's. After each trial --out is written; given again, the command goes on where it
was stopped, and refuses a file of other settings.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _host
import numpy as np
from scipy.stats import binomtest

from edgekd import latency
from edgekd.artifact import read_json, sha256_file, write_json
from edgekd.config.benchmark import Benchmark
from edgekd.measuring import MeasuringProcess
from edgekd.stages.benchmark import RUNS_FILE, benchmark

KINDS = ("same", "slowed")
SLOWED = Path(__file__).with_name("_slowed.py")
MOST_SECONDS = 20.0


def trial(model: Path, kind: str, number: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One benchmark of the file under two names."""
    fractions = {"first": 0.0, "second": settings["slowdown"]}

    def begin_slowed(name: str, request: Mapping[str, Any]) -> MeasuringProcess:
        return MeasuringProcess(name, request, [sys.executable, str(SLOWED), str(fractions[name])])

    config = Benchmark(
        target=settings["target"], num_processes=settings["processes"], num_runs=settings["runs"], warmup_runs=20
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        facts = benchmark(
            {"first": model, "second": model},
            None,
            config,
            Path(folder),
            seed=2 * number + KINDS.index(kind),
            begin=MeasuringProcess if kind == "same" else begin_slowed,
        ).facts
        runs = {row["model"]: list(map(np.array, row["invoke_ms"])) for row in read_json(Path(folder) / RUNS_FILE)}
    ratio = latency.repeatable_ratio(runs["second"], runs["first"], settings["level"])
    return {
        "kind": kind,
        "ratio": ratio.estimate,
        "interval": [ratio.low, ratio.high],
        "verdict": latency.verdict(ratio),
        "p50_ms": facts["models"]["first"]["latency"][0]["p50_ms"],
        "others_share": facts["host"]["others_share"],
        "steal_share": facts["host"]["steal_share"],
        "seconds": round(time.monotonic() - began, 2),
    }


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates with their 95 % intervals, and whether the goals are reached."""
    found: dict[str, Any] = {}
    for kind, name, right in (("same", "told_apart", "within noise"), ("slowed", "found", "slower")):
        rows = [row for row in trials if row["kind"] == kind]
        if not rows:
            continue
        verdicts = [row["verdict"] for row in rows]
        count = sum(verdict != right for verdict in verdicts) if kind == "same" else verdicts.count(right)
        interval = binomtest(count, len(rows)).proportion_ci()
        ratios = np.array([row["ratio"] for row in rows])
        found[kind] = {
            "trials": len(rows),
            name: count,
            "rate": count / len(rows),
            "ci95": [interval.low, interval.high],
            "median_ratio": float(np.median(ratios)),
            "ratio_p5_to_p95": [float(value) for value in np.quantile(ratios, (0.05, 0.95))],
        }
    seconds = [row["seconds"] for row in trials]
    found["seconds_a_trial"] = {"median": float(np.median(seconds)), "longest": max(seconds)}
    found["longest_allowed_s"] = MOST_SECONDS
    if {"same", "slowed"} <= found.keys():
        low, high = found["same"]["ci95"]
        found["goals"] = {
            "told_apart_interval_reaches_1_percent_and_stays_under_5": low <= 0.01 and high < 0.05,
            "slowdown_found_in_95_percent": found["slowed"]["rate"] >= 0.95,
            "trials_within_20_s": max(seconds) <= MOST_SECONDS,
        }
    return found


def document(settings: Mapping[str, Any], trials: list[dict[str, Any]]) -> dict[str, Any]:
    return {"benchmark": "noise_check", "settings": settings, **summary(trials)}


def main() -> None:
    """Run what is missing, and print."""
    parser = _host.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", type=Path, help=".tflite file")
    parser.add_argument("--trials", type=int, default=200, help="of two names that are measured alike (200)")
    parser.add_argument("--slowed-trials", type=int, default=100, help="of a name that is slowed (100)")
    parser.add_argument("--processes", type=int, default=20, help="of each name in a trial (20)")
    parser.add_argument("--runs", type=int, default=100, help="timed inferences of a process (100)")
    parser.add_argument("--level", type=float, default=0.01, help="nominal level (0.01)")
    parser.add_argument("--slowdown", type=float, default=0.05, help="of the second name (0.05)")
    parser.add_argument("--target", default="host", help="device profile (host)")
    given = parser.parse_args()
    settings = {
        **{name: getattr(given, name) for name in ("processes", "runs", "level", "slowdown", "target")},
        **{"model": given.model.name, "model_sha256": sha256_file(given.model)},
    }
    trials: list[dict[str, Any]] = []
    if given.out is not None and given.out.exists():
        before = read_json(given.out)
        if before.get("settings") != settings:
            raise SystemExit(f"{given.out} is of other settings: {before.get('settings')}; name another file")
        trials = before["trials"]
    wanted = dict(zip(KINDS, (given.trials, given.slowed_trials), strict=True))
    for number in range(max(wanted.values())):
        for kind in KINDS:
            if number >= wanted[kind] or sum(row["kind"] == kind for row in trials) > number:
                continue
            trials.append(trial(given.model, kind, number, settings))
            last = trials[-1]
            print(f"{kind} {number + 1}: {last['ratio']:.4f}, {last['verdict']}, {last['seconds']} s", file=sys.stderr)
            if given.out is not None:
                write_json(given.out, {**document(settings, trials), "trials": trials, **_host.header()})
    _host.report(document(settings, trials))


if __name__ == "__main__":
    main()
