"""Settings of ``edgekd compress``: the keys of a recipe that mean something where nothing is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd import recipe, target
from edgekd.errors import ModelError, RecipeError, did_you_mean
from edgekd.models import check_file
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.stages.cut_channels import CRITERIA
from edgekd.stages.make_up import NAME as MADE_UP

SUFFIXES = (".h5", ".hdf5", ".keras")
KEYS = (
    *("teacher.file.channels", "teacher.file.range", "teacher.file.mean", "teacher.file.std"),
    *("prune.keep_macs", "prune.criterion", "prune.channel_multiple", "prune.protected_layers"),
    *(
        "quantize.variants",
        "quantize.calibration",
        "quantize.calibration_percentile",
        "quantize.mixed",
        "quantize.float_layers",
    ),
    *("benchmark.target", "benchmark.num_processes", "benchmark.num_runs", "benchmark.warmup_runs"),
    *("data.name", "data.path", "data.task", "data.image_size", "data.resize", "data.num_calibration_samples"),
    *("data.val_fraction", "data.test_fraction", "data.split_seed", "data.skip_unreadable", "seed"),
    *("data.max_duplicates", "data.deduplicate"),
)
"""Keys of a recipe that mean something where nothing is trained; ``teacher.file`` describes the network's input."""


def load(model: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The settings for a model: a recipe of which :data:`KEYS` count.

    Args:
        model: path of a Keras model, ``.h5`` or ``.keras``.
        overrides: dotted keys and their values. Without data the images are made up.

    Raises:
        ModelError: no such file, or of no known kind.
        RecipeError: a key that is not among ``KEYS``, or a value that is not allowed.
    """
    path = Path(model)
    if not path.is_file() or path.suffix not in SUFFIXES:
        problem = "no such file" if not path.exists() else "not a Keras model"
        raise ModelError(f'"{model}": {problem}; a Keras model is wanted, of Keras 2 or 3 ({", ".join(SUFFIXES)})')
    table: dict[str, Any] = {
        "name": path.stem,
        "data": {"name": MADE_UP},
        "teacher": {"model": str(path.absolute()), "file": {"range": []}},
        "prune": {"method": "channel", "criterion": "l1"},
        "quantize": {"variants": ["fp32", "int8"], "fit_temperature": False},
    }
    if any(key in ("data.name", "data.path") for key in overrides or {}):
        table["data"] = {}
    for key, value in (overrides or {}).items():
        if key not in KEYS:
            raise RecipeError(f'"{key}" says nothing where no network is trained{did_you_mean(key, KEYS)}')
        recipe.set_key(table, key, value)
    loaded = recipe.from_table(table)
    _check(loaded)
    return loaded


def used(recipe_: Recipe) -> dict[str, Any]:
    """Values of :data:`KEYS`, those that are set."""
    table = to_table(recipe_)
    return {key: value for key in KEYS if (value := _at(table, key)) is not None}


def _check(loaded: Recipe) -> None:
    """Raise where a setting asks for training."""
    file = loaded.teacher.file
    given = dataclasses.replace(file, range=file.range or (0.0, 1.0))  # the network may say it itself
    check_file(dataclasses.replace(loaded.teacher, file=given), "teacher")
    target.timed(loaded.benchmark.target)
    if loaded.prune.criterion not in CRITERIA:
        raise RecipeError(
            f'prune.criterion = "{loaded.prune.criterion}" needs labelled images and a loss; allowed here: '
            f"{', '.join(CRITERIA)}"
        )
    if "fp32" not in loaded.quantize.variants:
        raise RecipeError("quantize.variants: fp32 is what the others are compared with, and cannot be left out")


def _at(table: Mapping[str, Any], dotted: str) -> Any:
    value: Any = table
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
