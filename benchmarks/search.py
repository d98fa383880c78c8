"""Does the search find a student that dominates the recipe as written? Samplers against random search at equal time.

Every arm searches the recipe's space from each seed for as many minutes, in a study of its own; a call that was broken
off goes on where it was. Afterwards the chosen student of each arm and seed and the recipe as written are built, which
looks at test once for each, and are timed against each other once more, in a session that chose nothing.

    python benchmarks/search.py pneumoniamnist --data pneumoniamnist.npz --arms tpe,random --seeds 0,1,2 --minutes 15
      --jobs 2 --set num_threads=1 --work search-work --out benchmarks/results/search.json --settings-chosen "..."
      --test-looked-at "..."
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _arms
import _host
import numpy as np

from edgekd import api, data, pipeline, statistics
from edgekd.cache import Cache, default_root
from edgekd.claims import shipped_of
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.search import space
from edgekd.stages.benchmark import benchmark
from edgekd.timing import NUM_IMAGES

OBJECTIVES = ("auc", "accuracy", "tflite_bytes", "p50_ms")
# What the chosen student is to cost at most, as shares of the recipe as written.
MAX_BYTES, MAX_P50 = 0.5, 0.7


def dominates(figures: Mapping[str, Any], written: Mapping[str, Any], p50_share: float) -> bool:
    """No less accurate on val, by AUC and by accuracy, at most half the bytes and 0.7 of the time."""
    return (
        figures["auc"] >= written["auc"]
        and figures["accuracy"] >= written["accuracy"]
        and figures["tflite_bytes"] <= MAX_BYTES * written["tflite_bytes"]
        and p50_share <= MAX_P50
    )


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """What an arm came to, on val; chosen is of the trials that dominate that of the highest AUC, or the search's."""
    written = found["as_written"]["measured"]
    complete = [row for row in found["trials"] if row["measured"]]
    dominating = [
        row for row in complete if dominates(row["measured"], written, row["measured"]["p50_ms"] / written["p50_ms"])
    ]
    by_search = next((row for row in complete if row["number"] == found["chosen"]), None)
    chosen = max(dominating, key=lambda row: (row["measured"]["auc"], row["measured"]["accuracy"]), default=by_search)
    shown = ("auc", "accuracy", "tflite_bytes", "gzip_bytes", "p50_ms")
    return {
        "num_trials": len(found["trials"]),
        "num_complete": len(complete),
        "num_dominating": len(dominating),
        "as_written": {name: written[name] for name in shown},
        "chosen": chosen and {"changes": chosen["changes"], **{name: chosen["measured"][name] for name in shown}},
        "bytes_share": chosen and chosen["measured"]["tflite_bytes"] / written["tflite_bytes"],
    }


def timed(recipe_: Recipe, written: Recipe, cache: Cache) -> dict[str, Any]:
    """The shipped model of a recipe against that of the recipe as written, in one session."""
    paths = {}
    for name, each in (("as_written", written), ("chosen", recipe_)):
        made, _ = pipeline.artifacts(each, cache=cache, until="quantize")
        paths[name] = made["quantize"].path / shipped_of([made["quantize"]])["file"]
    pictures = data.Dataset.open(made["data"]).val.images[:NUM_IMAGES]
    with tempfile.TemporaryDirectory() as folder:
        facts = benchmark(paths, pictures, written.benchmark, Path(folder), seed=written.seed).facts
    return dict(facts["ratios"][0])


def on_test(recipe_: Recipe, cache: Cache) -> tuple[np.ndarray[Any, Any], float]:
    """Which test images the shipped model of a recipe gets right, and its AUC."""
    made, _ = pipeline.artifacts(recipe_, cache=cache, until="verify")
    shipped = shipped_of([made["quantize"]])["id"]
    with np.load(made["verify"].path / "scores.npz", allow_pickle=False) as scores:
        right = scores[f"{shipped}__test"].argmax(axis=1) == scores["labels__test"]
    return right, float(made["verify"].facts["models"][shipped]["test"]["auc"])


def main() -> None:
    """Search, build the chosen ones, print JSON."""
    parser = _host.parser(__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", required=True)
    parser.add_argument("--arms", default="tpe,random")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=15.0, help="of an arm and seed")
    parser.add_argument("--work", type=Path, default=Path("search-work"), help="folder of the studies")
    _host.add_chain_options(parser)
    asked: argparse.Namespace = parser.parse_args()
    _host.show_progress()
    base = api.load_recipe(asked.recipe, data=asked.data, overrides=api.parse_overrides(tuple(asked.set)))
    base = _arms.changed(base, search={"objectives": list(OBJECTIVES)})
    cache = Cache(asked.cache_dir or default_root())
    right_before, auc_before = on_test(space.changed(base, {}), cache)
    arms: dict[str, Any] = {}
    for arm in asked.arms.split(","):
        for seed in map(int, asked.seeds.split(",")):
            asked_of = {"seed": seed, "jobs": asked.jobs, "minutes": asked.minutes}
            sampled = _arms.changed(base, search={"sampler": arm})
            found = _arms.searched(sampled, asked.work / f"{arm}-{seed}", cache, **asked_of)
            row = summary(found)
            if row["chosen"]:
                chosen = space.changed(base, row["chosen"]["changes"])
                row["p50"] = timed(chosen, space.changed(base, {}), cache)
                row["chosen_dominates"] = dominates(row["chosen"], row["as_written"], row["p50"]["ratio"])
                right, auc = on_test(chosen, cache)
                gain = statistics.paired_difference(right, right_before)
                row["test"] = {
                    "top1": float(right.mean()),
                    "auc": auc,
                    "top1_minus_as_written": gain.estimate,
                    "ci95": [gain.low, gain.high],
                    "n": len(right),
                }
            arms.setdefault(arm, {})[str(seed)] = row
    as_written = {"top1": float(right_before.mean()), "auc": auc_before, "n": len(right_before)}
    result = {"benchmark": "search", "recipe": asked.recipe, "minutes": asked.minutes, "jobs": asked.jobs}
    space_ = to_table(base)["search"]["space"]
    _host.report(
        {**result, "space": space_, "test_as_written": as_written, "arms": arms, **_host.words(asked)}, asked.out
    )


if __name__ == "__main__":
    main()
