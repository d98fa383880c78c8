"""Do ratios between models repeat? Two sessions, an hour apart. Prints JSON.

    python benchmarks/repeat_check.py FIVE_MODELS --out first.json
    python benchmarks/repeat_check.py FIVE_MODELS --against first.json --out second.json

Each session times all files against each other; five files make ten pairs. The second says of how many pairs its ratio
lies within the 95 % interval that the first stated, and for how many the two intervals have a ratio in common. By
the rounds alone the first number would be 83 % on average and not 95 %, as both estimates have an error; the stated
intervals are longer by what a session cannot see (:data:`edgekd.latency.SESSION`).
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import _host

from edgekd.artifact import read_json, sha256_file
from edgekd.config.benchmark import Benchmark
from edgekd.stages.benchmark import benchmark


def session(models: list[Path], config: Benchmark, seed: int) -> dict[str, Any]:
    """All ratios between the files, and what the machine did."""
    names = [path.stem for path in models]
    pairs = list(itertools.combinations(names, 2))
    with tempfile.TemporaryDirectory() as folder:
        files = dict(zip(names, models, strict=True))
        facts = benchmark(files, None, config, Path(folder), pairs=pairs, seed=seed).facts
    ratios = [row for row in facts["ratios"] if (row["model"], row["baseline"]) in pairs]
    return {"ratios": ratios, "machine": facts["host"], "warnings": facts["warnings"]}


def compare(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """How many ratios of the second session the first one's intervals hold."""
    rows = []
    stated = {(row["model"], row["baseline"]): row["ci95"] for row in first["ratios"]}
    for row in second["ratios"]:
        low, high = stated[row["model"], row["baseline"]]
        rows.append(
            {
                **{"model": row["model"], "baseline": row["baseline"], "stated": [low, high], "found": row["ratio"]},
                "within": low <= row["ratio"] <= high,
                "overlap": row["ci95"][0] <= high and low <= row["ci95"][1],
            }
        )
    within, overlapping = (sum(row[name] for row in rows) for name in ("within", "overlap"))
    return {
        "minutes_apart": round((second["at"] - first["at"]) / 60, 1),
        "pairs": len(rows),
        "within_stated_interval": within,
        "intervals_overlap": overlapping,
        "rows": rows,
    }


def main() -> None:
    """Time, compare where there is a session before, and print."""
    parser = _host.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("models", nargs="+", type=Path, help=".tflite files, at least two")
    parser.add_argument("--against", type=Path, help="what the session before has written")
    parser.add_argument("--processes", type=int, default=30, help="of each model (30)")
    parser.add_argument("--target", default="host", help="device profile (host)")
    given = parser.parse_args()
    if len(given.models) < 2 or len({path.stem for path in given.models}) < len(given.models):
        raise SystemExit("two or more files of different names are wanted")
    digests = {path.stem: sha256_file(path) for path in given.models}
    first = read_json(given.against) if given.against else None
    if first is not None and first["models"] != digests:
        raise SystemExit(f"{given.against} is about other files: {', '.join(first['models'])}")
    began = time.time()
    config = Benchmark(target=given.target, num_processes=given.processes)
    second = {"at": began, **session(given.models, config, seed=0 if first is None else 1)}
    document = {"benchmark": "repeat_check", "models": digests, "processes": given.processes, **second}
    if first is not None:
        document["repeated"] = compare(first, second)
    _host.report(document, given.out)


if __name__ == "__main__":
    main()
