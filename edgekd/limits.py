"""Limits, and whether what was measured keeps them: those of gates, and those of a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekd.config.budget import Budget
from edgekd.tasks import Task

Figures = Mapping[str, Any]

REFUSED = "max_refused_operators"


def limit(id: str, limit: float, measured: float, *, at_most: bool) -> dict[str, Any]:
    """``{"id", "limit", "measured", "held"}``; a limit that is just met holds."""
    return {"id": id, "limit": limit, "measured": measured, "held": measured <= limit if at_most else measured >= limit}


def shortfall(row: Figures) -> float:
    """By how much a limit is missed, as a share of it."""
    return abs(float(row["measured"]) - float(row["limit"])) / (float(row["limit"]) or 1.0)


def recalls(limits: Mapping[str, float], figures: Figures) -> list[dict[str, Any]]:
    """Least recalls, by class name, against the figures of a model on a split."""
    found = {row["name"]: row["recall"] for row in figures["per_class"]}
    return [limit(f'min_recall."{name}"', least, found[name], at_most=False) for name, least in limits.items()]


def accuracy_drop_pp(before: Figures, after: Figures, task: Task) -> float:
    """Fall of the accuracy between two models on the same split, in percentage points; a gain is negative.

    Of whole counts: a difference of two rounded shares may stand a hair above the limit that it meets.
    """
    answers = after["n"] * (len(after["per_class"]) if task.several else 1)
    right = [round(figures[task.accuracy] * answers) for figures in (before, after)]
    return float(100 * (right[0] - right[1]) / answers)


def of_report(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every limit of a report: its gates, those of its budget, of its target and of its forms for a server."""
    others = (report.get(name) or {"limits": []} for name in ("budget", "target", "serving"))
    return [*report["gates"], *(row for other in others for row in other["limits"])]


def of_budget(
    budget: Budget, *, tflite_bytes: int, p50_ms: float | None, before: Figures | None, after: Figures, task: Task
) -> list[dict[str, Any]]:
    """Every limit of a budget against what was measured.

    Args:
        budget: the limits.
        tflite_bytes: size of the shipped file.
        p50_ms: its median latency; needed where the budget limits it.
        before: figures on val of the distilled student in fp32; needed where the budget limits the fall from there.
        after: figures on val of the shipped model.
        task: what the labels mean.
    """
    rows = []
    if budget.max_tflite_bytes is not None:
        rows.append(limit("max_tflite_bytes", budget.max_tflite_bytes, tflite_bytes, at_most=True))
    if budget.max_p50_ms is not None:
        assert p50_ms is not None
        rows.append(limit("max_p50_ms", budget.max_p50_ms, p50_ms, at_most=True))
    if budget.max_accuracy_drop_pp is not None:
        assert before is not None
        drop = accuracy_drop_pp(before, after, task)
        rows.append(limit("max_accuracy_drop_pp", budget.max_accuracy_drop_pp, drop, at_most=True))
    return rows + recalls(budget.min_recall, after)
