"""The chains that are tried to keep a budget, as data, and the way down them. The recipe as written comes first; then:

==============================  ====================================================================================
what falls short                what is tried next, until one candidate holds
==============================  ====================================================================================
accuracy, a recall              QAT, mixed precision; then half the pruning, then none, each with INT8 and these
bytes, milliseconds, memory     more channels removed, until these hold; then QAT, mixed precision
operators                       nothing: no rung takes an operator out of a network
==============================  ====================================================================================

A chain that costs too much is not tried with less pruning, nor one that is not accurate enough with more. Limits are
those of the recipe's budget and those of the profile of its target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekd import recipe, target
from edgekd.errors import RecipeError
from edgekd.limits import REFUSED, shortfall
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.report_format import plain

Change = Callable[[Recipe], Mapping[str, Mapping[str, Any]]]
"""From the recipe as written to the keys that a rung sets, by table."""

AS_WRITTEN = "as_written"
COSTS = ("max_tflite_bytes", "max_p50_ms", "max_memory_bytes", "max_arena_bytes")


def _less_pruning(share: float) -> Change:
    def change(recipe_: Recipe) -> Mapping[str, Mapping[str, Any]]:
        prune = recipe_.prune
        if prune.method == "channel":
            ratios = {name: share * ratio for name, ratio in prune.layer_channel_ratios.items()}
            return {"prune": {"keep_macs": 1 - share * (1 - prune.keep_macs), "layer_channel_ratios": ratios}}
        if prune.method == "weight" and prune.pattern == "unstructured":
            final = share * prune.final_sparsity
            layers = {name: share * sparsity for name, sparsity in prune.layer_sparsities.items()}
            start = min(prune.initial_sparsity, final)
            return {"prune": {"final_sparsity": final, "initial_sparsity": start, "layer_sparsities": layers}}
        return {}

    return change


def _fewer_channels(share: float) -> Change:
    def change(recipe_: Recipe) -> Mapping[str, Mapping[str, Any]]:
        kept = recipe_.prune.keep_macs if recipe_.prune.method == "channel" else 1.0
        return {"prune": {"method": "channel", "keep_macs": share * kept}}

    return change


QUANTIZATION: Mapping[str, Change] = {
    # What is meant for a calibration after training is no part of QAT.
    "qat": lambda recipe_: {
        "quantize": {
            **{"method": "qat", "mixed": "none", "calibration": "min_max"},
            **{"float_layers": [], "reestimate_batchnorm": False},
        }
    },
    "mixed": lambda recipe_: {"quantize": {"method": "ptq", "mixed": "auto"}},
}
LESS_PRUNING: Mapping[str, Change] = {
    "half_pruning": _less_pruning(0.5),
    "no_pruning": lambda recipe_: {"prune": {"method": "none"}},
}
MORE_PRUNING: Mapping[str, Change] = {
    "macs_75": _fewer_channels(0.75),
    "macs_50": _fewer_channels(0.5),
    "macs_25": _fewer_channels(0.25),
}
"""The rungs, the cheapest first; one that would change nothing of a recipe is left out."""


@dataclass(frozen=True)
class Candidate:
    """A recipe to be tried.

    Attributes:
        id: the rungs that it stands on, or ``as_written``.
        recipe: validated.
        changes: what it sets otherwise than the recipe as written, by dotted key.
    """

    id: str
    recipe: Recipe
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """What became of a candidate.

    Attributes:
        candidate: what was tried.
        measured: figures on val, bytes and milliseconds; empty where it could not be made.
        limits: rows of :mod:`edgekd.limits`, of the budget and of the target.
        problem: why it could not be made, or nothing.
        model: id of the model that would be shipped.
    """

    candidate: Candidate
    measured: Mapping[str, Any]
    limits: Sequence[Mapping[str, Any]]
    problem: str = ""
    model: str = "student_int8"

    @property
    def missed(self) -> list[Mapping[str, Any]]:
        """The limits that fall short."""
        return [row for row in self.limits if not row["held"]]

    @property
    def held(self) -> bool:
        """Whether every limit is kept."""
        return not self.problem and not self.missed

    @property
    def costs_too_much(self) -> bool:
        """Whether bytes, milliseconds or memory fall short, which only a smaller network mends."""
        return any(row["id"] in COSTS for row in self.missed)

    @property
    def cannot_be_mended(self) -> bool:
        """Whether the target does not take an operator, which no rung changes."""
        return any(row["id"] == REFUSED for row in self.missed)

    @property
    def reason(self) -> str:
        """Why it is not shipped."""
        if self.problem:
            return f"could not be made: {self.problem}"
        return "; ".join(f"{row['id']}: {plain(row['measured'])} against {plain(row['limit'])}" for row in self.missed)


def is_limited(recipe_: Recipe) -> bool:
    """Whether there are limits that a chain is chosen by: a budget, or those of the target's profile."""
    return recipe_.budget.is_set or target.load(recipe_.benchmark.target).limited


def search(recipe_: Recipe, judge: Callable[[Candidate], Trial]) -> list[Trial]:
    """Go down the ladder until a candidate holds.

    Args:
        recipe_: as written.
        judge: makes and measures a candidate.

    Returns:
        Every trial, in order; the last holds, or none does.
    """
    trials: list[Trial] = []

    def holds(*names: str) -> bool:
        try:
            made = candidate(recipe_, names)
        except RecipeError as error:
            refused = Candidate(_id(names), recipe_, changes(recipe_, names))
            trials.append(Trial(refused, {}, (), str(error)))
        else:
            trials.append(judge(made))
        return trials[-1].held

    if holds() or trials[0].cannot_be_mended:
        return trials
    shrink = trials[0].costs_too_much
    for pruning in ([], *([name] for name in applicable(recipe_, MORE_PRUNING if shrink else LESS_PRUNING))):
        if pruning and holds(*pruning):
            break
        if trials[-1].problem:
            continue
        if trials[-1].costs_too_much:
            if shrink:
                continue
            break  # what prunes less costs more still
        if any(holds(*pruning, name) for name in applicable(recipe_, QUANTIZATION)) or shrink:
            break
    return trials


def candidate(recipe_: Recipe, names: Sequence[str]) -> Candidate:
    """The recipe with what the named rungs change.

    Raises:
        RecipeError: the change makes no sense for this recipe.
    """
    table, made = to_table(recipe_), changes(recipe_, names)
    for key, value in made.items():
        name, _, item = key.partition(".")
        table[name][item] = value
    return Candidate(_id(names), recipe.from_table(table), made)


def changes(recipe_: Recipe, names: Iterable[str]) -> dict[str, Any]:
    """What the named rungs set otherwise than the recipe as written, by dotted key."""
    rungs = {**QUANTIZATION, **LESS_PRUNING, **MORE_PRUNING}
    table = to_table(recipe_)
    return {
        f"{key}.{item}": value
        for name in names
        for key, settings in rungs[name](recipe_).items()
        for item, value in settings.items()
        if table[key].get(item) != value
    }


def applicable(recipe_: Recipe, rungs: Iterable[str]) -> list[str]:
    """Those of the rungs that change something of the recipe."""
    return [name for name in rungs if changes(recipe_, [name])]


def _id(names: Iterable[str]) -> str:
    return "+".join(names) or AS_WRITTEN


def nearest(trials: Sequence[Trial]) -> Trial:
    """The one that holds; else the one that misses the fewest limits, and of these by the smallest share of a limit."""

    def distance(trial: Trial) -> tuple[int, float]:
        shares = [shortfall(row) for row in trial.missed]
        return len(shares), max(shares, default=0.0)

    return min((trial for trial in trials if not trial.problem), key=distance)
