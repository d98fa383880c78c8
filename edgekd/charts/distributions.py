"""How the runs of each model are distributed: a thin line for each process, a thick one for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.charts.draw import COLOURS, canvas, label, quiet, to_svg

LAST = 98
"""An axis ends at this percentile: what a single interruption took would press all else together."""


def distributions(found: Mapping[str, Any], roles: Mapping[str, str]) -> str:
    """A panel a model, each on an axis of its own: on a common one, a fast model beside its teacher is a stroke.

    Args:
        found: ``latency_distributions`` of the report.
        roles: of the models, by id: their colours.
    """
    from matplotlib.ticker import MaxNLocator

    percents, rows = found["percents"], found["models"]
    shares = [percent / 100 for percent in percents]
    with canvas("distributions", 40.0 + 88.0 * len(rows)) as figure:
        panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axes, row in zip(panels, rows, strict=True):
            colour = COLOURS[roles[row["model"]]]
            for times in row["processes"]:
                axes.plot(times, shares, color=COLOURS["soft"], linewidth=0.6, alpha=0.7)
            axes.plot(row["ms"], shares, color=colour, linewidth=2.0)
            axes.set_title(f"{label(row['model'], 40)}: p50 {_median(percents, row['ms']):.3g} ms")
            axes.set_yticks([0, 0.5, 1])
            axes.set_ylim(-0.04, 1.04)
            axes.set_xlim(0.99 * min(map(min, row["processes"])), 1.01 * row["ms"][percents.index(LAST)])
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter("{x:g}")
            quiet(axes, "x")
        panels[-1].set_xlabel("milliseconds, each model on its own axis")
        figure.supylabel("share of the runs", fontsize=10)
        return to_svg(figure, "distributions", f"Distribution of latencies in milliseconds: {_told(rows, percents)}")


def _median(percents: Sequence[int], times: Sequence[float]) -> float:
    return times[percents.index(50)]


def _told(rows: Sequence[Mapping[str, Any]], percents: Sequence[int]) -> str:
    """The middle half of each, in words."""
    low, high = percents.index(25), percents.index(75)
    return "; ".join(f"half of {row['model']} from {row['ms'][low]:.3g} to {row['ms'][high]:.3g}" for row in rows)
