"""The plot of an architecture search: accuracy against each cost, candidates as predicted, finalists as measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd.plots import BLUE, GREY, ORANGE, save, style
from edgekd.search.plot import TITLES

COSTS = {"tflite_bytes": "max_tflite_bytes", "p50_ms": "max_p50_ms"}


def plot(found: Mapping[str, Any], out: Path) -> list[Path]:
    """Draw what :func:`edgekd.nas.result.document` gives; returns ``nas.svg`` and ``nas.png`` in ``out``."""
    from matplotlib.figure import Figure

    with style():
        picture = Figure(figsize=(9.2, 4.0), layout="constrained")
        panels = picture.subplots(1, len(COSTS), sharey=True)
        for axes, (cost, limit) in zip(panels, COSTS.items(), strict=True):
            _panel(axes, found, cost, found["budget"].get(limit))
        panels[0].set_ylabel(TITLES["auc"])
        named = {label: handle for handle, label in zip(*panels[0].get_legend_handles_labels(), strict=True)}
        picture.legend(named.values(), named.keys(), loc="outside upper center", ncols=4, frameon=False)
        return save(picture, out, "nas", found["why"])


def _panel(axes: Any, found: Mapping[str, Any], cost: str, limit: float | None) -> None:
    scale = 1024 if cost.endswith("bytes") else 1
    judged = [(row["predicted"][cost] / scale, row["val"]["auc"]) for row in found["candidates"] if row["val"]]
    if judged:
        axes.scatter(*zip(*judged, strict=True), s=14, color=GREY, label="candidate, supernet's weights")
    for row in found["finalists"]:
        if row["measured"]:
            star = row["number"] == found["chosen"]
            point = (row["measured"][cost] / scale, row["measured"]["auc"])
            look = {"s": 130, "marker": "*", "color": ORANGE} if star else {"s": 40, "marker": "D", "color": BLUE}
            axes.scatter(*point, zorder=3, **look, label="chosen" if star else "finalist, measured")
    if limit is not None:
        axes.axvline(limit / scale, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel(TITLES[cost])
