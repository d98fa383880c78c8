"""Does distillation help? The same student, for as many steps, by each method and from several seeds.

A cell is one method from one seed, a whole chain up to verify that lives off the cache, so that an ablation that was
broken off goes on where it was. All cells share one teacher. The method is chosen on val; test is read to report.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import ablation_table, data, host, pipeline, preflight, recipe
from edgekd.ablation_plot import plot
from edgekd.ablation_table import BASELINE, MODELS, SPLITS, TITLES
from edgekd.artifact import Artifact, write_json
from edgekd.cache import Cache, StageRecord
from edgekd.chains import Chain, run_chains
from edgekd.errors import OutputError, UserError, did_you_mean, writing_to
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.tasks import TASKS, Task

logger = logging.getLogger("edgekd")

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

DATASET_FIELDS = ("name", "num_train", "num_val", "num_test", "sha256")
LAST_STAGE = "verify"

CELLS_FILE = "cells.jsonl"
CHOOSE_BY = "auc"


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
    recipe_: Recipe,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    cache: Cache,
    jobs: int = 1,
    choose_by: str = CHOOSE_BY,
) -> dict[str, Any]:
    """Run every method from every seed and compare each with the student alone.

    Args:
        recipe_: validated; its own seed is that of the teacher that all share.
        methods: names in ``METHODS``; ``none`` is always run. ``"mutual:3"`` is run from the first three seeds alone.
        seeds: of the student, at least two.
        out: folder of ``ablation.json``, ``ablation.md``, ``ablation.svg``, ``ablation.png`` and ``cells.jsonl``.
        cache: store of finished stages.
        jobs: cells trained at a time, each in a process of its own. Accuracies do not depend on it; seconds do.
        choose_by: the figure on val that chooses the method: ``auc``, ``macro_recall``, or the accuracy of the task.

    Returns:
        What ``ablation.json`` holds: ``methods[]``, see :func:`edgekd.ablation_table.compare`; ``chosen``;
        ``sentence``; ``teacher``; ``cells[]``; recipe as resolved, data set, host, versions, commit.

    Raises:
        UserError: an unknown method or figure, fewer than two seeds.
        EdgekdError: cells that failed, by name; the others are in the cache.
    """
    seeds_of = _plan(methods, seeds)
    with writing_to(out, "name another folder with --out"):
        out.mkdir(parents=True, exist_ok=True)
    resolved, _ = pipeline.resolve(recipe_)
    task = TASKS[data.probe(recipe_.data).task]
    _check_figure(choose_by, task)
    _warn_of_crowding(resolved.num_threads, jobs)
    wanted = [
        Cell(name, seed, variant(resolved, name, seed)) for seed in seeds for name in seeds_of if seed in seeds_of[name]
    ]
    for cell in wanted:
        preflight.check_names(cell.recipe)
        preflight.check_task(cell.recipe, task)
    _train(wanted, cache, jobs, out / CELLS_FILE)
    found = [_found(cell, cache) for cell in wanted]
    seconds = _known_seconds(out / CELLS_FILE)
    cells = [_figures(cell, *made, seconds) for cell, made in zip(wanted, found, strict=True)]
    rows = [ablation_table.compare(name, cells) for name in seeds_of]
    of_baseline = found[0][0]
    teacher = of_baseline[LAST_STAGE].facts["models"].get("teacher_fp32")
    document = {
        "recipe": to_table(resolved),
        "dataset": {name: of_baseline["data"].facts[name] for name in DATASET_FIELDS},
        "teacher": teacher and _kept(teacher),
        "seeds": list(seeds),
        "jobs": jobs,
        "choose_by": choose_by,
        "chosen_by": f"the highest mean paired difference to {BASELINE} in {TITLES[choose_by]} of student_fp32 on val",
        **ablation_table.verdict(rows, choose_by),
        "methods": rows,
        "cells": cells,
        "host": host.host(),
        "versions": host.versions(),
        "commit": host.commit(),
    }
    with writing_to(out, "what is trained is kept; give the same command again"):
        write_json(out / "ablation.json", document)
        plot(document, out)
        text = f"# {resolved.name}: distillation against the student alone\n\n{ablation_table.markdown(document)}"
        (out / "ablation.md").write_text(f"{text}\n![differences](ablation.png)\n", encoding="utf-8")
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
    table["gates"] = table["budget"] = {}
    return recipe.from_table(table)


def _plan(methods: Sequence[str], seeds: Sequence[int]) -> dict[str, Sequence[int]]:
    """Seeds of every method, the baseline first; ``"mutual:3"`` takes the first three."""
    if len(set(seeds)) < 2 or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(
            f"seeds {', '.join(map(str, seeds)) or 'none'}: at least two, all different and none below 0, "
            "so that chance can be told from gain"
        )
    plan = {BASELINE: seeds}
    for method in methods:
        name, colon, count = method.partition(":")
        if name not in METHODS:
            raise UserError(f'unknown method "{name}"{did_you_mean(name, METHODS)}')
        if colon and count not in map(str, range(2, len(seeds) + 1)):
            raise UserError(f'method "{method}": after the colon, how many of the {len(seeds)} seeds: at least 2')
        if name == BASELINE:
            if colon:
                raise UserError(f'method "{method}": {BASELINE} is run from every seed, since all are compared with it')
            continue
        if name in plan:
            raise UserError(f'method "{name}" is named twice')
        plan[name] = seeds[: int(count)] if colon else seeds
    if len(plan) == 1:
        raise UserError(f"name a method beside {BASELINE}{did_you_mean('', set(METHODS) - {BASELINE})}")
    return plan


def _check_figure(name: str, task: Task) -> None:
    """Raise where cells of the task have no such figure."""
    allowed = ("auc", task.accuracy, "macro_recall")
    if name not in allowed:
        raise UserError(f'choose by "{name}": allowed for {task.name} data: {", ".join(allowed)}')


def _warn_of_crowding(num_threads: int, jobs: int) -> None:
    cpus = os.cpu_count() or 1
    if jobs > 1 and jobs * num_threads > cpus:
        logger.warning(
            f"{jobs} cells at a time on {num_threads} threads each, and {cpus} processors: fewer jobs or num_threads = "
            "1 would be faster (another number of threads trains other weights)"
        )


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
        made = _look_up(chain, cache)
        if made and title in seconds:
            key, epochs = _distilled(*made, chain.recipe)
            entry = {"cell": chain.title, "key": key, "jobs": jobs, "seconds_per_epoch": seconds[title] / epochs}
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    run_chains([cell.chain for cell in cells], cache.root, jobs=jobs, finished=note_seconds)


_Made = tuple[dict[str, Artifact], list[StageRecord]]


def _look_up(chain: Chain, cache: Cache) -> _Made | None:
    """What the stages of a chain made, where all of it is in the cache."""
    artifacts, records = pipeline.artifacts(chain.recipe, cache=cache, until=chain.until, dry=True)
    return (artifacts, records) if chain.until in artifacts else None


def _found(cell: Cell, cache: Cache) -> _Made:
    made = _look_up(cell.chain, cache)
    if made is None:
        raise OutputError(f'"{cache.root}" no longer holds {cell.chain.title}; give the same command again')
    return made


def _figures(
    cell: Cell, artifacts: Mapping[str, Artifact], records: Sequence[StageRecord], seconds: Mapping[str, float]
) -> dict[str, Any]:
    key, _ = _distilled(artifacts, records, cell.recipe)
    models = artifacts[LAST_STAGE].facts["models"]
    figures = {model: _kept(models[model]) for model in MODELS}
    return {"method": cell.method, "seed": cell.seed, "key": key, "seconds_per_epoch": seconds.get(key), **figures}


def _kept(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {split: {name: figures[split][name] for name in TITLES if name in figures[split]} for split in SPLITS}


def _distilled(artifacts: Mapping[str, Artifact], records: Sequence[StageRecord], recipe_: Recipe) -> tuple[str, int]:
    """Key of the student's training, and its epochs without those of fine-tuning."""
    key = next(record.key for record in records if record.name == "distill")
    return key, len(artifacts["distill"].facts["history"]) - recipe_.distill.finetune_epochs


def _known_seconds(log: Path) -> dict[str, float]:
    """Seconds per epoch by key, of this call and earlier ones; without those killed between training and verify."""
    known = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        with suppress(ValueError):  # a kill may have torn a line
            entry = json.loads(line)
            known[entry["key"]] = entry["seconds_per_epoch"]
    return known
