"""Search: what may vary, what is wanted, and how candidates are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekd.errors import RecipeError
from edgekd.options import option

ACCURACIES = ("auc", "accuracy")
COSTS = ("tflite_bytes", "gzip_bytes", "p50_ms")


@dataclass(frozen=True)
class Dimension:
    """What one recipe key may be: one of some values, or a number of a range."""

    choices: tuple[Any, ...] = option((), "values to choose among: texts, numbers, true and false")
    low: float | None = option(None, "smallest value of a range")
    high: float | None = option(None, "largest value of a range")
    step: float | None = option(None, "distance between two values of a range; whole numbers have 1", above=0)
    log: bool = option(False, "draw from a range evenly in its logarithm; not with step")


@dataclass(frozen=True)
class Search:
    """``edgekd search``: recipe keys that may vary, and how the search goes about it."""

    sampler: str = option(
        "tpe",
        "tpe: tree-structured Parzen estimator (Bergstra et al. 2011); nsga2: evolution by NSGA-II (Deb et al. 2002); "
        "random and grid: the controls",
        choices=("tpe", "nsga2", "random", "grid"),
    )
    objectives: tuple[str, ...] = option(
        ("auc", "tflite_bytes", "p50_ms"),
        "what is wanted of the shipped model: accuracy or auc on val, the higher the better; tflite_bytes, gzip_bytes "
        "and p50_ms on benchmark.target, the lower the better",
        choices=(*ACCURACIES, *COSTS),
    )
    early_stopping: str = option(
        "none",
        "end a trial whose val AUC while the student trains is below that of others at the same epoch: median, or "
        "hyperband (Li et al. 2018); with one objective only, an accuracy",
        choices=("none", "median", "hyperband"),
    )
    num_startup_trials: int = option(8, "trials drawn at random before the sampler learns from them", minimum=1)
    space: Mapping[str, Dimension] = field(
        default_factory=dict, metadata={"doc": "what may vary: a table for each dotted recipe key"}
    )


def check_search(search: Search) -> None:
    """Raise RecipeError where objectives, early stopping or a dimension contradict themselves."""
    if len(set(search.objectives)) < len(search.objectives) or not search.objectives:
        raise RecipeError(f"search.objectives = {list(search.objectives)}: at least one, each at most once")
    if not set(search.objectives) & set(ACCURACIES):
        raise RecipeError(
            f"search.objectives = {list(search.objectives)}: without auc or accuracy the smallest model wins, "
            "whatever it answers; add one of them"
        )
    if search.early_stopping != "none" and len(search.objectives) > 1:
        raise RecipeError(
            f'search.early_stopping = "{search.early_stopping}" needs one objective, to say which trial is behind; '
            f'search.objectives has {len(search.objectives)}: take ["auc"] and put what it may cost into [budget]'
        )
    for key, dimension in search.space.items():
        name = f'search.space."{key}"'
        numbers = (dimension.low, dimension.high)
        if bool(dimension.choices) == any(number is not None for number in numbers):
            raise RecipeError(f"{name}: either choices, or low and high")
        if dimension.choices:
            if dimension.step is not None or dimension.log:
                raise RecipeError(f"{name}: step and log belong to a range of low and high")
            plain = all(isinstance(value, (str, int, float, bool)) for value in dimension.choices)
            if not plain or len(set(dimension.choices)) < len(dimension.choices):
                raise RecipeError(f"{name}.choices: texts, numbers, true and false, each at most once")
            continue
        low, high = numbers
        if low is None or high is None or low > high:
            raise RecipeError(f"{name}: low and high, and low at most high; found {low} and {high}")
        if dimension.log and (low <= 0 or dimension.step is not None):
            raise RecipeError(f"{name}: log needs low above 0, and no step")
