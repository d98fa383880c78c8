"""Reliability diagram: how often answers of about the same confidence are right (Guo et al. 2017, figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.charts.draw import COLOURS, MARKERS, canvas, quiet, to_svg

Bins = Sequence[Mapping[str, Any]]


def reliability(bins: Bins, model: str, role: str, name: str, figures: str) -> str:
    """One model: points with Wilson intervals against the diagonal, and below them how many answers each stands for.

    Args:
        bins: of :func:`edgekd.evidence.reliability`.
        model: its name.
        role: ``teacher``, ``float`` or ``shipped``; chooses colour and mark.
        name: of the picture, unlike that of any other.
        figures: what is said of it in words, for the alternative text.
    """
    colour = COLOURS[role]
    at, right = [row["confidence"] for row in bins], [row["accuracy"] for row in bins]
    ends = [row["accuracy_ci95"] for row in bins]
    with canvas(name, 330.0) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        above.plot([0, 1], [0, 1], color=COLOURS["soft"], linewidth=1.0, linestyle=(0, (4, 3)))
        above.vlines(at, [low for low, _ in ends], [high for _, high in ends], color=colour, linewidth=1.4)
        above.plot(at, right, color=colour, marker=MARKERS[role], linewidth=0.0, markersize=6.0)
        above.set_ylim(-0.02, 1.02)
        above.set_ylabel("right")
        above.set_title(model)
        below.bar(
            [row["low"] for row in bins],
            [row["n"] for row in bins],
            [0.94 * (row["high"] - row["low"]) for row in bins],
            align="edge",
            color=colour,
            alpha=0.55,
        )
        below.set_xlim(0, 1)
        below.set_ylabel("answers")
        below.set_xlabel("confidence")
        below.locator_params(axis="y", nbins=3)
        quiet(above)
        quiet(below)
        points = "; ".join(f"{row['confidence']:.2f}: {row['accuracy']:.2f} of {row['n']}" for row in bins)
        return to_svg(figure, name, f"Reliability of {model}, {figures}. Confidence: share that was right. {points}")
