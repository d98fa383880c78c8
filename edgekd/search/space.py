"""The space of a search as data: recipe keys, what each may be, and the recipe that a draw makes."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from edgekd import preflight, recipe, target
from edgekd.config.search import Dimension
from edgekd.errors import RecipeError, UserError, did_you_mean
from edgekd.options import field_types, to_table
from edgekd.recipe import Recipe

# What a search decides itself, or what would make its trials another task.
RATIOS = "prune.layer_channel_ratios."
FIXED_TABLES = ("search", "data", "name", "verify", "gates", "budget", "benchmark", "bundle")


def check(recipe_: Recipe) -> None:
    """Raise RecipeError unless every dimension names a key and each of its ends is allowed there by itself.

    So too where the target has no latency on this machine, which every trial is measured by.
    """
    target.timed(recipe_.benchmark.target)
    if not recipe_.search.space:
        raise RecipeError(
            'search.space is empty: name what may vary, for example [search.space."distill.width_multiplier"] with '
            "low = 0.1, high = 0.5, step = 0.05"
        )
    for key, dimension in recipe_.search.space.items():
        where = f'search.space."{key}"'
        table = key.partition(".")[0]
        if table in FIXED_TABLES and key != "data.image_size":
            raise RecipeError(f"{where}: {table} is the same for all trials, or they could not be compared")
        kind = kind_of(key)
        for value in dimension.choices or ends(dimension, kind):
            try:
                preflight.check_names(changed(recipe_, {key: value}))
            except UserError as error:
                raise RecipeError(f"{where}: {error}") from None
    _check_ratios(recipe_)


def _check_ratios(recipe_: Recipe) -> None:
    """Raise RecipeError where ratios of channels name what a student has not, or cannot be reached at their highest."""
    from edgekd.stages import prune_channels

    space, prune = recipe_.search.space, recipe_.prune
    highest = {
        key.removeprefix(RATIOS): max(dimension.choices or ends(dimension, float))
        for key, dimension in space.items()
        if key.startswith(RATIOS)
    }
    if not highest:
        return
    if "channel" not in (prune.method, *choices_of(space, "prune.method")):
        raise RecipeError(
            f'search.space."{RATIOS}{next(iter(highest))}": prune.method = "{prune.method}" removes no channels; set '
            'prune.method = "channel"'
        )
    ratios = {**prune.layer_channel_ratios, **highest}
    for name in choices_of(space, "distill.student") or [recipe_.distill.student]:
        changes = {"distill.student": name, "prune.method": "channel", "prune.layer_channel_ratios": ratios}
        tried = changed(recipe_, changes)
        try:
            prune_channels.check(preflight.untrained(tried), tried.prune)
        except UserError as error:
            raise RecipeError(f"search.space, ratios of channels of the student {name}: {error}") from None


def choices_of(space: Mapping[str, Dimension], key: str) -> tuple[Any, ...]:
    """What a key may be in the space; nothing where it is not in it, or a range."""
    return space[key].choices if key in space else ()


def kind_of(key: str) -> Any:
    """The type of a recipe key.

    A position in a list is its last part (``distill.blocks.depths.0``); or, in a list of names, a name: then it is
    whether the list has it (``quantize.float_layers.LAYER``).

    Raises:
        RecipeError: no such key.
    """
    kind: Any = Recipe
    for part in key.split("."):
        origin = typing.get_origin(kind)
        if origin is types.UnionType:
            kind = next(item for item in typing.get_args(kind) if item is not types.NoneType)
            origin = typing.get_origin(kind)
        if dataclasses.is_dataclass(kind):
            known = field_types(cast(Any, kind))
            if part not in known:
                raise RecipeError(f'search.space."{key}": unknown key "{part}"{did_you_mean(part, known)}')
            kind = known[part]
        elif origin is tuple and part.isdigit():
            kind = typing.get_args(kind)[0]
        elif origin is tuple and typing.get_args(kind)[0] is str:
            kind = bool
        elif origin is not None and origin is not tuple and issubclass(origin, Mapping):
            kind = typing.get_args(kind)[1]
        else:
            raise RecipeError(f'search.space."{key}": nothing can stand at "{part}"')
    return kind


def ends(dimension: Dimension, kind: Any) -> tuple[float, float]:
    """The two ends of a range, in the type of its key."""
    assert dimension.low is not None
    assert dimension.high is not None
    return (int(dimension.low), int(dimension.high)) if _whole(kind) else (dimension.low, dimension.high)


def suggest(trial: Any, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Draw a value for each key from an Optuna trial."""
    drawn: dict[str, Any] = {}
    for key, dimension in space.items():
        if dimension.choices:
            drawn[key] = trial.suggest_categorical(key, list(dimension.choices))
            continue
        kind = kind_of(key)
        low, high = ends(dimension, kind)
        if _whole(kind):
            drawn[key] = trial.suggest_int(key, low, high, step=int(dimension.step or 1), log=dimension.log)
        else:
            drawn[key] = round(trial.suggest_float(key, low, high, step=dimension.step, log=dimension.log), 10)
    return drawn


def grid(space: Mapping[str, Dimension]) -> dict[str, list[Any]]:
    """Every value of each key.

    Raises:
        RecipeError: a range of numbers without a step.
    """
    points: dict[str, list[Any]] = {}
    for key, dimension in space.items():
        if dimension.choices:
            points[key] = list(dimension.choices)
            continue
        kind = kind_of(key)
        step = dimension.step or (1 if _whole(kind) else None)
        if step is None:
            raise RecipeError(f'search.space."{key}": the sampler grid needs choices, or a step')
        low, high = ends(dimension, kind)
        count = int((high - low) / step + 1e-9) + 1
        points[key] = [int(low + index * step) if _whole(kind) else float(low + index * step) for index in range(count)]
    return points


def size(space: Mapping[str, Dimension]) -> int | None:
    """How many candidates there are; None for a continuum."""
    try:
        return int(np.prod([len(values) for values in grid(space).values()], dtype=object))
    except RecipeError:
        return None


def changed(recipe_: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with some keys set, without its search.

    Raises:
        RecipeError: they make no sense together.
    """
    table = to_table(dataclasses.replace(recipe_, search=type(recipe_.search)()))
    for key, value in changes.items():
        parents, _, last = key.rpartition(".")
        row = _list_at(table, parents)
        if row is None:
            recipe.set_key(table, key, value)
        elif not last.isdigit():
            _put(row, last, value, key)
        elif int(last) < len(row):
            row[int(last)] = value
        else:
            raise RecipeError(f'"{key}": the list at "{parents}" has {len(row)} places')
    return recipe.from_table(table)


def _list_at(table: Any, dotted: str) -> list[Any] | None:
    for part in dotted.split("."):
        table = table.get(part) if isinstance(table, dict) else None
    return table if isinstance(table, list) else None


def _put(names: list[Any], name: str, there: Any, key: str) -> None:
    if not isinstance(there, bool):
        raise RecipeError(f'"{key}" = {there}: true or false, whether the list has "{name}"; give choices')
    if there and name not in names:
        names.append(name)
    elif not there and name in names:
        names.remove(name)


def _whole(kind: Any) -> bool:
    if typing.get_origin(kind) is types.UnionType:
        return int in typing.get_args(kind)
    return kind is int
