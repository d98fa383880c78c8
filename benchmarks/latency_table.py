"""Does the latency table rank whole networks as the harness does? Spearman over random subnets of a recipe's space.

The table is measured once, as `edgekd nas` does it; then random networks of the space are converted whole and timed in
one interleaved session of their own.

    python benchmarks/latency_table.py quickstart --set distill.student=blocks --set distill.width_multiplier=1.0
      --networks 30 --out benchmarks/results/latency_table.json
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import _host
import numpy as np
from scipy.stats import spearmanr

from edgekd import api, pipeline
from edgekd._keras import reset
from edgekd.cache import Cache, default_root
from edgekd.data import Dataset
from edgekd.nas import latency_table
from edgekd.nas.latency_table import COSTS, LatencyTable
from edgekd.progress import LineProgress
from edgekd.recipe import Recipe
from edgekd.stages.benchmark import benchmark
from edgekd.supernet.space import Space

GOAL = 0.9


def compared(recipe_: Recipe, count: int, cache: Cache, seed: int) -> dict[str, Any]:
    """Predicted and measured cost of ``count`` random networks that the table was not fitted to."""
    space = Space.of(recipe_.distill.blocks, recipe_.distill.width_multiplier, recipe_.nas)
    made, _ = pipeline.artifacts(recipe_, cache=cache, until="data")
    data, progress = made["data"], LineProgress()
    dataset = Dataset.open(data)
    quick = dataclasses.replace(recipe_.benchmark, num_processes=recipe_.nas.table_processes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "table").mkdir()
        facts = latency_table.measured(
            data, quick, folder / "table", space=space, seed=recipe_.seed, progress=progress
        ).facts
        table, generator = LatencyTable.read(facts), np.random.default_rng(seed)
        fitted = [row["blocks"] for row in facts["networks"]]
        networks: dict[Any, None] = {}
        while len(networks) < count:
            drawn = space.drawn(generator)
            if dataclasses.asdict(drawn) not in fitted:
                networks[drawn] = None
        reset(seed)
        files = {}
        for number, blocks in enumerate(networks):
            files[f"network{number}"] = folder / f"network{number}.tflite"
            files[f"network{number}"].write_bytes(latency_table.whole(blocks, dataset))
        (folder / "networks").mkdir()
        timed = benchmark(files, None, recipe_.benchmark, folder / "networks", seed=seed, progress=progress).facts
    rows = []
    for number, blocks in enumerate(networks):
        found = timed["models"][f"network{number}"]
        measured = {"p50_ms": found["latency"][0]["p50_ms"], "tflite_bytes": found["tflite_bytes"]}
        predicted = table.predict(blocks, dataset.image_size)
        shape = {name: list(getattr(blocks, name)) for name in ("depths", "kernels", "expansions", "channels")}
        rows.append({**shape, "predicted": predicted, "measured": measured})
    return {
        "image_size": dataset.image_size,
        "table_processes": quick.num_processes,
        "network_processes": recipe_.benchmark.num_processes,
        "num_forms": len(facts["forms"]),
        "num_networks_in_space": space.size,
        "less": facts["less"],
        "rest": facts["rest"],
        "networks": rows,
        **{name: agreement(rows, name) for name in COSTS},
        "warnings": {
            "table": facts["warnings"],
            "networks": [text for text in timed["warnings"] if latency_table.MADE_UP not in text],
        },
    }


def agreement(rows: list[dict[str, Any]], cost: str) -> dict[str, float]:
    """Spearman's rank correlation, and the errors of the prediction as shares of what was measured."""
    predicted, measured = (np.array([row[kind][cost] for row in rows]) for kind in ("predicted", "measured"))
    errors = np.abs(predicted / measured - 1)
    return {
        "spearman": float(spearmanr(predicted, measured).statistic),
        "median_relative_error": float(np.median(errors)),
        "largest_relative_error": float(errors.max()),
    }


def main() -> None:
    """Measure, compare, print JSON."""
    parser = _host.parser(__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data")
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1, help="of the networks")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the recipe")
    parser.add_argument("--cache-dir", type=Path, default=None, help="store of finished stages")
    asked: argparse.Namespace = parser.parse_args()
    _host.show_progress()
    recipe_ = api.load_recipe(asked.recipe, data=asked.data, overrides=api.parse_overrides(tuple(asked.set)))
    load_before = _host.load()
    found = compared(recipe_, asked.networks, Cache(asked.cache_dir or default_root()), asked.seed)
    result = {"benchmark": "latency_table", "recipe": asked.recipe, "set": asked.set, "load_before": load_before}
    met = found["p50_ms"]["spearman"] >= GOAL
    _host.report({**result, **found, "goal": {"spearman": GOAL, "met": met}}, asked.out)


if __name__ == "__main__":
    main()
