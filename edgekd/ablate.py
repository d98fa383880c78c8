"""Does distillation help? The same student, for as many steps, by each method and from several seeds.

A cell is one method from one seed, a whole chain up to verify that lives off the cache, so that an ablation that was
broken off goes on where it was. All cells share one teacher. The method is chosen on val; test is read to report.
"""

from __future__ import annotations

import json
import logging
import statistics as stdlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd import host, pipeline, recipe
from edgekd.artifact import write_json
from edgekd.cache import Cache
from edgekd.errors import UserError, did_you_mean
from edgekd.options import to_table
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.statistics import gain_verdict, mean_difference

logger = logging.getLogger("edgekd")

BASELINE = "none"
METHODS: Mapping[str, Mapping[str, Any]] = {
    BASELINE: {"loss": {}, "hard_loss_weight": 1.0, "mode": "stored"},
    "label_smoothing": {"loss": {"label_smoothing": 1.0}, "hard_loss_weight": 0.0, "mode": "stored"},
    "kd": {"loss": {"kd": 1.0}, "mode": "stored"},
    "kd_standardized": {"loss": {"kd_standardized": 1.0}, "mode": "stored"},
    "dkd": {"loss": {"dkd": 1.0}, "mode": "stored"},
    "dist": {"loss": {"dist": 1.0}, "mode": "stored"},
    "attention": {"loss": {"kd": 1.0, "attention": 10.0}, "mode": "live"},
    "fitnet": {"loss": {"kd": 1.0, "fitnet": 1.0}, "mode": "live"},
    "rkd": {"loss": {"kd": 1.0, "rkd": 1.0}, "mode": "live"},
    "mutual": {"loss": {"kd": 1.0}, "mode": "mutual"},
    "self": {"loss": {"kd": 1.0}, "mode": "self"},
}
"""What each method changes in ``[distill]``; the rest of the recipe is the same for all."""

CELLS_FILE = "cells.jsonl"
CHOSEN_BY = "auc"


def ablate(
    recipe_: Recipe,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    cache: Cache,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run every method from every seed and compare each with the student alone.

    Args:
        recipe_: validated; its own seed is that of the teacher that all share.
        methods: names in ``METHODS``; ``none`` is always run.
        seeds: of the student, at least two.
        out: folder of ``ablation.json``, ``ablation.md`` and ``cells.jsonl``.
        cache: store of finished stages.
        progress: where long work is shown.

    Returns:
        What ``ablation.json`` holds: ``methods[]`` with means over the seeds, standard deviations and the paired
        difference to ``none`` on val and test with its 95 % interval by Student's t; ``chosen``; ``sentence``;
        ``cells[]``.

    Raises:
        UserError: an unknown method, fewer than two seeds.
    """
    names = _checked(methods, seeds)
    out.mkdir(parents=True, exist_ok=True)
    known = _known_seconds(out / CELLS_FILE)
    cells: list[dict[str, Any]] = []
    for seed in seeds:
        for name in names:
            logger.info(f"{name}, seed {seed} ({len(cells) + 1} of {len(names) * len(seeds)})")
            cell = _run(variant(recipe_, name, seed), name, seed, cache, progress)
            cell["seconds_per_epoch"] = cell["seconds_per_epoch"] or known.get(cell["key"])
            with (out / CELLS_FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(cell) + "\n")
            cells.append(cell)
    rows = [_compare(name, cells) for name in names]
    document = {
        "recipe": to_table(recipe_),
        "seeds": list(seeds),
        "chosen_by": f"the highest mean val {CHOSEN_BY} over the seeds",
        **_verdict(rows, len(seeds)),
        "methods": rows,
        "cells": cells,
        "host": host.host(),
        "versions": host.versions(),
        "commit": host.commit(),
    }
    write_json(out / "ablation.json", document)
    (out / "ablation.md").write_text(markdown(document), encoding="utf-8")
    return document


def variant(recipe_: Recipe, method: str, seed: int) -> Recipe:
    """The recipe of one cell: no pruning, one student, the teacher of the recipe's own seed."""
    table = to_table(recipe_)
    table["seed"] = seed
    if recipe_.teacher.seed is None:
        table["teacher"]["seed"] = recipe_.seed
    table["distill"] |= {**METHODS[method], "train_alone": False}
    if method in (BASELINE, "label_smoothing"):  # a schedule would bring the teacher, or the plain labels, back in
        table["distill"].pop("hard_loss_weight_end", None)
    table["prune"]["method"] = "none"
    table["quantize"]["variants"] = ["fp32", "int8"]
    table["gates"] = {}
    return recipe.from_table(table)


def _checked(methods: Sequence[str], seeds: Sequence[int]) -> list[str]:
    for name in methods:
        if name not in METHODS:
            raise UserError(f'unknown method "{name}"{did_you_mean(name, METHODS)}')
    if len(set(seeds)) < 2 or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {list(seeds)}: at least two, all different, so that chance can be told from gain")
    return [BASELINE, *(name for name in dict.fromkeys(methods) if name != BASELINE)]


def _run(cell: Recipe, name: str, seed: int, cache: Cache, progress: Progress | None) -> dict[str, Any]:
    artifacts, records = pipeline.artifacts(cell, cache=cache, progress=progress, until="verify")
    record = next(record for record in records if record.name == "distill")
    epochs = len(artifacts["distill"].facts["history"])
    figures = artifacts["verify"].facts["models"]
    kept = ("top1", "auc", "macro_recall")
    return {
        "method": name,
        "seed": seed,
        "key": record.key,
        "seconds_per_epoch": None if record.cached else record.seconds / epochs,
        **{
            model: {split: {key: figures[model][split][key] for key in kept} for split in ("val", "test")}
            for model in ("student_fp32", "student_int8")
        },
    }


def _known_seconds(path: Path) -> dict[str, float]:
    """Seconds per epoch of cells that an earlier call trained; a cached cell was not timed."""
    if not path.exists():
        return {}
    cells = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {cell["key"]: cell["seconds_per_epoch"] for cell in cells if cell["seconds_per_epoch"]}


def _compare(name: str, cells: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation and paired difference to ``none``, of the float and the INT8 student."""
    cells = list(cells)
    own = [cell for cell in cells if cell["method"] == name]
    base = [cell for cell in cells if cell["method"] == BASELINE]
    timed = [cell["seconds_per_epoch"] for cell in own if cell["seconds_per_epoch"]]
    row: dict[str, Any] = {"method": name, "seconds_per_epoch": stdlib.median(timed) if timed else None}
    for model in ("student_fp32", "student_int8"):
        row[model] = {}
        for split in ("val", "test"):
            row[model][split] = {}
            for figure in ("top1", "auc"):
                values = [cell[model][split][figure] for cell in own]
                difference = mean_difference(values, [cell[model][split][figure] for cell in base])
                row[model][split][figure] = {
                    "mean": stdlib.fmean(values),
                    "sd": stdlib.stdev(values),
                    "difference": difference.estimate,
                    "ci95": [difference.low, difference.high],
                    "verdict": "baseline" if name == BASELINE else gain_verdict(difference),
                }
    return row


def _verdict(rows: Sequence[Mapping[str, Any]], num_seeds: int) -> dict[str, Any]:
    """Choose on val, then say what test shows of that choice."""
    best = max(rows, key=lambda row: row["student_fp32"]["val"][CHOSEN_BY]["mean"])["method"]
    if best == BASELINE:
        return {"chosen": BASELINE, "sentence": "on val, no method was better than training the student alone"}
    row = next(row for row in rows if row["method"] == best)
    parts = []
    for figure, title in (("top1", "top-1"), ("auc", "AUC")):
        test = row["student_fp32"]["test"][figure]
        low, high = test["ci95"]
        parts.append(
            f"{title} {test['difference']:+.4f} (95 % interval {low:+.4f} to {high:+.4f}): gain {test['verdict']}"
        )
    return {
        "chosen": best,
        "sentence": f"val chooses {best}; against the student alone it gives on test, over {num_seeds} seeds, "
        + "; ".join(parts),
    }


def markdown(document: Mapping[str, Any]) -> str:
    """The table and the sentence."""
    lines = [
        "| method | val AUC | test top-1 | against none | test AUC | against none | s per epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in document["methods"]:
        val, test = row["student_fp32"]["val"], row["student_fp32"]["test"]
        seconds = "–" if row["seconds_per_epoch"] is None else f"{row['seconds_per_epoch']:.1f}"
        cells = [row["method"], _mean(val["auc"])]
        for figure in ("top1", "auc"):
            cells += [_mean(test[figure]), _difference(test[figure])]
        lines.append(f"| {' | '.join([*cells, seconds])} |")
    return "\n".join([*lines, "", document["sentence"] + ".", ""])


def _mean(figure: Mapping[str, float]) -> str:
    return f"{figure['mean']:.4f} ± {figure['sd']:.4f}"


def _difference(figure: Mapping[str, Any]) -> str:
    if figure["verdict"] == "baseline":
        return "–"
    low, high = figure["ci95"]
    return f"{figure['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
