"""Does distillation help? The same student, for as many steps, by each method and from several seeds.

A cell is one method from one seed, a whole chain up to verify that lives off the cache, so that an ablation that was
broken off goes on where it was. All cells share one teacher. The method is chosen on val; test is read to report.
"""

from __future__ import annotations

import json
import statistics as stdlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import host, pipeline, recipe
from edgekd.artifact import Artifact, write_json
from edgekd.cache import Cache, StageRecord
from edgekd.chains import Chain, run_chains
from edgekd.errors import OutputError, UserError, did_you_mean
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.statistics import gain_verdict, mean_difference
from edgekd.tasks import TASKS

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
    "crd": {"loss": {"kd": 1.0, "crd": 0.8}, "mode": "live"},
    "mutual": {"loss": {"kd": 1.0}, "mode": "mutual"},
    "self": {"loss": {"kd": 1.0}, "mode": "self"},
}
"""What each method changes in ``[distill]``; the rest of the recipe is the same for all."""

LAST_STAGE = "verify"

# The accuracy of the task, which has one of these names, and what every task has.
TITLES = {**{task.accuracy: task.accuracy_title for task in TASKS.values()}, "auc": "AUC"}

CELLS_FILE = "cells.jsonl"
CHOSEN_BY = "auc"


@dataclass(frozen=True)
class Cell:
    """One method from one seed."""

    method: str
    seed: int
    recipe: Recipe

    @property
    def chain(self) -> Chain:
        """What brings the cell into the cache."""
        return Chain(f"{self.method}, seed {self.seed}", self.recipe, LAST_STAGE)


def ablate(
    recipe_: Recipe, methods: Sequence[str], seeds: Sequence[int], out: Path, *, cache: Cache, jobs: int = 1
) -> dict[str, Any]:
    """Run every method from every seed and compare each with the student alone.

    Args:
        recipe_: validated; its own seed is that of the teacher that all share.
        methods: names in ``METHODS``; ``none`` is always run.
        seeds: of the student, at least two.
        out: folder of ``ablation.json``, ``ablation.md`` and ``cells.jsonl``.
        cache: store of finished stages.
        jobs: cells trained at a time, each in a process of its own. Accuracies do not depend on it; seconds do.

    Returns:
        What ``ablation.json`` holds: ``methods[]`` with means over the seeds, standard deviations and the paired
        difference to ``none`` on val and test with its 95 % interval by Student's t; ``chosen``; ``sentence``;
        ``cells[]``.

    Raises:
        UserError: an unknown method, fewer than two seeds.
        EdgekdError: cells that failed, by name; the others are in the cache.
    """
    names = _checked(methods, seeds)
    wanted = [Cell(name, seed, variant(recipe_, name, seed)) for seed in seeds for name in names]
    out.mkdir(parents=True, exist_ok=True)
    _train(wanted, cache, jobs, out / CELLS_FILE)
    seconds = _known_seconds(out / CELLS_FILE)
    cells = [_figures(cell, cache, seconds) for cell in wanted]
    rows = [_compare(name, cells) for name in names]
    document = {
        "recipe": to_table(recipe_),
        "seeds": list(seeds),
        "jobs": jobs,
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


def _train(wanted: Sequence[Cell], cache: Cache, jobs: int, log: Path) -> None:
    """Bring every cell into the cache; what several need is made once, before they are handed out."""
    cells = [cell for cell in wanted if _look_up(cell.chain, cache) is None]
    stored = {
        cell.seed: cell.recipe
        for cell in cells
        if cell.recipe.distill.mode == "stored" and cell.recipe.distill.uses_teacher
    }
    teacher = [Chain("teacher", wanted[0].recipe, "teacher")] if cells else []
    logits = [Chain(f"teacher's logits, seed {seed}", recipe_, "teacher_logits") for seed, recipe_ in stored.items()]
    for shared in (teacher, logits):
        run_chains([chain for chain in shared if _look_up(chain, cache) is None], cache.root, jobs=jobs)

    def note_seconds(chain: Chain, seconds: Mapping[str, float]) -> None:
        title = "student" if chain.recipe.distill.uses_teacher else "student alone"
        found = _look_up(chain, cache)
        if found and title in seconds:
            key, epochs = _distilled(*found, chain.recipe)
            entry = {"cell": chain.title, "key": key, "jobs": jobs, "seconds_per_epoch": seconds[title] / epochs}
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    run_chains([cell.chain for cell in cells], cache.root, jobs=jobs, finished=note_seconds)


_Found = tuple[dict[str, Artifact], list[StageRecord]]


def _look_up(chain: Chain, cache: Cache) -> _Found | None:
    """What the stages of a chain made, where all of it is in the cache."""
    artifacts, records = pipeline.artifacts(chain.recipe, cache=cache, until=chain.until, dry=True)
    return (artifacts, records) if chain.until in artifacts else None


def _figures(cell: Cell, cache: Cache, seconds: Mapping[str, float]) -> dict[str, Any]:
    found = _look_up(cell.chain, cache)
    if found is None:
        raise OutputError(f'"{cache.root}" no longer holds {cell.chain.title}; give the same command again')
    key, _ = _distilled(*found, cell.recipe)
    figures = found[0][LAST_STAGE].facts["models"]
    kept = (*_compared(figures["student_fp32"]["test"]), "macro_recall")
    return {
        "method": cell.method,
        "seed": cell.seed,
        "key": key,
        "seconds_per_epoch": seconds.get(key),
        **{
            model: {split: {name: figures[model][split][name] for name in kept} for split in ("val", "test")}
            for model in ("student_fp32", "student_int8")
        },
    }


def _distilled(artifacts: Mapping[str, Artifact], records: Sequence[StageRecord], recipe_: Recipe) -> tuple[str, int]:
    """Key of the student's training, and its epochs without those of fine-tuning."""
    key = next(record.key for record in records if record.name == "distill")
    return key, len(artifacts["distill"].facts["history"]) - recipe_.distill.finetune_epochs


def _known_seconds(log: Path) -> dict[str, float]:
    """Seconds per epoch by key, of this call and earlier ones."""
    known = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        with suppress(ValueError):  # a kill may have torn a line
            entry = json.loads(line)
            known[entry["key"]] = entry["seconds_per_epoch"]
    return known


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
            for figure in _compared(own[0][model][split]):
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


def _compared(figures: Mapping[str, Any]) -> list[str]:
    return [name for name in figures if name in TITLES]


def _verdict(rows: Sequence[Mapping[str, Any]], num_seeds: int) -> dict[str, Any]:
    """Choose on val, then say what test shows of that choice."""
    best = max(rows, key=lambda row: row["student_fp32"]["val"][CHOSEN_BY]["mean"])["method"]
    if best == BASELINE:
        return {"chosen": BASELINE, "sentence": "on val, no method was better than training the student alone"}
    row = next(row for row in rows if row["method"] == best)
    parts = []
    for figure, test in row["student_fp32"]["test"].items():
        low, high = test["ci95"]
        interval = f"95 % interval {low:+.4f} to {high:+.4f}"
        parts.append(f"{TITLES[figure]} {test['difference']:+.4f} ({interval}): gain {test['verdict']}")
    return {
        "chosen": best,
        "sentence": f"val chooses {best}; against the student alone it gives on test, over {num_seeds} seeds, "
        + "; ".join(parts),
    }


def markdown(document: Mapping[str, Any]) -> str:
    """The table and the sentence."""
    figures = _compared(document["methods"][0]["student_fp32"]["test"])
    columns = " | ".join(f"test {TITLES[figure]} | against none" for figure in figures)
    lines = [
        f"| method | val AUC | {columns} | s per epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in document["methods"]:
        val, test = row["student_fp32"]["val"], row["student_fp32"]["test"]
        seconds = "–" if row["seconds_per_epoch"] is None else f"{row['seconds_per_epoch']:.1f}"
        cells = [row["method"], _mean(val["auc"])]
        for figure in figures:
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
