"""Latency of each model: its median with the 95 % interval, and the percentiles that its runs can certify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekd.charts.draw import COLOURS, canvas, quiet, to_svg


def latencies(rows: Sequence[tuple[str, str, Any]]) -> str:
    """A row a model, on a logarithmic axis.

    Args:
        rows: ``(model, role, latency)`` each; latency is an entry of the report.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    with canvas("latencies", 66.0 + 26.0 * len(rows)) as figure:
        axes = figure.subplots()
        for y, (_, role, row) in enumerate(rows):
            colour = COLOURS[role]
            tail = [(row[name], mark) for name, mark in (("p90_ms", "|"), ("p99_ms", "4")) if row[name] is not None]
            axes.hlines(
                y, row["p50_ms"], max([row["p50_ms"], *(value for value, _ in tail)]), color=colour, linewidth=1
            )
            for value, mark in tail:
                axes.plot(value, y, color=colour, marker=mark, markersize=9.0, linewidth=0.0)
            if row["p50_ci95_ms"]:
                axes.hlines(y, *row["p50_ci95_ms"], color=colour, linewidth=4.0, alpha=0.45)
            axes.plot(row["p50_ms"], y, color=colour, marker="o", markersize=6.0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(range(len(rows)), [model for model, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("milliseconds")
        axes.tick_params(which="both", length=0)
        quiet(axes, "x")
        axes.spines["left"].set_visible(False)
        told = "; ".join(f"{model} {row['p50_ms']:.3g}" for model, _, row in rows)
        return to_svg(figure, "latencies", f"Median latency in milliseconds: {told}")
