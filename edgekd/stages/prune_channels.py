"""Remove channels from the student, which then goes on learning from the teacher."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, channel_choice, channels, curves
from edgekd.artifact import Artifact, read_json, write_json
from edgekd.config.distill import Distill
from edgekd.config.prune import Prune
from edgekd.curves import Curve
from edgekd.data import Split
from edgekd.errors import RecipeError
from edgekd.lesson import Lesson
from edgekd.progress import Progress
from edgekd.step import Batch, Objective
from edgekd.tasks import Task
from edgekd.training import evaluate, make_predict
from edgekd.workers import ALONE, Workers

logger = logging.getLogger("edgekd")

PLAN_FILE = "plan.json"
CUT_FOLDER = "cut"


def prune_channels(
    data: Artifact,
    logits: Artifact | None,
    student: Artifact,
    config: Prune,
    out_dir: Path,
    *,
    distillation: Distill,
    seed: int,
    work: Path,
    progress: Progress,
    analysis: Artifact | None = None,
    workers: Workers = ALONE,
) -> Artifact:
    """Remove the channels that are worth least until ``keep_macs`` of the multiply-accumulates remain, and heal.

    Of groups that ``layer_channel_ratios`` speaks of goes that fraction, the others make up the rest.

    At once, or in rounds of equal steps in log multiply-accumulates (:func:`budgets`). After each removal the student
    trains with the loss of the distillation, on the teacher's stored logits, and scores are taken anew; so are curves
    of sensitivity, on the same images of val, as what the first removal and the training left is another student.

    Args:
        data: images.
        logits: the teacher's, stored for the views of the distillation; None where its whole weight is on the labels.
        student: to be pruned.
        config: how far, by what and in how many rounds.
        out_dir: where ``model/`` (Keras) goes: a smaller dense model; and ``cut/``, as it was right after the last
            removal.
        distillation: losses and views; see :func:`edgekd.objectives.while_pruning`.
        seed: of order and views.
        work: folder of the plans and checkpoints.
        progress: where the task is shown.
        analysis: of the student's sensitivity to removed channels, for ``criterion = "sensitivity"``.
        workers: who share each step of the training; the chief chooses the channels.

    Raises:
        ModelError, RecipeError: as :func:`check`.
        TrainingError: the loss is not a number.
    """
    lesson = Lesson.of(data, logits, distillation, seed=seed, work=work, progress=progress, workers=workers)
    dataset = lesson.dataset
    _keras.reset(seed)
    model = _keras.load_model(student.path / "model")
    check(model, config)
    size, sizes = _size(model), _channels(model, config)
    before = evaluate(make_predict(model), dataset.val)
    rounds: list[dict[str, Any]] = []
    history: list[dict[str, float]] = []
    shares = epochs_of_rounds(config.training.epochs, config.rounds)
    for index, (budget, epochs) in enumerate(zip(budgets(config), shares, strict=True)):
        place = work / f"round{index}"
        batches = channel_choice.training_batches(
            dataset, config.training, lesson.views, lesson.soft_targets, seed, index
        )
        measure = functools.partial(_curves, analysis, dataset.val, config.channel_multiple, index)
        model = _smaller(model, config, budget * size["macs"], lesson.objective, batches, measure, place, workers)
        cut = evaluate(make_predict(model), dataset.val)
        _keras.save_model(model, out_dir / CUT_FOLDER)
        part = f", round {index + 1} of {config.rounds}" if config.rounds > 1 else ""
        training = dataclasses.replace(config.training, epochs=epochs)
        title = f"student, healing after channel pruning{part}"
        epochs_seen = dataclasses.replace(lesson, work=place).give(model, training, title)
        history += [{"round": index, **epoch} for epoch in epochs_seen]
        healed = evaluate(make_predict(model), dataset.val)
        rounds.append({**_size(model), "epochs": epochs, "val_after_surgery": cut, "val": healed})
    _keras.save_model(model, out_dir / "model")
    kept = _channels(model, config)
    facts = {
        "history": history,
        "criterion": config.criterion,
        "rounds": rounds,
        **{name: {"before": size[name], "after": rounds[-1][name]} for name in size},
        "channels": {name: {"before": count, "after": kept[name]} for name, count in sizes.items()},
        "val_before": before,
        "val_after_surgery": rounds[-1]["val_after_surgery"],
        "val": rounds[-1]["val"],
    }
    return Artifact.seal(out_dir, {**facts, "summary": _summary(facts, dataset.task)})


def check(model: Any, config: Prune) -> None:
    """Raise where a student cannot be pruned as the recipe says; neither weights nor images matter.

    Raises:
        ModelError: a layer that cannot be followed, or no batch normalization where ``bn_scale`` wants it.
        RecipeError: a protected layer that does not exist, a budget that cannot be reached, nothing to remove.
    """
    structure = channel_choice.follow(model, config.protected_layers)
    scores = channels.bn_scale(structure) if config.criterion == "bn_scale" else channels.l1(structure)
    _plan(structure, scores, config, config.keep_macs)
    channel_choice.check_removable(structure, config.channel_multiple)


def budgets(config: Prune) -> list[float]:
    """The fraction of the multiply-accumulates that may stay after each round: ``keep_macs ** (i / rounds)``."""
    return [config.keep_macs ** (index / config.rounds) for index in range(1, config.rounds + 1)]


def epochs_of_rounds(epochs: int, rounds: int) -> list[int]:
    """Alike for all rounds but the last, which has as much twice and what is left over: ``[2, 2, 5]`` of 9."""
    share = epochs // (rounds + 1)
    return [*[share] * (rounds - 1), epochs - share * (rounds - 1)]


def _plan(
    structure: channels.Structure,
    scores: channels.Scores,
    config: Prune,
    keep_macs: float,
    found: Sequence[Curve] | None = None,
) -> channels.Plan:
    multiple = config.channel_multiple
    settled = channel_choice.ratios(structure, config.layer_channel_ratios)
    bounds: dict[str, Any] = {"ratios": settled, "multiple": multiple, "minimum": multiple}
    try:
        if found is not None:
            return channels.by_curves(structure, scores, curves.losses(found), keep_macs, **bounds)
        return channels.by_scores(structure, scores, keep_macs, **bounds)
    except RecipeError as error:
        more = "; or set prune.keep_macs = 1, where prune.layer_channel_ratios alone decide" if settled else ""
        raise RecipeError(f"prune.{error}, or lower prune.channel_multiple ({multiple}){more}") from None


def _curves(
    analysis: Artifact | None,
    val: Split,
    multiple: int,
    index: int,
    structure: channels.Structure,
    scores: channels.Scores,
) -> list[Curve] | None:
    """The curves of a round: those of the analysis in the first, and measured anew in the others."""
    if analysis is None:
        return None
    facts = analysis.facts
    if index == 0:
        return curves.read(facts["layers"])
    looked_at = curves.part(val, np.array(facts["val_indices"]))
    return curves.of_channels(structure, scores, looked_at, facts["grid"], multiple)


def _smaller(
    model: Any,
    config: Prune,
    max_macs: float,
    objective: Objective,
    batches: Iterator[Batch],
    measure: Callable[[channels.Structure, channels.Scores], list[Curve] | None],
    place: Path,
    workers: Workers,
) -> Any:
    """Remove what is worth least; the plan is stored, as the round's checkpoint fits what it leads to and no other."""
    structure = channel_choice.follow(model, config.protected_layers)

    def choose() -> dict[str, Sequence[int]]:
        removed = _stored_plan(place / PLAN_FILE)
        if removed is None:
            scores = channel_choice.scores(structure, config.criterion, objective, batches)
            # A round may remove more than it has to, as channels go by eights: then the next may find nothing to do.
            keep_macs = min(1.0, max_macs / channels.macs(model))
            removed = dict(_plan(structure, scores, config, keep_macs, measure(structure, scores)).removed)
            place.mkdir(parents=True, exist_ok=True)
            write_json(place / PLAN_FILE, removed)
        return removed

    removed = workers.from_chief(choose)
    return channels.remove(structure, channels.Plan({name: tuple(places) for name, places in removed.items()}))


def _stored_plan(path: Path) -> dict[str, Sequence[int]] | None:
    if not path.exists():
        return None
    try:
        return {str(name): [int(place) for place in places] for name, places in read_json(path).items()}
    except (ValueError, TypeError, AttributeError) as error:
        logger.warning(f"the plan of a round of channel pruning is damaged and is made again: {error}")
        return None


def _size(model: Any) -> dict[str, int]:
    return {"macs": channels.macs(model), "num_params": int(model.count_params())}


def _channels(model: Any, config: Prune) -> dict[str, int]:
    return {group.name: len(group) for group in channel_choice.follow(model, config.protected_layers).prunable}


def _summary(facts: dict[str, Any], task: Task) -> str:
    macs, params = (facts[name]["after"] / facts[name]["before"] for name in ("macs", "num_params"))
    at = [facts[name] for name in ("val_before", "val_after_surgery", "val")]
    auc, accuracy = ([f"{score[name]:.4f}" for score in at] for name in ("auc", task.accuracy))
    return (
        f"channel pruning: {macs:.1%} of the multiply-accumulates and {params:.1%} of the parameters stay; on val "
        f"before, right after the last removal and after training on: AUC {', '.join(auc)}, "
        f"{task.accuracy_title} {', '.join(accuracy)}"
    )
