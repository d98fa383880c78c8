"""What each step of the chain brought: every model from the teacher to the shipped one, against the one before it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekd.claims import ALONE, DISTILLED, FLOAT, accuracy_difference, teacher_of
from edgekd.pruning_report import UNPRUNED
from edgekd.tasks import Floats, Labels, Task

CUT, INT8, MIXED = "pruned_fp32", "student_int8", "student_mixed"

Row = Mapping[str, Any]


def chain(ids: Iterable[str]) -> list[str]:
    """Those of the models that are a step, in the order of the chain."""
    there = list(ids)
    return [id for id in (teacher_of(there), ALONE, DISTILLED, CUT, FLOAT, INT8, MIXED) if id in there]


def pairs(ids: Iterable[str]) -> list[tuple[str, str]]:
    """Each step with the one before it, and the last with the INT8 form of the student before pruning."""
    there = list(ids)
    order = chain(there)
    found = [(id, before) for before, id in itertools.pairwise(order)]
    return [*found, *([(order[-1], UNPRUNED)] if UNPRUNED in there else [])]


def accuracy_changes(probs: Mapping[str, Floats], labels: Labels, task: Task) -> list[dict[str, Any]]:
    """What each step did to the accuracy, on the same images.

    Args:
        probs: of each model, shape ``(n, K)``.
        labels: shape ``(n,)``, or ``(n, K)`` where an image may have several.
        task: what the labels mean.

    Returns:
        ``{"model", "before", "estimate", "ci95"}`` of every step but the first.
    """
    right = {id: task.decisions(probs[id]) == labels for id in chain(probs)}
    changes = []
    for before, id in itertools.pairwise(right):
        difference = accuracy_difference(right[id], right[before])
        ends = [difference.low, difference.high]
        changes.append({"model": id, "before": before, "estimate": difference.estimate, "ci95": ends})
    return changes


def steps(rows: Sequence[Row], changes: Sequence[Row], ratios: Sequence[Row], task: Task) -> list[dict[str, Any]]:
    """The waterfall of the report, figures on test; empty where the chain has one step alone.

    Args:
        rows: ``models`` of the report.
        changes: of :func:`accuracy_changes`.
        ratios: of latencies, ``{"model", "baseline", "ratio", "ci95"}``, paired in the benchmark.
        task: what the labels mean.

    Returns:
        ``{"step", "model", "accuracy", "auc", "tflite_bytes", "gzip_bytes", "p50_ms", "change"}`` each. Ratios in
        ``change`` are this step's figure over that of the step before; it is None for the first.
    """
    models = {row["id"]: row for row in rows}
    order = chain(models)
    if len(order) < 2:
        return []
    of_accuracy = {(row["model"], row["before"]): row for row in changes}
    of_latency = {(row["model"], row["baseline"]): row for row in ratios}
    made = []
    for before, id in itertools.pairwise((None, *order)):
        assert id is not None
        row = models[id]
        made.append(
            {
                "step": _title(id, row["steps"]),
                "model": id,
                "accuracy": row["test"][task.accuracy],
                "auc": row["test"]["auc"],
                "tflite_bytes": row["tflite_bytes"],
                "gzip_bytes": row["gzip_bytes"],
                "p50_ms": row["latency"][0]["p50_ms"] if row["latency"] else None,
                "change": before
                and _change(row, models[before], of_accuracy[id, before], of_latency.get((id, before))),
            }
        )
    return made


def _change(row: Row, before: Row, accuracy: Row, latency: Row | None) -> dict[str, Any]:
    return {
        "before": before["id"],
        "accuracy": accuracy["estimate"],
        "accuracy_ci95": accuracy["ci95"],
        "auc": row["test"]["auc"] - before["test"]["auc"],
        "tflite_bytes_ratio": row["tflite_bytes"] / before["tflite_bytes"],
        "gzip_bytes_ratio": row["gzip_bytes"] / before["gzip_bytes"],
        "p50_ratio": latency and latency["ratio"],
        "p50_ratio_ci95": latency and latency["ci95"],
    }


def _title(id: str, done: Sequence[str]) -> str:
    """A step by what was done in it; what the float student went through last stands in its own entry."""
    titles = {ALONE: "student alone", DISTILLED: "distilled", CUT: "channels removed", INT8: "INT8", MIXED: "mixed"}
    if id == FLOAT:
        last = {"channel_pruned": "fine-tuned", "pruned": "pruned", "clustered": "clustered", "qat": "trained as INT8"}
        return ", ".join(title for step, title in last.items() if step in done) or "distilled"
    return titles.get(id, "teacher")
