"""The ladder, decided by made-up measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from edgekd import ladder, recipe
from edgekd.ladder import Candidate, Trial, candidate, nearest, search
from edgekd.recipe import Recipe

BYTES, DROP = "max_tflite_bytes", "max_accuracy_drop_pp"


def written(**changes: Any) -> Recipe:
    return recipe.load("quickstart", {"prune.method": "channel", **changes})


def trial(made: Candidate, measured: Mapping[str, float], limits: Mapping[str, float]) -> Trial:
    rows = [
        {"id": id, "limit": limit, "measured": measured[id], "held": measured[id] <= limit}
        for id, limit in limits.items()
    ]
    return Trial(made, measured, rows)


class Judge:
    """Measures by the id of a candidate; what is not named cannot be made."""

    def __init__(self, figures: Mapping[str, tuple[float, float]], max_bytes: float = 100, max_drop: float = 1):
        self.figures, self.limits = figures, {BYTES: max_bytes, DROP: max_drop}

    def __call__(self, made: Candidate) -> Trial:
        if made.id not in self.figures:
            return Trial(made, {}, (), "no such thing")
        return trial(made, dict(zip((BYTES, DROP), self.figures[made.id], strict=True)), self.limits)


def ids(trials: list[Trial]) -> list[str]:
    return [trial.candidate.id for trial in trials]


@pytest.fixture
def two_quantizations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two made-up rungs in the place of those of quantization."""
    rungs = {
        "first": lambda recipe_: {"quantize": {"fit_temperature": False}},
        "second": lambda recipe_: {"quantize": {"variants": ["fp32", "int8"]}},
    }
    monkeypatch.setattr(ladder, "QUANTIZATION", rungs)


def test_a_budget_that_holds_at_once_tries_one_candidate() -> None:
    (only,) = search(written(), Judge({"as_written": (100, 1)}))
    assert (only.candidate.id, only.held, dict(only.candidate.changes)) == ("as_written", True, {})
    assert only.candidate.recipe == written()


def test_accuracy_is_sought_in_quantization_first_and_then_in_less_pruning(two_quantizations: None) -> None:
    judge = Judge(dict.fromkeys(("as_written", "first", "second", "half_pruning", "half_pruning+first"), (50, 2)))
    judge.figures["half_pruning+second"] = (60, 1)
    trials = search(written(**{"prune.keep_macs": 0.5}), judge)
    assert ids(trials) == [
        *("as_written", "first", "second", "half_pruning", "half_pruning+first", "half_pruning+second"),
    ]
    assert trials[-1].held
    # Of the half that went, half stays: 1 - 0.5 / 2.
    assert trials[-1].candidate.changes == {"prune.keep_macs": 0.75, "quantize.variants": ["fp32", "int8"]}
    assert trials[-1].candidate.recipe.prune.keep_macs == 0.75


@pytest.mark.parametrize("limit", ["max_arena_bytes", "max_memory_bytes", "max_p50_ms"])
def test_what_the_target_has_not_room_for_is_sought_in_fewer_channels(limit: str) -> None:
    sizes = {"as_written": 101, "macs_75": 101, "macs_50": 100}
    trials = search(written(), lambda made: trial(made, {limit: sizes[made.id]}, {limit: 100}))
    assert ids(trials) == ["as_written", "macs_75", "macs_50"]
    assert trials[-1].held
    assert trials[0].reason == f"{limit}: 101 against 100"


def test_an_operator_that_the_target_does_not_take_is_mended_by_nothing() -> None:
    (only,) = search(written(), lambda made: trial(made, {"max_refused_operators": 3}, {"max_refused_operators": 0}))
    assert not only.held


def test_less_pruning_is_given_up_where_it_costs_too_much(two_quantizations: None) -> None:
    judge = Judge(dict.fromkeys(("as_written", "first", "second"), (50, 2)))
    judge.figures["half_pruning"] = (101, 1)
    trials = search(written(), judge)
    assert ids(trials) == ["as_written", "first", "second", "half_pruning"]
    assert not trials[-1].held


def test_bytes_are_sought_in_fewer_channels_alone(two_quantizations: None) -> None:
    judge = Judge({"as_written": (120, 0), "macs_75": (110, 0), "macs_50": (90, 0)})
    trials = search(written(**{"prune.method": "none"}), judge)
    assert ids(trials) == ["as_written", "macs_75", "macs_50"]
    assert trials[-1].held
    assert trials[-1].candidate.changes == {"prune.method": "channel"}  # half is what keep_macs is by default
    assert trials[1].candidate.changes == {"prune.method": "channel", "prune.keep_macs": 0.75}


def test_where_enough_channels_went_accuracy_is_sought_in_quantization(two_quantizations: None) -> None:
    judge = Judge({"as_written": (120, 0), "macs_75": (90, 3), "macs_75+first": (90, 2), "macs_75+second": (95, 1)})
    trials = search(written(), judge)
    assert ids(trials) == ["as_written", "macs_75", "macs_75+first", "macs_75+second"]
    assert trials[-1].held
    judge.figures["macs_75+second"] = (95, 2)
    assert ids(search(written(), judge)) == ids(trials)  # with still fewer channels it would be worse


def test_channels_are_fractions_of_what_the_recipe_keeps() -> None:
    kept = {
        name: candidate(written(**{"prune.keep_macs": 0.8}), [name]).recipe.prune.keep_macs
        for name in ladder.MORE_PRUNING
    }
    assert kept == pytest.approx({"macs_75": 0.6, "macs_50": 0.4, "macs_25": 0.2})


def test_what_cannot_be_made_is_passed_over() -> None:
    trials = search(written(), Judge({"as_written": (120, 0), "macs_50": (90, 0)}))
    assert ids(trials) == ["as_written", "macs_75", "macs_50"]
    assert [trial.held for trial in trials] == [False, False, True]
    assert trials[1].reason == "could not be made: no such thing"
    assert trials[0].reason == "max_tflite_bytes: 120 against 100"


def test_a_change_that_the_recipe_refuses_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "QUANTIZATION", {"wrong": lambda recipe_: {"quantize": {"variants": ["fp32"]}}})
    judge = Judge({"as_written": (90, 2), "half_pruning": (90, 1)})
    trials = search(written(), judge)
    assert ids(trials) == ["as_written", "wrong", "half_pruning"]
    assert trials[1].reason == "could not be made: quantize.variants: int8 is the shipped model and cannot be left out"
    assert trials[1].candidate.changes == {"quantize.variants": ["fp32"]}


def test_half_of_the_zeros_is_below_what_it_starts_from() -> None:
    changes = {"prune.method": "weight", "prune.final_sparsity": 0.8, "prune.initial_sparsity": 0.5}
    half = candidate(written(**changes), ["half_pruning"])
    assert half.changes == {"prune.final_sparsity": 0.4, "prune.initial_sparsity": 0.4}


def test_half_of_the_zeros_of_a_layer_too_and_none_of_a_pattern() -> None:
    changes = {"prune.method": "weight", "prune.final_sparsity": 0.8, "prune.layer_sparsities.block_1": 0.5}
    half = candidate(written(**changes), ["half_pruning"])
    assert half.recipe.prune.layer_sparsities == {"block_1": 0.25}
    # Two of four is what the pattern is.
    of_pattern = written(**{"prune.method": "weight", "prune.pattern": "2:4"})
    assert ladder.applicable(of_pattern, ladder.LESS_PRUNING) == ["no_pruning"]


def test_qat_and_mixed_precision_come_before_less_pruning() -> None:
    judge = Judge({"as_written": (50, 2), "qat": (50, 1.5), "mixed": (60, 1)})
    trials = search(written(), judge)
    assert ids(trials) == ["as_written", "qat", "mixed"]
    assert trials[1].candidate.changes == {"quantize.method": "qat"}
    assert trials[2].candidate.changes == {"quantize.mixed": "auto"}


def test_qat_and_mixed_precision_take_each_others_place() -> None:
    """QAT trains every layer as INT8 and learns its ranges, so that it refuses what is said of a calibration."""
    mixed = written(**{"quantize.mixed": "auto", "quantize.calibration": "mse"})
    made = candidate(mixed, ["qat"])
    assert made.changes == {"quantize.method": "qat", "quantize.mixed": "none", "quantize.calibration": "min_max"}
    assert made.recipe.quantize.method == "qat"
    trained = candidate(written(**{"quantize.method": "qat"}), ["mixed"])
    assert (trained.recipe.quantize.method, trained.recipe.quantize.mixed) == ("ptq", "auto")
    assert ladder.applicable(mixed, ladder.QUANTIZATION) == ["qat"]


def test_rungs_that_change_nothing_are_left_out() -> None:
    assert ladder.applicable(written(**{"prune.method": "none"}), ladder.LESS_PRUNING) == []
    assert ladder.applicable(written(), ladder.LESS_PRUNING) == ["half_pruning", "no_pruning"]


@pytest.mark.parametrize(
    ("measured", "best"),
    [
        # One limit is missed by each; by 20 %, 5 % and 10 % of it.
        ([(120, 1), (105, 1), (110, 1)], 1),
        # By 3 of 1 point against 20 of 100 bytes; then by both.
        ([(100, 4), (120, 1), (101, 1.01)], 1),
        ([(120, 1), (100, 1), (120, 1)], 1),
        ([(120, 1), (120, 1)], 0),
    ],
)
def test_the_nearest_misses_the_fewest_and_those_by_the_least(measured: list[tuple[float, float]], best: int) -> None:
    made = candidate(written(), [])
    trials = [trial(made, dict(zip((BYTES, DROP), row, strict=True)), {BYTES: 100, DROP: 1}) for row in measured]
    assert nearest([*trials, Trial(made, {}, (), "not made")]) is trials[best]


def test_a_fall_that_may_not_be_is_measured_in_points() -> None:
    made = candidate(written(), [])
    trials = [trial(made, {DROP: drop}, {DROP: 0}) for drop in (2.0, 0.5)]
    assert nearest(trials) is trials[1]
