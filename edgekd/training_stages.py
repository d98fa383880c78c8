"""Stages that train: from the teacher to the student that is converted, by what the recipe asks for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgekd import ensemble, forms, keys
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.logits_store import Part
from edgekd.models import kind_of, runtime_of
from edgekd.preflight import skipped_stages
from edgekd.recipe import Recipe
from edgekd.stage_runner import StageRunner


def student(
    runner: StageRunner, recipe: Recipe, images: Artifact, part: Part | None
) -> tuple[Artifact, dict[str, list[str]]]:
    """Run the stages from the teacher to the trained student.

    Args:
        runner: that runs them, or takes them from the cache.
        recipe: as resolved.
        images: of the data stage.
        part: of the teacher's logits that is made here; None: all.

    Returns:
        The student, and what was done to it and to each of its forms on the way, by form.
    """
    from edgekd.stages.cluster_weights import cluster_weights
    from edgekd.stages.prune_channels import prune_channels
    from edgekd.stages.prune_weights import prune_weights
    from edgekd.stages.qat import qat
    from edgekd.stages.teacher_logits import teacher_logits

    d = recipe.distill
    skipped = skipped_stages(recipe)
    options: dict[str, Any]
    source: Artifact | None = None
    if "teacher" not in skipped:
        source = _teacher(runner, recipe, images)
    if "student_alone" not in skipped:
        alone = _student_of(runner, forms.alone(d), images, None, None, stage="student_alone")
        source = source or alone
    logits: Artifact | None = None
    if "teacher_logits" not in skipped:
        options = {"num_views": d.num_views, "unkeyed": {"part": part}, "shared": "parts"}
        logits = runner.trained("teacher_logits", teacher_logits, images, source, config=d.views, **options)
    seen = (source, None) if d.mode in ("live", "mutual") else (None, logits)
    made = _student_of(runner, dataclasses.replace(d, train_alone=False), images, *seen)
    steps = forms.steps_of(made)
    found = {"distilled": steps}
    # Where the student once started is told by its weights; whether another was trained alone does not matter.
    went_on = dataclasses.replace(d, weights="none", train_alone=False)
    if learned := made.facts["schedule"]:
        went_on = dataclasses.replace(went_on, schedule="fixed", **learned)
    preserve = "nothing"
    if "prune" not in skipped:
        prune, step, preserve = {
            "weight": (prune_weights, "pruned", "zeros"),
            "channel": (prune_channels, "channel_pruned", "nothing"),
            "cluster": (cluster_weights, "clustered", "values"),
        }[recipe.prune.method]
        options = {"config": recipe.prune, "distillation": went_on}
        # tfmot's wrappers keep state that only one process sees.
        options["shared"] = "steps" if recipe.prune.method == "channel" else "nothing"
        if recipe.prune.method != "cluster":
            wanted = bool(recipe.prune.analysis)
            options["analysis"] = _sensitivity(runner, recipe, images, logits, made, went_on) if wanted else None
        made = runner.trained("prune", prune, images, logits, made, **options)
        steps = [*steps, step]
        if recipe.prune.method == "channel":
            found["pruned"], steps = steps, [*steps, "finetuned"]
    if "qat" not in skipped:
        inputs, config = (images, logits, made), recipe.quantize.training
        options = {"preserve": preserve, "distillation": went_on, "shared": "nothing"}
        made = runner.trained("qat", qat, *inputs, config=config, **options)
        steps = [*steps, "qat"]
    return made, {**found, "student": steps}


def _sensitivity(
    runner: StageRunner,
    recipe: Recipe,
    images: Artifact,
    logits: Artifact | None,
    student: Artifact,
    distillation: Distill,
) -> Artifact:
    """What each layer is worth to the student, by the kind of pruning that follows."""
    from edgekd.stages.sensitivity import channel_sensitivity, weight_sensitivity

    shared: dict[str, Any] = {
        "config": recipe.sensitivity,
        "protected_layers": recipe.prune.protected_layers,
        "subset_seed": recipe.data.split_seed,
        "ingredients": {"num_threads": runner.num_threads},
        "shown": True,
    }
    if recipe.prune.analysis == "weights":
        return runner.cached("sensitivity", weight_sensitivity, images, student, **shared)
    return runner.cached(
        "sensitivity",
        channel_sensitivity,
        images,
        logits,
        student,
        multiple=recipe.prune.channel_multiple,
        distillation=distillation,
        training=recipe.prune.training,
        seed=runner.seed,
        **shared,
    )


def _student_of(runner: StageRunner, config: Distill, *inputs: Artifact | None, stage: str = "distill") -> Artifact:
    """Train a student, with or without what a teacher knows."""
    from edgekd.stages.distill import distill

    ingredients: dict[str, Any] = {"config": keys.by_content(config)}
    if plugins := keys.plugins(config):
        ingredients["plugins"] = plugins
    return runner.trained(stage, distill, *inputs, config=config, ingredients=ingredients)


def _teacher(runner: StageRunner, recipe: Recipe, images: Artifact) -> Artifact:
    """One network or file, or the mean of several, each of which is a stage of its own in the cache."""
    from edgekd.stages.given import mixed
    from edgekd.stages.teacher import ensemble as mean_of

    networks = ensemble.networks(recipe.teacher, recipe.seed)
    # Files first: what is wrong with one shows before hours of training.
    order = sorted(networks, key=lambda name: not networks[name].is_file)
    members = {name: _network(runner, name, networks[name], images) for name in order}
    if "" in members:
        return members[""]
    found = [members[name] for name in networks]
    join = mixed if any("answers" in member.facts for member in found) else mean_of
    return runner.cached("teacher", join, images, found, config=list(networks))


def _network(runner: StageRunner, name: str, config: Teacher, images: Artifact) -> Artifact:
    """Train one network, or take one file as it is."""
    from edgekd.stages.given import given
    from edgekd.stages.teacher import teacher

    key: dict[str, Any] = {"config": keys.teacher_by_content(config)}
    if config.is_file:
        key["runtime"] = runtime_of(kind_of(Path(config.model)))
        return runner.cached(run_name(name), given, images, config=config, ingredients=key)
    return runner.trained(run_name(name), teacher, images, config=config, ingredients=key, seed=config.seed)


def run_name(network: str) -> str:
    """The stage that trains one network of the teacher."""
    return f"teacher.{network}" if network else "teacher"
