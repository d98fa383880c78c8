"""A recipe: one frozen dataclass per stage, read from TOML and validated once.

Every key is optional but the data set. Unknown keys, wrong types and values out of range raise
:class:`~edgekd.errors.RecipeError` with the dotted key, the value, what is allowed and the nearest known name.
A value of 0 that is documented as "chosen from the data" is filled in by :func:`sized_to` before the first stage runs.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from edgekd.config.benchmark import Benchmark, check_price
from edgekd.config.blocks import check_blocks
from edgekd.config.budget import Budget
from edgekd.config.bundle import Bundle
from edgekd.config.data import Data
from edgekd.config.distill import Distill, check_distill
from edgekd.config.nas import Nas, check_nas
from edgekd.config.prune import Prune, check_prune
from edgekd.config.quantize import Quantize, check_quantize
from edgekd.config.report import Report
from edgekd.config.search import Search, check_search
from edgekd.config.sensitivity import Sensitivity
from edgekd.config.teacher import Teacher, is_teacher_file
from edgekd.config.training import Training
from edgekd.config.verify import Gates, Verify
from edgekd.errors import RecipeError, did_you_mean
from edgekd.options import option, read_table, to_table


@dataclass(frozen=True)
class Recipe:
    """A whole build."""

    name: str = option("", "name of the recipe; names the run folder")
    seed: int = option(0, "seed of weights, order and views", minimum=0, maximum=2**31 - 1)
    num_threads: int = option(
        0, "threads of training; 0: the cores of this machine. Part of the result", minimum=0, maximum=1024
    )
    data: Data = field(default_factory=Data)
    teacher: Teacher = field(default_factory=Teacher)
    distill: Distill = field(default_factory=Distill)
    sensitivity: Sensitivity = field(default_factory=Sensitivity)
    prune: Prune = field(default_factory=Prune)
    quantize: Quantize = field(default_factory=Quantize)
    verify: Verify = field(default_factory=Verify)
    gates: Gates = field(default_factory=Gates)
    budget: Budget = field(default_factory=Budget)
    benchmark: Benchmark = field(default_factory=Benchmark)
    bundle: Bundle = field(default_factory=Bundle)
    report: Report = field(default_factory=Report)
    search: Search = field(default_factory=Search)
    nas: Nas = field(default_factory=Nas)


def builtin_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("edgekd") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a built-in recipe by name, or a TOML file by path.

    Args:
        name_or_path: ``"quickstart"``, or ``"my/recipe.toml"``.
        overrides: dotted keys and their values (``{"distill.temperature": 2.0}``), applied before validation.

    Raises:
        RecipeError: no such recipe, no TOML, an unknown key, a value that is not allowed.
    """
    path = Path(name_or_path)
    if name_or_path in builtin_names():
        text = (resources.files("edgekd") / "recipes" / f"{name_or_path}.toml").read_text(encoding="utf-8")
        default_name = name_or_path
    elif path.is_dir():
        raise RecipeError(f'"{name_or_path}" is a folder, not a recipe; did you mean --data {name_or_path}?')
    elif path.suffix == ".toml" and path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f'recipe "{name_or_path}" cannot be read: {error}') from None
        default_name = path.stem
    elif path.is_file():
        raise RecipeError(f'"{name_or_path}" is no recipe (*.toml); for images did you mean --data {name_or_path}?')
    elif path.suffix == ".toml":
        raise RecipeError(f'recipe "{name_or_path}" does not exist; built-in recipes: {", ".join(builtin_names())}')
    else:
        raise RecipeError(f'unknown recipe "{name_or_path}"{did_you_mean(name_or_path, builtin_names())}')
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f'recipe "{name_or_path}" is not valid TOML: {error}') from None
    table.setdefault("name", default_name)
    for key, value in (overrides or {}).items():
        set_key(table, key, value)
    if not table["name"]:
        raise RecipeError(f'name = "": a recipe has a name; leave the key out to use "{default_name}"')
    return from_table(table)


def from_table(table: Mapping[str, Any]) -> Recipe:
    """Make a validated recipe of nested dictionaries as TOML gives them."""
    recipe = read_table(Recipe, _with_inheritance(table))
    _check_across(recipe)
    return recipe


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML text that :func:`load` reads back to an equal recipe."""
    import tomli_w

    return tomli_w.dumps(to_table(recipe))


def parse_value(text: str) -> Any:
    """Read the right side of ``--set key=value``: a TOML value, or else a plain string.

    Raises:
        RecipeError: more than one line.
    """
    if len(text.splitlines()) > 1:
        raise RecipeError(f"{text!r}: one line is wanted")
    try:
        # Within brackets a comment would swallow the closing one, and a second value would show.
        values = tomllib.loads(f"values = [{text}]")["values"]
    except tomllib.TOMLDecodeError:
        return text
    # No key takes a date: what looks like one is a name.
    if len(values) == 1 and isinstance(values[0], (bool, int, float, str, list, dict)):
        return values[0]
    return text


# A laptop without a GPU trains MobileNetV2 0.35 at about 750 images of 32x32 a second (two cores); these many image
# presentations are enough for small medical sets to level off and keep a default build within an hour at 64 pixels.
_AUTO_PRESENTATIONS = {"teacher": 60_000, "distill": 120_000, "prune": 40_000, "quantize": 20_000, "nas": 120_000}
_AUTO_SIDES = (32, 64, 96, 128)


def sized_to(recipe: Recipe, *, num_train: int, median_side: int, num_threads: int) -> Recipe:
    """Fill in what the recipe leaves to the data.

    Image size: the smallest of 32, 64, 96, 128 that is at least 0.75 of the median image side. Epochs: enough that
    each stage shows a fixed number of images, at least 5 and at most 100 epochs. Batch size: no larger than leaves
    eight steps an epoch.

    Args:
        num_train: training images.
        median_side: median over the images of the shorter side, in pixels.
        num_threads: threads to use where the recipe says 0.

    Raises:
        RecipeError: more rounds of channel pruning than the epochs are enough for.
    """
    side = next((side for side in _AUTO_SIDES if side >= 0.75 * median_side), _AUTO_SIDES[-1])
    data = dataclasses.replace(recipe.data, image_size=recipe.data.image_size or side)

    def sized(training: Training, stage: str) -> Training:
        return sized_training(training, stage, num_train)

    def sized_teacher(teacher: Teacher) -> Teacher:
        members = {name: sized_teacher(member) for name, member in teacher.members.items()}
        return dataclasses.replace(teacher, training=sized(teacher.training, "teacher"), members=members)

    prune = dataclasses.replace(recipe.prune, training=sized(recipe.prune.training, "prune"))
    if prune.method == "channel" and 1 < prune.rounds >= prune.training.epochs:
        raise RecipeError(
            f"prune.rounds = {prune.rounds}: below prune.training.epochs, {prune.training.epochs}, so that each round "
            "has an epoch and the last has more"
        )
    quantize = recipe.quantize
    if quantize.method == "qat":
        quantize = dataclasses.replace(quantize, training=sized(quantize.training, "quantize"))
    return dataclasses.replace(
        recipe,
        num_threads=recipe.num_threads or num_threads,
        data=data,
        teacher=sized_teacher(recipe.teacher),
        distill=dataclasses.replace(recipe.distill, training=sized(recipe.distill.training, "distill")),
        prune=prune,
        quantize=quantize,
    )


def sized_training(training: Training, stage: str, num_train: int) -> Training:
    """One training with its epochs and batch size filled in, as :func:`sized_to` says; ``stage`` may be ``nas`` too."""
    epochs = training.epochs or min(100, max(5, round(_AUTO_PRESENTATIONS[stage] / num_train)))
    return dataclasses.replace(training, epochs=epochs, batch_size=max(1, min(training.batch_size, num_train // 8)))


def set_key(table: dict[str, Any], dotted: str, value: Any) -> None:
    """Put a value at a dotted key; tables on the way are made. Raises RecipeError where one of them is a value."""
    *parents, last = dotted.split(".")
    for name in parents:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(f'unknown key "{dotted}": "{name}" is a value and holds no keys')
        table = inner
    table[last] = value


def _with_inheritance(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the members of an ensemble what they leave out; what is no table is left to the reader to refuse."""
    teacher = table.get("teacher")
    if not isinstance(teacher, Mapping) or not isinstance(teacher.get("members"), Mapping):
        return table
    shared = {key: value for key, value in teacher.items() if key not in ("model", "copies", "members", "seed", "file")}
    members = {
        # A file is taken as it is: what is said of networks is not meant for it.
        name: member
        if isinstance(member, Mapping) and is_teacher_file(member.get("model"))
        else _filled(member, shared)
        for name, member in teacher["members"].items()
    }
    return {**table, "teacher": {**teacher, "members": members}}


def _filled(own: Any, shared: Any) -> Any:
    if not isinstance(own, Mapping) or not isinstance(shared, Mapping):
        return own
    return {**shared, **{key: _filled(value, shared.get(key)) for key, value in own.items()}}


def _check_across(recipe: Recipe) -> None:
    """Rules that concern more than one key, or what a key means outside of the recipe."""
    if recipe.name != Path(recipe.name).name or recipe.name in (".", ".."):
        raise RecipeError(f'name = "{recipe.name}": names the run folder, so that it may not lead to another one')
    if not recipe.data.name and not recipe.data.path:
        raise RecipeError('data.name = "": name a data set (data.name), or give --data PATH')
    check_blocks(recipe.distill.blocks)
    check_distill(recipe.distill)
    check_nas(recipe.nas)
    check_prune(recipe.prune)
    for name in ("sparsities", "channel_fractions"):
        if not getattr(recipe.sensitivity, name):
            raise RecipeError(f"sensitivity.{name} = []: at least one fraction is wanted")
    if recipe.prune.analysis == "weights" and recipe.prune.final_sparsity > max(recipe.sensitivity.sparsities):
        raise RecipeError(
            f"prune.final_sparsity = {recipe.prune.final_sparsity}: no layer is pruned further than was tried, "
            f"{max(recipe.sensitivity.sparsities)}; lower it, or add a higher one to sensitivity.sparsities"
        )
    if "int8" not in recipe.quantize.variants:
        raise RecipeError("quantize.variants: int8 is the shipped model and cannot be left out")
    if recipe.bundle.onnx and "int8_io" not in recipe.quantize.variants:
        raise RecipeError("bundle.onnx = true is made from the variant int8_io; add it to quantize.variants")
    if "fp32" not in recipe.quantize.variants:
        for key, wanted in (
            ("gates.max_accuracy_drop_pp", recipe.gates.max_accuracy_drop_pp is not None),
            ("budget.max_accuracy_drop_pp", recipe.budget.max_accuracy_drop_pp is not None),
            ("distill.train_alone", recipe.distill.train_alone),
        ):
            if wanted:
                raise RecipeError(f"{key} compares with the student in fp32; add fp32 to quantize.variants")
    if len(set(recipe.quantize.variants)) < len(recipe.quantize.variants):
        raise RecipeError(f"quantize.variants = {list(recipe.quantize.variants)}: each at most once")
    check_quantize(recipe.quantize)
    check_search(recipe.search, recipe.budget)
    check_price(recipe.benchmark)
    if recipe.quantize.float_layers and recipe.quantize.mixed != "none":
        raise RecipeError(
            f'quantize.mixed = "{recipe.quantize.mixed}" chooses the layers that quantize.float_layers names; '
            "set one of the two"
        )
    if recipe.data.val_fraction + recipe.data.test_fraction >= 0.8:
        raise RecipeError("data.val_fraction + data.test_fraction: below 0.8, so that something is left to train on")
    if 0 < recipe.data.image_size < 16:
        raise RecipeError(f"data.image_size = {recipe.data.image_size}: at least 16, or 0 (chosen from the data)")
