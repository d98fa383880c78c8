"""Limits: what holds, what is just met, and which figure each is about."""

from __future__ import annotations

from typing import Any

import pytest

from edgekd import limits
from edgekd.config.budget import Budget
from edgekd.tasks import TASKS

BINARY, SEVERAL = TASKS["binary"], TASKS["multi-label"]


def figures(right: int, n: int = 100, recalls: tuple[float, float] = (0.75, 0.5)) -> dict[str, Any]:
    classes = [{"name": name, "recall": recall} for name, recall in zip(("off", "on"), recalls, strict=True)]
    return {"top1": right / n, "label_accuracy": right / (2 * n), "n": n, "per_class": classes}


def test_every_limit_has_its_row() -> None:
    budget = Budget(max_tflite_bytes=500, max_p50_ms=0.5, max_accuracy_drop_pp=1.0, min_recall={"on": 0.6, "off": 0.75})
    rows = limits.of_budget(budget, tflite_bytes=501, p50_ms=0.5, before=figures(95), after=figures(94), task=BINARY)
    assert rows == [
        {"id": "max_tflite_bytes", "limit": 500, "measured": 501, "held": False},
        {"id": "max_p50_ms", "limit": 0.5, "measured": 0.5, "held": True},
        # 95 against 94 of 100: in floating point the difference of the shares is a hair above 0.01.
        {"id": "max_accuracy_drop_pp", "limit": 1.0, "measured": 1.0, "held": True},
        {"id": 'min_recall."on"', "limit": 0.6, "measured": 0.5, "held": False},
        {"id": 'min_recall."off"', "limit": 0.75, "measured": 0.75, "held": True},
    ]


def test_what_is_not_limited_has_no_row() -> None:
    found = limits.of_budget(Budget(), tflite_bytes=1, p50_ms=None, before=None, after=figures(1), task=BINARY)
    assert found == []
    assert not Budget().is_set
    assert Budget(max_p50_ms=1.0).is_set
    assert Budget(min_recall={"on": 0.5}).is_set


@pytest.mark.parametrize(("before", "after", "drop"), [(97, 94, 3.0), (94, 97, -3.0), (94, 94, 0.0)])
def test_a_fall_is_in_points(before: int, after: int, drop: float) -> None:
    assert limits.accuracy_drop_pp(figures(before), figures(after), BINARY) == drop
    # Of 100 images with two labels each, three answers of 200.
    assert limits.accuracy_drop_pp(figures(before), figures(after), SEVERAL) == drop / 2


def test_a_report_has_those_of_its_gates_and_its_budget() -> None:
    gate, limit = {"id": "min_auc", "held": True}, {"id": "max_p50_ms", "held": False}
    assert limits.of_report({"gates": [gate]}) == [gate]
    assert limits.of_report({"gates": [gate], "budget": None}) == [gate]
    assert limits.of_report({"gates": [gate], "budget": {"limits": [limit]}}) == [gate, limit]
    assert limits.of_report({"gates": [gate], "budget": None, "target": {"limits": [limit]}}) == [gate, limit]
