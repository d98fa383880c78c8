"""Keys, values and reasons of a first recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgekd import target
from edgekd.init.look import Seen

EFFORTS = {
    "quick": "a first look: a quarter of the training, nothing pruned",
    "balanced": "enough training for most small sets, a third of the multiply-accumulates pruned",
    "thorough": "twice the training, two teachers, and the student trained alone to see what distillation brings",
}
_SCALE = {"quick": 0.25, "balanced": 1.0, "thorough": 2.0}
# Image presentations after which small medical sets have levelled off, and the least and most epochs.
_SHOWN = {"teacher": 60_000, "distill": 120_000, "prune": 40_000}
_LEAST, _MOST = 5, {"teacher": 100, "distill": 100, "prune": 40}
# One of these that fits; the smallest at which little is lost against what the files hold.
_SIDES = (32, 64, 96, 128)
_MICRO_SIDE = 96  # as Visual Wake Words, the task of that size (Chowdhery et al. 2019)
_SMALL_VAL = 150
_IMBALANCED = 1.5
# Milliseconds for one image of a preview of 30 a second, and bytes that a first download does not notice.
_FRAME_MS, _APP_BYTES = 33.0, 1_000_000
# Explained, and left to the user: they change what is asked of the model.
ADVANCED_KEYS = ("data.licence", "data.source", "gates.min_auc", "bundle.min_confidence")


@dataclass(frozen=True)
class Answers:
    """What only a person can say.

    Attributes:
        target: device profile by name.
        effort: a name in ``EFFORTS``.
        mirrored: whether a mirrored image could be one of the same class.
        pretrained: whether networks may start from ImageNet weights, which are downloaded.
        guarded: class of which few may be missed; empty: none.
    """

    target: str = "host"
    effort: str = "balanced"
    mirrored: bool = False
    pretrained: bool = False
    guarded: str = ""


@dataclass(frozen=True)
class Choice:
    """A key of the recipe.

    Attributes:
        key: dotted.
        value: plain.
        reason: why this value; a sentence, or empty where the documentation of the key says enough.
        active: False: written as a comment.
    """

    key: str
    value: Any
    reason: str = ""
    active: bool = True


def choose(seen: Seen, answers: Answers, data: dict[str, Any]) -> list[Choice]:
    """The recipe, in the order in which it is read.

    Args:
        seen: of the data.
        answers: of the person.
        data: ``data.path`` or ``data.name``, by dotted key.

    Raises:
        RecipeError: an unknown target.
    """
    profile = target.load(answers.target)
    return [
        *(Choice(key, value) for key, value in data.items()),
        *_images(seen, profile),
        *_teacher(seen, answers),
        *_student(seen, answers, profile),
        *_prune(seen, answers),
        *_limits(seen, answers, profile),
        Choice("benchmark.target", answers.target, profile.description),
        Choice("bundle.min_confidence", 0.7, "Choose it from the reliability diagram of the report.", active=False),
    ]


def image_size(median_side: int, most: int = _SIDES[-1]) -> int:
    """The smallest side on offer that is at least 0.75 of the images' own, and no larger than ``most``."""
    return min(most, next((side for side in _SIDES if side >= 0.75 * median_side), _SIDES[-1]))


def epochs(stage: str, effort: str, num_train: int) -> int:
    """So many that a stage sees its number of images, at least 5; most for a set of a few images."""
    wanted = round(_SHOWN[stage] * _SCALE[effort] / num_train)
    return max(_LEAST, min(wanted, round(_MOST[stage] * _SCALE[effort])))


def _images(seen: Seen, profile: target.Target) -> Iterator[Choice]:
    most = _MICRO_SIDE if profile.runtime == target.TFLITE_MICRO else _SIDES[-1]
    side = image_size(seen.median_side, most)
    more = " More shows finer detail and takes longer, with the square of the side." if side == most else ""
    yield Choice("data.image_size", side, f"The median image is {seen.median_side} pixels on its shorter side.{more}")
    count = min(256, seen.num_train)
    yield Choice("data.num_calibration_samples", count, f"Of {seen.num_train}.")
    yield Choice("data.licence", "CC BY 4.0", active=False)
    yield Choice("data.source", "where the images come from", active=False)


def _teacher(seen: Seen, answers: Answers) -> Iterator[Choice]:
    if answers.pretrained:
        yield Choice("teacher.model", "mobilenet", "Small, and published with ImageNet weights.")
        yield Choice("teacher.width_multiplier", 0.5)
        yield Choice("teacher.weights", "imagenet", f"With {seen.num_train} training images this is worth most.")
    else:
        yield Choice("teacher.model", "resnet_small", "Needs no download. resnet50 knows more and takes far longer.")
    if answers.effort == "thorough":
        yield Choice("teacher.copies", 2, "Two seeds answer better than one.")
    rate = 0.01 if answers.pretrained else 0.03
    yield from _training("teacher", seen, answers, rate)
    yield from _views("teacher", answers)


def _student(seen: Seen, answers: Answers, profile: target.Target) -> Iterator[Choice]:
    if profile.runtime == target.TFLITE_MICRO:
        yield Choice("distill.student", "mobilenet_v1", "Its tensors are small enough for a microcontroller's memory.")
        yield Choice("distill.width_multiplier", 0.25)
    else:
        yield Choice("distill.student", "mobilenet_v2", "Runs well on phones, and is all INT8 after conversion.")
        yield Choice("distill.width_multiplier", 0.35, "About 0.6 MB as INT8. 0.5 or 1.0 where accuracy falls short.")
    if answers.pretrained:
        yield Choice("distill.weights", "imagenet")
    yield Choice(
        "distill.train_alone",
        answers.effort == "thorough",
        "Only then can the report say what distillation brought; it costs another training.",
    )
    yield from _training("distill", seen, answers, 0.01 if answers.pretrained else 0.03)
    yield from _views("distill", answers)


def _prune(seen: Seen, answers: Answers) -> Iterator[Choice]:
    if answers.effort == "quick":
        yield Choice("prune.method", "none", "For a first look.")
        return
    yield Choice("prune.method", "channel", "The only one that makes a model smaller and faster.")
    yield Choice("prune.keep_macs", 0.67)
    yield from _training("prune", seen, answers, 0.01)


def _limits(seen: Seen, answers: Answers, profile: target.Target) -> Iterator[Choice]:
    # Three images of val, where those are more than two points: one or two change sides by chance.
    drop = max(2.0, round(300 / seen.num_val, 1))
    why = f"Val has {seen.num_val:,} images, of which one is {100 / seen.num_val:.2g} points."
    limit = profile.limits.max_tflite_bytes
    small = limit is None or limit >= _APP_BYTES
    told = "A download that nobody notices." if small else f"What {profile.name} has room for."
    yield Choice("gates.max_tflite_bytes", _APP_BYTES if small else limit, told)
    yield Choice("gates.max_accuracy_drop_pp", drop, why)
    yield Choice(
        "gates.min_auc", 0.9, "Set it to what the use asks for, before you have seen the figures.", active=False
    )
    if answers.guarded:
        yield Choice(f"gates.min_recall.{answers.guarded}", 0.9, f"{answers.guarded} is not to be missed.")
    measured = profile.figures == target.MEASURED
    reason = "One image of a preview of 30 a second" + (", in time of this machine." if measured else ".")
    further = " Where the recipe falls short of it, other chains are tried, which takes longer."
    yield Choice("budget.max_p50_ms", _FRAME_MS, reason + further, active=measured)


def _training(stage: str, seen: Seen, answers: Answers, rate: float) -> Iterator[Choice]:
    key = f"{stage}.training"
    yield Choice(f"{key}.epochs", epochs(stage, answers.effort, seen.num_train), f"Effort: {answers.effort}.")
    yield Choice(f"{key}.batch_size", max(1, min(64, seen.num_train // 8)))
    yield Choice(f"{key}.learning_rate", rate)
    if seen.imbalance > _IMBALANCED and stage != "prune":
        told = f"The largest class has {seen.imbalance:.1f} times the images of the smallest."
        yield Choice(f"{key}.class_weights", "balanced", told)
    if seen.num_val < _SMALL_VAL:
        yield Choice(f"{key}.keep", "last", f"Val has {seen.num_val} images.")


def _views(stage: str, answers: Answers) -> Iterator[Choice]:
    key = f"{stage}.views"
    told = "You said so." if answers.mirrored else "Left and right may matter (heart, liver, markers)."
    yield Choice(f"{key}.horizontal_flip", answers.mirrored, told)
    for name, value in (("max_shift", 0.08), ("max_rotation", 10.0), ("max_brightness", 0.05), ("max_contrast", 0.1)):
        yield Choice(f"{key}.{name}", value)
