"""The document's figures as pictures, ready for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from edgekd import attribution
from edgekd.charts.curves import curves
from edgekd.charts.distributions import distributions
from edgekd.charts.latencies import latencies
from edgekd.charts.layers import layer_errors, sensitivities
from edgekd.charts.pareto import Point, pareto
from edgekd.charts.recalls import recalls
from edgekd.charts.reliability import reliability
from edgekd.claims import FLOAT
from edgekd.page.figures import Document, baseline_of, shipped_of, task_of
from edgekd.statistics import wilson_interval

TRAININGS = {
    **{"teacher": "Teacher", "student_alone": "Student alone", "distill": "Student, distilled"},
    **{"prune": "Student, while pruned", "qat": "Student, as INT8"},
}


def role_of(row: Mapping[str, Any]) -> str:
    """Colour and mark of a model: of the teacher, of what is shipped, or of any other."""
    return "shipped" if row["shipped"] else "teacher" if row["role"] == "teacher" else "float"


def trade_offs(document: Document) -> list[Markup]:
    """Size against accuracy, and time against it where more than one model was timed."""
    # Nobody would ship the model right after its channels were removed.
    rows = [row for row in document["models"] if row["id"] != attribution.CUT]
    sizes = [(row, row["tflite_bytes"] / 1024) for row in rows]
    times = [(row, row["latency"][0]["p50_ms"]) for row in rows if row["latency"]]
    accuracy = task_of(document).accuracy_title
    found = [pareto(_points(sizes, document), "pareto-size", "size of the file", "KiB", accuracy)]
    if len(times) > 1:
        found.append(pareto(_points(times, document), "pareto-time", "median latency", "ms", accuracy))
    return [Markup(text) for text in found]


def _points(rows: Sequence[tuple[Mapping[str, Any], float]], document: Document) -> list[Point]:
    task = task_of(document)
    found = []
    for row, cost in rows:
        test = row["test"]
        # A share of labels is no share of independent trials, so that it has no such interval.
        ends = None if task.several else wilson_interval(round(test[task.accuracy] * test["n"]), test["n"])
        found.append(Point(row["id"], role_of(row), cost, test[task.accuracy], ends))
    return found


def times(document: Document) -> Markup | None:
    """Latency on this host."""
    rows = [(row["id"], role_of(row), row["latency"][0]) for row in document["models"] if row["latency"]]
    return Markup(latencies(rows)) if rows else None


def spread_of_times(document: Document) -> Markup | None:
    """How the runs on this host are distributed, where that was kept."""
    roles = {row["id"]: role_of(row) for row in document["models"]}
    found = document.get("latency_distributions")
    return Markup(distributions(found, roles)) if found else None


def recalls_of(document: Document) -> Markup:
    """Before, in floating point, and as shipped."""
    baseline, shipped = baseline_of(document), shipped_of(document)
    between = [row for row in document["models"] if row["id"] == FLOAT]
    chosen = {row["id"]: row for row in (baseline, *between, shipped)}
    return Markup(recalls([(id, role_of(row), row["test"]["per_class"]) for id, row in chosen.items()]))


def reliabilities(document: Document) -> list[Markup]:
    """A diagram for each model that was looked at."""
    rows = {row["id"]: row for row in document["models"]}
    found = []
    for entry in document["reliability"]:
        row = rows.get(entry["model"])
        figures = f"expected calibration error {row['test']['ece']:.3f}" if row else "a teacher that came as a file"
        role = role_of(row) if row else "teacher"
        name = f"reliability-{role}"
        found.append(Markup(reliability(entry["bins"], entry["model"], role, name, figures)))
    return found


def trainings(document: Document) -> list[Markup]:
    """A panel for each training, in the order of the chain."""
    task = task_of(document)
    found = []
    for number, (stage, history) in enumerate(document["learning_curves"].items()):
        name, _, network = stage.partition(".")
        title = f"{TRAININGS.get(name, name)}{f' {network}' if network else ''}"
        found.append(Markup(curves(history, title, f"learning-{number}", task.accuracy, task.accuracy_title)))
    return found


def of_layers(document: Document) -> list[Markup]:
    """Sensitivity to pruning and errors of INT8, as far as they were measured."""
    found = []
    if analysis := document.get("sensitivity"):
        found.append(Markup(sensitivities(analysis["layers"], analysis["baseline"]["loss"])))
    if errors := document.get("layer_errors"):
        found.append(Markup(layer_errors(errors["layers"])))
    return found
