"""What several sections of a report look up in its document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.tasks import MULTI_CLASS, TASKS, Task

Document = Mapping[str, Any]


def summary_rows(document: Document) -> list[dict[str, Any]]:
    """The table of models: size, quality on test, and how they compare with the teacher.

    Each row: ``model, kib, gzip_kib, val_accuracy, accuracy, auc, p50_ms, p50_ci95_ms, times_smaller, times_faster,
    shipped``; None where a figure was not measured.
    """
    baseline, accuracy = baseline_of(document), task_of(document).accuracy
    rows = []
    for row in document["models"]:
        p50, p50_baseline = _p50(row), _p50(baseline)
        rows.append(
            {
                "model": row["id"],
                "kib": row["tflite_bytes"] / 1024,
                "gzip_kib": row["gzip_bytes"] / 1024,
                "val_accuracy": row["val"][accuracy],
                "accuracy": row["test"][accuracy],
                "auc": row["test"]["auc"],
                "p50_ms": p50,
                "p50_ci95_ms": row["latency"][0]["p50_ci95_ms"] if row["latency"] else None,
                "times_smaller": baseline["tflite_bytes"] / row["tflite_bytes"],
                "times_faster": p50_baseline / p50 if p50 and p50_baseline else None,
                "shipped": row["shipped"],
            }
        )
    return rows


def task_of(document: Document) -> Task:
    """What was asked of an image; a report that does not say it is multi-class."""
    return TASKS[document["dataset"].get("task", MULTI_CLASS.name)]


def baseline_of(document: Document) -> Mapping[str, Any]:
    """The model that others are compared with: the teacher, or the first where there is none."""
    models: Sequence[Mapping[str, Any]] = document["models"]
    return next((row for row in models if row["role"] == "teacher"), models[0])


def shipped_of(document: Document) -> Mapping[str, Any]:
    """The model that goes out."""
    found: Mapping[str, Any] = next(row for row in document["models"] if row["shipped"])
    return found


def _p50(row: Mapping[str, Any]) -> float | None:
    return row["latency"][0]["p50_ms"] if row["latency"] else None
