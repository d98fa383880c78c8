"""Architecture search with shared weights: one training holds all candidates; only the best few are trained on."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd import host, pipeline, recipe, target
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.config.blocks import Blocks
from edgekd.config.distill import META, Distill
from edgekd.config.nas import check_nas_budget
from edgekd.data import Dataset
from edgekd.errors import RecipeError, SearchError, UserError, writing_to
from edgekd.nas import candidates, finalists, latency_table, plot, result
from edgekd.nas.candidates import Judge, Judged
from edgekd.nas.evolution import Rank, evolve
from edgekd.nas.timed import TimedProgress
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.search import outcome
from edgekd.search.outcome import Found
from edgekd.stage_runner import StageRunner
from edgekd.stages.supernet import supernet
from edgekd.supernet.space import Space

logger = logging.getLogger("edgekd")

CANDIDATES_FILE = "candidates.jsonl"


def nas(
    recipe_: Recipe,
    out: Path,
    *,
    cache: Cache,
    progress: Progress | None = None,
    budget_minutes: float | None = None,
    resume: bool = False,
) -> Found:
    """Train a supernet of the recipe's space, choose under its budget, and measure the best few for real.

    Args:
        recipe_: validated, with the student ``blocks`` and a budget.
        out: folder of the results.
        cache: store of finished stages; the supernet and the latency table are among them.
        progress: where long work is shown.
        budget_minutes: from now on. What runs when the time is up is ended, and its checkpoint kept; of the time that
            is left after the supernet and the table, the evolution has half at most.
        resume: go on with the candidates that are there.

    Raises:
        RecipeError: a space that cannot be, or a recipe that leaves nothing to choose.
        UserError: candidates that are there without ``resume``, or are of another supernet.
        SearchError: the time was up before the first finalist was measured.
    """
    check(recipe_)
    space = Space.of(recipe_.distill.blocks, recipe_.distill.width_multiplier, recipe_.nas)
    with writing_to(out, outcome.REMEDY):
        out.mkdir(parents=True, exist_ok=True)
    file = out / CANDIDATES_FILE
    there = candidates.num_known(file)
    if there and not resume:
        raise UserError(f'"{file}" holds {there} candidates: --resume goes on with them; another --out starts anew')
    until = None if budget_minutes is None else time.monotonic() + 60 * budget_minutes
    timed = progress or Progress() if until is None else TimedProgress(progress or Progress(), until)
    resolved, images, network, table = _shared(recipe_, space, cache, timed)
    with writing_to(out, outcome.REMEDY):
        judge = Judge(
            file, images, network, table, space=space, nas=resolved.nas, budget=recipe_.budget, seed=recipe_.seed
        )
        judged = _evolved(judge, recipe_, timed, until)
        rows = _measured(judge, judged, recipe_, out, cache, timed)
    found = result.document(
        name=recipe_.name,
        space=space,
        budget=recipe_.budget,
        judged=judged,
        finalists=rows,
        supernet=network.facts,
        table=table.facts,
    )
    with writing_to(out, outcome.REMEDY):
        plot.plot(found, out)
    return outcome.write(recipe_, found, found["finalists"], result.markdown(found), out, "nas")


def check(recipe_: Recipe) -> None:
    """Raise RecipeError where there is nothing to search, or what is searched would not be what is shipped."""
    student, mode = recipe_.distill.student, recipe_.distill.mode
    if student != "blocks":
        raise RecipeError(
            f'distill.student = "{student}": edgekd nas searches around the student blocks; set '
            'distill.student = "blocks", and its stages in [distill.blocks]'
        )
    if mode not in ("stored", "self"):
        raise RecipeError(
            f'distill.mode = "{mode}": the supernet learns from stored answers; set distill.mode = "stored"'
        )
    if recipe_.distill.schedule == META:
        raise RecipeError(
            f'distill.schedule = "{META}" follows one student, and a supernet holds many; set '
            'distill.schedule = "fixed"'
        )
    if recipe_.prune.method == "channel":
        raise RecipeError(
            'prune.method = "channel" would cut the channels that the search chooses; set prune.method = "none"'
        )
    check_nas_budget(recipe_.budget)


def _shared(
    recipe_: Recipe, space: Space, cache: Cache, progress: Progress
) -> tuple[Recipe, Artifact, Artifact, Artifact]:
    """The recipe as resolved, the images, the supernet, the latency table; each made once."""
    until = "teacher_logits" if recipe_.distill.uses_teacher else "data"
    made, _ = pipeline.artifacts(recipe_, cache=cache, progress=progress, until=until)
    resolved, _ = pipeline.resolve(recipe_)
    nas, images = resolved.nas, made["data"]
    runner = StageRunner(resolved.seed, resolved.num_threads, None, cache, progress, None)
    network = runner.trained(
        "supernet",
        supernet,
        images,
        made.get("teacher_logits"),
        config=recipe.sized_training(nas.training, "nas", len(Dataset.open(images).train.labels)),
        space=space,
        distillation=_of_supernet(resolved.distill),
        subnets_per_step=nas.subnets_per_step,
        inplace_weight=nas.inplace_weight,
        num_batchnorm_images=nas.num_batchnorm_images,
    )
    profile = target.load(recipe_.benchmark.target)
    table = runner.cached(
        "latency_table",
        latency_table.measured,
        images,
        config=dataclasses.replace(recipe_.benchmark, num_processes=nas.table_processes),
        ingredients={"host": host.host(), "target": dataclasses.asdict(profile)},
        shown=True,
        space=space,
        seed=resolved.seed,
    )
    return resolved, images, network, table


def _of_supernet(distillation: Distill) -> Distill:
    """What a supernet learns by; what concerns the student alone is put back, as no part of its key."""
    plain = Distill()
    return dataclasses.replace(
        distillation,
        student="blocks",
        blocks=plain.blocks,
        width_multiplier=plain.width_multiplier,
        weights=plain.weights,
        training=plain.training,
        train_alone=plain.train_alone,
        finetune_epochs=plain.finetune_epochs,
        finetune_learning_rate=plain.finetune_learning_rate,
    )


def _evolved(judge: Judge, recipe_: Recipe, progress: Progress, until: float | None) -> dict[Blocks, Judged]:
    """Look for the best by predicted cost and the supernet's weights."""
    nas, now = recipe_.nas, time.monotonic()
    half = None if until is None else now + (until - now) / 2
    judged: dict[Blocks, Judged] = {}
    with progress.task("evolution", nas.num_candidates, "candidates") as task:

        def look(blocks: Blocks) -> Rank:
            judged[blocks] = judge(blocks)
            task.advance(1)
            return candidates.rank(judged[blocks], recipe_.budget)

        evolve(
            judge.space.smallest,
            judge.space.drawn,
            judge.space.mutated,
            look,
            population=nas.population,
            sample_size=nas.sample_size,
            num_candidates=nas.num_candidates,
            seed=recipe_.seed,
            stop=lambda: half is not None and bool(judged) and time.monotonic() > half,
        )
    return judged


def _measured(
    judge: Judge, judged: Mapping[Blocks, Judged], recipe_: Recipe, out: Path, cache: Cache, progress: Progress
) -> list[dict[str, Any]]:
    """Train and measure the best; those that the time was not enough for are left out."""
    chosen = candidates.best(judged, recipe_.budget, recipe_.nas.num_finalists)
    if candidates.overshoot(judged[chosen[0]].predicted, recipe_.budget):
        logger.warning("nas: by the latency table no candidate keeps the budget; the nearest is measured")
    started = [finalists.inherited(judge, blocks, out / f"finalist{n}.h5") for n, blocks in enumerate(chosen, start=1)]
    rows: list[dict[str, Any]] = []
    for number, (blocks, weights) in enumerate(zip(chosen, started, strict=True), start=1):
        changes = finalists.changes_of(recipe_, blocks, weights.resolve())
        network = {name: list(getattr(blocks, name)) for name in result.COLUMNS}
        predicted = dict(judged[blocks].predicted)
        try:
            row = finalists.measured(number, recipe_, changes, cache, progress)
        except SearchError:
            if not rows:
                raise
            logger.warning(f"nas: out of time after {len(rows)} of {len(chosen)} finalists; --resume goes on")
            break
        rows.append({**row, "network": network, "predicted": predicted})
    return rows
