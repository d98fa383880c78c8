"""Recall of each class before and after, with Wilson's intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.charts.draw import COLOURS, MARKERS, canvas, label, quiet, to_svg

LONGEST = 22
"""Letters of a class's name that the picture shows; the table beside it has all."""

Classes = Sequence[Mapping[str, Any]]


def recalls(lines: Sequence[tuple[str, str, Classes]]) -> str:
    """A row for each class, a mark and an interval for each model.

    Args:
        lines: ``(model, role, per_class)`` each, in the order in which they stand below each other.
    """
    classes = [label(row["name"], LONGEST) for row in lines[0][2]]
    step = 0.5 / max(1, len(lines))
    with canvas("recalls", 84.0 + len(classes) * (16.0 + 11.0 * len(lines))) as figure:
        axes = figure.subplots()
        for place, (model, role, per_class) in enumerate(lines):
            ys = [at + step * (place - (len(lines) - 1) / 2) for at in range(len(classes))]
            ends = [row["recall_ci95"] for row in per_class]
            colour = COLOURS[role]
            axes.hlines(ys, [low for low, _ in ends], [high for _, high in ends], color=colour, linewidth=1.6)
            values = [row["recall"] for row in per_class]
            axes.plot(values, ys, color=colour, marker=MARKERS[role], linewidth=0.0, markersize=6.0, label=model)
        axes.set_yticks(range(len(classes)), classes)
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.set_xlabel("recall, 95 % interval")
        axes.set_xlim(right=1.005)
        quiet(axes, "x")
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper left", ncols=1, handletextpad=0.2, borderaxespad=0.0)
        told = "; ".join(
            f"{row['name']} " + ", ".join(f"{per_class[at]['recall']:.3f} {model}" for model, _, per_class in lines)
            for at, row in enumerate(lines[0][2])
        )
        return to_svg(figure, "recalls", f"Recall of each class with its 95 % interval: {told}")
