"""Does distillation help, on real data? The methods of ``edgekd ablate`` on one data set after the other.

A call that was broken off goes on where it was. The result file holds, by data set, the table of the ablation, the
seconds it took over all calls, and in words how the settings were chosen and how often test was looked at: this is
asked for and not made up here.

    python benchmarks/distill_quality.py --jobs 2 --set num_threads=1 --out benchmarks/results/distill_quality.json
      --dataset pneumoniamnist pneumoniamnist pneumoniamnist.npz --dataset breastmnist breast.toml breastmnist.npz
      --settings-chosen "..." --test-looked-at "..."
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _host

from edgekd import api
from edgekd.ablate import ablate
from edgekd.ablation_table import MODELS, NOT_SHOWN, SPLITS
from edgekd.cache import Cache, default_root

METHODS = "none,kd,kd_standardized,dkd,dist,attention:3,mutual:3"
SEEDS = "0,1,2,3,4"
WALL_FILE = "wall_seconds.jsonl"
KEPT = ("mean", "sd", "difference", "ci95", "verdict")


def compact(document: Mapping[str, Any]) -> dict[str, Any]:
    """What ``ablation.json`` says, without single cells, folders, and what the result file's header says."""
    fields = ("dataset", "teacher", "seeds", "jobs", "chosen_by", "chosen", "sentence", "commit")
    methods = [_row(row) for row in document["methods"]]
    return {name: document[name] for name in fields} | {"methods": methods, "recipe": _plain(document["recipe"])}


def _plain(value: Any, key: str = "") -> Any:
    """A recipe whose files are named without their folders."""
    if isinstance(value, Mapping):
        return {name: _plain(part, name) for name, part in value.items()}
    return Path(value).name if key in ("path", "weights") else value


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    figures = {
        model: {
            split: {
                name: {key: _rounded(part[key]) for key in KEPT}
                for name, part in row[model][split].items()
                if name != NOT_SHOWN
            }
            for split in SPLITS
        }
        for model in MODELS
    }
    fields = {name: row[name] for name in ("method", "seeds")}
    return {**fields, "seconds_per_epoch": _rounded(row["seconds_per_epoch"]), **figures}


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, 5) if isinstance(value, float) else value


@contextmanager
def timed(log: Path) -> Iterator[None]:
    """Add the seconds of the block to a file, also where it is interrupted."""
    started = time.monotonic()
    try:
        yield
    finally:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(time.monotonic() - started) + "\n")


def options() -> argparse.Namespace:
    parser = _host.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--dataset",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "RECIPE", "DATA"),
        help="a name for the result, a recipe by name or path, and the data by file or name; several times",
    )
    parser.add_argument("--methods", default=METHODS, help=f"default: {METHODS}")
    parser.add_argument("--seeds", default=SEEDS, help=f"default: {SEEDS}")
    parser.add_argument("--choose-by", default="auc", help="figure on val that chooses the method; default: auc")
    parser.add_argument("--work", type=Path, default=Path("edgekd-out/distill_quality"), help="the ablations' folders")
    _host.add_chain_options(parser)
    return parser.parse_args()


def main() -> None:
    asked = options()
    _host.show_progress()
    found = {}
    for name, recipe, data in asked.dataset:
        folder = asked.work / name
        folder.mkdir(parents=True, exist_ok=True)
        resolved = api.load_recipe(recipe, data=data, overrides=api.parse_overrides(tuple(asked.set)))
        with timed(folder / WALL_FILE):
            document = ablate(
                resolved,
                asked.methods.split(","),
                [int(seed) for seed in asked.seeds.split(",")],
                folder,
                cache=Cache(asked.cache_dir or default_root()),
                jobs=asked.jobs,
                choose_by=asked.choose_by,
            )
        calls = [json.loads(line) for line in (folder / WALL_FILE).read_text(encoding="utf-8").splitlines()]
        found[name] = {"wall_seconds": round(sum(calls)), "num_calls": len(calls), **compact(document)}
    figures = {
        "benchmark": "distill_quality",
        **_host.words(asked),
        "datasets": found,
    }
    _host.report(figures, asked.out)


if __name__ == "__main__":
    main()
