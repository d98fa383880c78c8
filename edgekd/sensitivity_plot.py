"""The plot of an analysis of sensitivity: what val loses with each layer pruned alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd.curves import read
from edgekd.plots import save, style

TITLES = {"weights": "fraction of zeros", "channels": "fraction of channels removed"}


def plot(analysis: Mapping[str, Any], out: Path, dataset: str) -> list[Path]:
    """Draw loss and AUC of every point, a line for each layer from the input downwards, darker the more was pruned.

    Args:
        analysis: the facts of :mod:`edgekd.stages.sensitivity`.
        out: folder of ``<kind>.svg`` and ``<kind>.png``; equal analyses give equal bytes.
        dataset: its name.

    Returns:
        The two files.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    kind, curves = analysis["kind"], read(analysis["layers"])
    rows = range(len(curves))
    title = f"{dataset}, n = {analysis['num_images']} of val; each layer pruned alone, nothing trained after it"
    with style():
        picture = Figure(figsize=(10.5, 1.6 + 0.2 * len(curves)), layout="constrained")
        panels = picture.subplots(1, 2, sharey=True)
        for axes, figure, name in zip(panels, ("loss", "auc"), ("loss on the labels", "AUC"), strict=True):
            for row, curve in zip(rows, curves, strict=True):
                values = [point[figure] for point in curve.points]
                axes.plot([min(values), max(values)], [row, row], color="0.75", linewidth=1.0, zorder=1)
            marks = axes.scatter(
                [point[figure] for curve in curves for point in curve.points[1:]],
                [row for row, curve in zip(rows, curves, strict=True) for _ in curve.points[1:]],
                c=[point["fraction"] for curve in curves for point in curve.points[1:]],
                # Reversed, it ends dark; its lightest part is left out, as white paper swallows it.
                cmap="viridis_r",
                vmin=0.0,
                vmax=1.0,
                s=22,
                zorder=2,
            )
            axes.axvline(analysis["baseline"][figure], color="black", linewidth=0.8, linestyle=(0, (4, 2)))
            axes.set_xlabel(name)
            axes.grid(axis="x", color="0.9", linewidth=0.6)
        panels[0].set_xscale("log")
        panels[0].xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panels[0].xaxis.set_major_formatter("{x:g}")
        panels[0].xaxis.set_minor_formatter(NullFormatter())
        panels[0].set_yticks(rows, [curve.layer for curve in curves], fontsize=8)
        panels[0].set_ylim(len(curves) - 0.5, -0.5)
        picture.colorbar(marks, ax=panels, label=TITLES[kind], shrink=0.9, pad=0.01)
        picture.suptitle(f"{title}. Dashed: the student as it is", fontsize=9)
        return save(picture, out, kind, title)
