"""What was asked, in words: the recipe as sentences."""

from __future__ import annotations

from pathlib import Path

from edgekd import ensemble
from edgekd.config.distill import META, Distill
from edgekd.config.prune import Prune
from edgekd.config.quantize import Quantize
from edgekd.config.teacher import Teacher
from edgekd.config.training import Training
from edgekd.recipe import Recipe

_MODES = {
    "stored": "from the teacher's answers to {views} of each image, stored beforehand",
    "live": "beside the teacher, which answers in every step",
    "mutual": "beside the teacher, and the teacher went on learning from it",
    "self": "from the student trained alone, whose answers to {views} of each image were stored beforehand",
}


def in_words(recipe: Recipe) -> list[tuple[str, str]]:
    """A step and its sentence each, in the order of the chain."""
    d = recipe.distill
    steps = [
        ("Teacher", _teacher(recipe.teacher) if d.uses_teacher and d.mode != "self" else ""),
        ("Student", _student(d)),
        ("Distillation", _distillation(d)),
        ("Pruning", _pruning(recipe.prune)),
        ("Quantization", _quantization(recipe.quantize, recipe.data.num_calibration_samples)),
        ("Proof", _proof(recipe)),
        ("Timing", _timing(recipe)),
    ]
    return [(title, text) for title, text in steps if text]


def _teacher(teacher: Teacher) -> str:
    if teacher.is_file:
        return f"{Path(teacher.model).name}, as it came."
    name = ensemble.title(teacher)
    start = {"none": "from scratch", "imagenet": "from ImageNet weights"}.get(teacher.weights, "from given weights")
    if teacher.members:
        return f"The mean of the logits of an {name}, each trained on the labels or taken as it came."
    averaged = ", whose logits are averaged" if teacher.copies > 1 else ""
    return f"{name}{averaged}, trained {start} on the labels, {_course(teacher.training)}."


def _student(d: Distill) -> str:
    start = {"none": "random weights", "imagenet": "ImageNet weights"}.get(d.weights, "given weights")
    return f"{d.student} of width {d.width_multiplier:g}, started at {start}, {_course(d.training)}."


def _distillation(d: Distill) -> str:
    if not d.uses_teacher:
        return "None: the student learned from the labels alone."
    views = _count(d.num_views, "view")
    losses = " and ".join(name if weight == 1 else f"{weight:g} × {name}" for name, weight in d.loss.items()) or "none"
    share = f"{d.hard_loss_weight:.0%}"
    if d.hard_loss_weight_end is not None:
        share += f" at first and {d.hard_loss_weight_end:.0%} at the end"
    temperature = f"{d.temperature:g}" + (f" to {d.temperature_end:g}" if d.temperature_end is not None else "")
    text = f"The student learned {_MODES[d.mode].format(views=views)}; loss {losses} at temperature {temperature}, "
    text += f"the labels counting {share}."
    if d.schedule == META:
        text += (
            " Both were learned along from there, by the student's loss on "
            f"{d.meta_fraction:.0%} of the training images, which it did not learn from."
        )
    if d.finetune_epochs:
        text += f" Then {_count(d.finetune_epochs, 'epoch')} on the labels alone, kept only where val improved."
    if d.train_alone:
        text += " For comparison the same student was trained for as many steps without the teacher."
    return text


def _pruning(p: Prune) -> str:
    how = {
        "none": "None.",
        "weight": f"{p.final_sparsity:.0%} of the weights set to zero, the smallest, "
        + ("two of each four neighbours, " if p.pattern == "2:4" else "")
        + ("shared out by how sensitive each layer is" if p.allocation == "sensitivity" else "alike in every layer"),
        "channel": f"whole channels removed by {p.criterion} until {p.keep_macs:.0%} of the MACs remained"
        + (f", in {p.rounds} rounds" if p.rounds > 1 else "")
        + (f", {_ratios(p)} as given" if p.layer_channel_ratios else ""),
        "cluster": f"the weights of each layer share {p.num_clusters} values at most",
    }[p.method]
    if p.method == "none":
        return how
    return f"{how[:1].upper()}{how[1:]}; trained on with the loss of the distillation, {_course(p.training)}."


def _ratios(p: Prune) -> str:
    return ", ".join(f"{ratio:.0%} of {name}" for name, ratio in p.layer_channel_ratios.items())


def _quantization(q: Quantize, num_calibration: int) -> str:
    ranges = f"ranges from {num_calibration:,} training images at most, by {q.calibration.replace('_', '-')}"
    text = f"INT8 by calibration: {ranges}."
    if q.method == "qat":
        text = f"INT8 by training on with its rounding, {_course(q.training)}; {ranges} to start with."
    if q.mixed == "auto":
        text += " Where INT8 loses too much on val, the fewest layers that mend it stay in float."
    elif q.float_layers:
        text += f" In float stay {', '.join(q.float_layers)}."
    if q.fit_temperature:
        text += " A temperature is fitted to val and built into the model."
    return text


def _proof(recipe: Recipe) -> str:
    return (
        f'"No loss" is claimed where the paired 95 % interval keeps within {recipe.verify.margin_pp:g} points. '
        "Settings and gates are decided on val; test is looked at to report."
    )


def _timing(recipe: Recipe) -> str:
    b = recipe.benchmark
    return (
        f"Target {b.target}: {_count(b.num_processes, 'fresh process')} a model, {b.num_runs:,} runs in each, "
        "models interleaved at random."
    )


def _course(training: Training) -> str:
    weights = ", classes weighed alike" if training.class_weights == "balanced" else ""
    epochs = _count(training.epochs, "epoch") if training.epochs else "epochs chosen from the data"
    return f"{epochs} of {training.optimizer} at {training.learning_rate:g}{weights}"


def _count(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"
