"""What the report says of a budget: the headline, every chain that was tried, and the limits by its own figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd import limits
from edgekd.claims import DISTILLED, FLOAT
from edgekd.config.budget import Budget
from edgekd.tasks import Task

Document = Mapping[str, Any]


def headline(document: Document) -> tuple[str, bool]:
    """What became of the limits of a report, and whether all held."""
    if not all(gate["held"] for gate in document["gates"]):
        return "a gate fell short", False
    if not all(row["held"] for row in (document.get("budget") or {"limits": []})["limits"]):
        return "the budget is not kept", False
    if not all(row["held"] for row in limits.of_report(document)):
        return "the target's limits are not kept", False
    return "every gate held", True


def trials(document: Document) -> list[Mapping[str, Any]]:
    """What was tried to keep the budget, in that order."""
    tried = [row for row in document["candidates"] if "candidate" in row]
    if shipped := document.get("budget"):
        tried.insert(shipped["place"], shipped)
    return tried


def shipped(budget: Budget, rows: Sequence[Document], tried: Document, task: Task) -> dict[str, Any]:
    """The candidate that is shipped, and its limits by the figures of the report: its time was taken anew.

    Args:
        budget: the limits.
        rows: ``models`` of the report.
        tried: the candidate, as it was judged.
        task: what the labels mean.
    """
    models = {row["id"]: row for row in rows}
    model = next(row for row in rows if row["shipped"])
    found = limits.of_budget(
        budget,
        tflite_bytes=model["tflite_bytes"],
        p50_ms=model["latency"][0]["p50_ms"] if model["latency"] else None,
        before=next((models[id]["val"] for id in (DISTILLED, FLOAT) if id in models), None),
        after=model["val"],
        task=task,
    )
    return {**tried, "limits": found, "limits_when_tried": tried["limits"]}
