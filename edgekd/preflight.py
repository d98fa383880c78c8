"""What is checked before the first stage runs, so that hours of training do not end at a slip of the recipe."""

from __future__ import annotations

import json
from typing import Any

from edgekd import _keras, ensemble, fake_quant, losses, micro, onnx_export, target, tflite, vela
from edgekd.config.distill import META
from edgekd.errors import RecipeError, UserError, did_you_mean
from edgekd.ladder import is_limited
from edgekd.models import STUDENTS, build_student, check_start, check_teacher, check_use
from edgekd.recipe import Recipe
from edgekd.tasks import Task

STAGES = (
    "data",
    "teacher",
    "student_alone",
    "teacher_logits",
    "distill",
    "sensitivity",
    "prune",
    "qat",
    "quantize",
    "verify",
    "benchmark",
    "fit",
    "compile",
    "export",
    "throughput",
    "bundle",
    "report",
)

# What a recipe may leave out, and the setting that brings it in.
OPTIONAL_STAGES = {
    "teacher": "distill.mode=stored",
    "teacher_logits": "distill.hard_loss_weight=0.5",
    "student_alone": "distill.train_alone=true",
    "sensitivity": "prune.method=weight --set prune.allocation=sensitivity",
    "prune": "prune.method=weight",
    "qat": "quantize.method=qat",
    "fit": "benchmark.target=microcontroller",
    "compile": "benchmark.target=ethos-u55",
    "export": "benchmark.target=cloud",
    "throughput": "benchmark.target=cloud",
}


def check_stage(name: str | None, recipe_: Recipe) -> None:
    """Raise unless ``name`` is a stage of the recipe, or None."""
    if name is None:
        return
    if name not in STAGES:
        raise UserError(f'unknown stage "{name}"{did_you_mean(name, STAGES)}')
    if name in skipped_stages(recipe_):
        raise UserError(f'this recipe has no stage "{name}"; bring it in with --set {OPTIONAL_STAGES[name]}')


def check_names(recipe_: Recipe) -> None:
    """Raise where the recipe names what is not there, before hours of training end at it."""
    ensemble.networks(recipe_.teacher, recipe_.seed)
    for key, table in ensemble.tables(recipe_.teacher).items():
        check_teacher(table, key)
        if recipe_.distill.mode != "self":
            check_use(table, key, recipe_.distill, losses.feature_losses(recipe_.distill))
    STUDENTS[recipe_.distill.student]
    losses.check(recipe_.distill)
    check_target(recipe_)
    check_start(recipe_.distill.student, recipe_.distill.width_multiplier, recipe_.distill.weights)
    if recipe_.bundle.onnx:
        onnx_export.require()


def check_target(recipe_: Recipe) -> None:
    """Raise where the target is not known, or where the recipe asks it for what it does not give."""
    profile = target.load(recipe_.benchmark.target)
    if recipe_.budget.max_p50_ms is not None and (reason := target.why_not_timed(profile)) is not None:
        raise RecipeError(f"budget.max_p50_ms = {recipe_.budget.max_p50_ms:g}: {reason}")
    if profile.only_variant:
        _check_form(recipe_, profile.only_variant)
    if profile.runtime == target.TFLITE_MICRO:
        micro.require()
    if profile.npu.accelerator:
        vela.require()
    if target.ONNX in profile.exports:
        onnx_export.require(
            f'benchmark.target = "{recipe_.benchmark.target}"',
            (*onnx_export.PACKAGES, "onnxruntime"),
            'take a profile of your own with exports = ["saved_model"] (edgekd target show prints one to begin with)',
        )


def _check_form(recipe_: Recipe, variant: str) -> None:
    """Raise where the one variant that the target takes is not made, or would be made of float layers."""
    quantize, title = recipe_.quantize, f'benchmark.target = "{recipe_.benchmark.target}"'
    if variant not in quantize.variants:
        raise RecipeError(f"{title} runs the variant {variant}; add it to quantize.variants")
    for key in ("mixed", "float_layers"):
        value = getattr(quantize, key)
        if value not in ("none", ()):
            raise RecipeError(f"quantize.{key} = {json.dumps(value)}: {title} takes integers alone; leave it out")


def check_task(recipe_: Recipe, task: Task) -> None:
    """Raise where the recipe asks for what makes no sense for the task of its data."""
    from edgekd.stages import verify

    losses.check_task(recipe_.distill, task)
    verify.check_task(recipe_.gates, task)
    if task.several and recipe_.bundle.min_confidence > 0:
        raise RecipeError(
            f"bundle.min_confidence = {recipe_.bundle.min_confidence}: a {task.name} model answers for each label on "
            "its own, and an image without findings has no confident label; leave it at 0"
        )


def check_shared(resolved: Recipe, num_workers: int) -> None:
    """Raise where several workers cannot build what one can.

    Raises:
        RecipeError: a batch with fewer images than workers; a budget, or a target with limits, for which what one
            machine measures decides; a schedule that is learned.
    """
    if is_limited(resolved):
        named = (
            "[budget]" if resolved.budget.is_set else f'benchmark.target = "{resolved.benchmark.target}" has limits: it'
        )
        raise RecipeError(
            f"{named} tries one recipe after the other, and cannot be kept by {num_workers} workers; build without "
            "--workers and TF_CONFIG, or leave it out"
        )
    if resolved.distill.schedule == META:
        raise RecipeError(
            f'distill.schedule = "{META}" looks a step ahead in one process; build without --workers and TF_CONFIG, or '
            'set distill.schedule = "fixed"'
        )
    tables = {f"{key}.training": table.training for key, table in ensemble.tables(resolved.teacher).items()}
    tables |= {"distill.training": resolved.distill.training, "prune.training": resolved.prune.training}
    for key, training in tables.items():
        if training.batch_size < num_workers:
            raise RecipeError(
                f"{key}.batch_size = {training.batch_size}: at least {num_workers}, one image for each worker; "
                "raise it, or take fewer workers"
            )


def skipped_stages(recipe_: Recipe) -> set[str]:
    """Stages that a recipe leaves out."""
    profile = target.load(recipe_.benchmark.target)
    mode, pruned, aware = recipe_.distill.mode, recipe_.prune.method != "none", recipe_.quantize.method == "qat"
    there = {
        "teacher": mode != "self",
        "teacher_logits": (mode in ("stored", "self") or pruned or aware) and recipe_.distill.uses_teacher,
        "student_alone": recipe_.distill.train_alone or mode == "self",
        "sensitivity": bool(recipe_.prune.analysis),
        "prune": pruned,
        "qat": aware,
        "fit": profile.asks,
        "compile": bool(profile.npu.accelerator),
        "export": bool(profile.exports),
        "throughput": bool(profile.exports),
    }
    return {name for name in OPTIONAL_STAGES if not there[name]}


def check_fit(resolved: Recipe) -> None:
    """Raise before hours of training where a student cannot be built or compressed as asked, or has other weights.

    So too where a layer that is to stay in float is not there.
    """
    from edgekd.stages import prune_channels, prune_weights

    student = untrained(resolved)
    if resolved.prune.method == "channel":
        prune_channels.check(student, resolved.prune)
    elif resolved.prune.method in ("weight", "cluster"):
        prune_weights.check(student, resolved.prune)
    if resolved.quantize.float_layers:
        view = tflite.open_view(tflite.convert(tflite.freeze(student), "fp32"))
        tflite.check_layers(view, resolved.quantize.float_layers, "quantize.float_layers")
    if resolved.quantize.method == "qat":
        fake_quant.check(student)


def untrained(recipe_: Recipe) -> Any:
    """The student of a recipe, whose layers have the names that they will have in the stage that trains it.

    Of two classes, and of 64 pixels where the recipe leaves the size to the data.
    """
    d = recipe_.distill
    _keras.reset(recipe_.seed)
    return build_student(
        d.student,
        image_size=recipe_.data.image_size or 64,
        num_classes=2,
        width_multiplier=d.width_multiplier,
        weights=d.weights,
        blocks=d.blocks,
    )
