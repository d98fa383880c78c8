"""The plot of a search: accuracy against each cost, every trial a dot, the best of them joined."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd.config.search import ACCURACIES, COSTS
from edgekd.plots import BLUE, GREY, ORANGE, save, style
from edgekd.search import study
from edgekd.search.result import pareto

TITLES: Mapping[str, str] = {
    "auc": "AUC on val",
    "accuracy": "accuracy on val",
    "tflite_bytes": "KiB of the .tflite",
    "gzip_bytes": "KiB, gzip",
    "p50_ms": "p50, milliseconds",
}


def plot(found: Mapping[str, Any], out: Path) -> list[Path]:
    """Draw the trials of :func:`edgekd.search.result.document`; nothing where none gave a model.

    Returns:
        ``search.svg`` and ``search.png`` in ``out``.
    """
    from matplotlib.figure import Figure

    rows = [row for row in found["trials"] if row["measured"]]
    if not rows:
        return []
    accuracy = next(name for name in found["objectives"] if name in ACCURACIES)
    costs = [name for name in found["objectives"] if name in COSTS] or ["tflite_bytes", "p50_ms"]
    with style():
        picture = Figure(figsize=(4.6 * len(costs), 4.0), layout="constrained")
        for axes, cost in zip(picture.subplots(1, len(costs), sharey=True, squeeze=False)[0], costs, strict=True):
            _panel(axes, rows, found, accuracy, cost)
        handles, labels = picture.axes[0].get_legend_handles_labels()
        picture.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
        return save(picture, out, "search", found["why"])


def _panel(axes: Any, rows: list[Any], found: Mapping[str, Any], accuracy: str, cost: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    scale = 1024 if cost.endswith("bytes") else 1

    def at(figures: Mapping[str, Any]) -> tuple[float, float]:
        return figures[cost] / scale, figures[accuracy]

    points = [at(row["measured"]) for row in rows]
    axes.scatter(*zip(*points, strict=True), s=22, color=GREY, label="trial")
    front = pareto([row["measured"] for row in rows], (accuracy, cost))
    best = sorted(point for point, unbeaten in zip(points, front, strict=True) if unbeaten)
    axes.plot(*zip(*best, strict=True), color=BLUE, marker="o", markersize=4, label="no other is better in both")
    chosen = [point for row, point in zip(rows, points, strict=True) if row["number"] == found["chosen"]]
    if chosen:
        axes.scatter(*zip(*chosen, strict=True), s=130, marker="*", color=ORANGE, zorder=3, label="chosen")
    if found["as_written"]:
        axes.scatter(*at(found["as_written"][study.MEASURED]), s=60, marker="D", color="black", label="as written")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(TITLES[cost])
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel(TITLES[accuracy])
