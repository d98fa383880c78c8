"""Search: what may vary, what is wanted, and how candidates are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekd.config.budget import Budget
from edgekd.errors import RecipeError
from edgekd.options import option

ACCURACIES = ("auc", "accuracy")
POLICY_GRADIENT = "policy_gradient"
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

    controller: str = option(
        "sampler",
        "sampler: what sampler says; policy_gradient (experimental): a policy that is learned by REINFORCE (Williams "
        "1992) from the accuracy of trials that keep the budget and the shortfall of the others, as in AMC (He et al. "
        "2018)",
        choices=("sampler", POLICY_GRADIENT),
    )
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


def check_search(search: Search, budget: Budget) -> None:
    """Raise RecipeError where objectives, early stopping, controller or a dimension contradict themselves."""
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
    if search.controller == POLICY_GRADIENT:
        _check_reward(search, budget)
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


def _check_reward(search: Search, budget: Budget) -> None:
    asked = f'search.controller = "{POLICY_GRADIENT}"'
    if search.sampler == "grid":
        raise RecipeError(f'{asked} draws by what it has learned, and search.sampler = "grid" in a row; leave one out')
    costs = [name for name in search.objectives if name in COSTS]
    if costs and not budget.is_set:
        raise RecipeError(
            f"{asked} is rewarded by accuracy under the budget, which {costs[0]} is no part of: set [budget] "
            '(max_tflite_bytes, max_p50_ms), or search.objectives = ["auc"]'
        )
