"""Layer by layer: what val loses with one pruned alone, and what INT8 does to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.charts.draw import COLOURS, canvas, label, quiet, to_svg

ROW = 15.0
LONGEST = 24
MOST = 24
"""Layers of which the errors are drawn, the worst."""

Rows = Sequence[Mapping[str, Any]]


def sensitivities(layers: Rows, baseline: float) -> str:
    """Loss on val with each layer pruned alone, a mark for each fraction, fuller the more was taken.

    Args:
        layers: of ``sensitivity`` in the report.
        baseline: loss of the student as it is.
    """
    with canvas("sensitivities", 60.0 + ROW * len(layers)) as figure:
        axes = figure.subplots()
        for y, layer in enumerate(layers):
            points = layer["points"][1:]
            values = [point["loss"] for point in points]
            axes.hlines(y, min(values), max(values), color=COLOURS["line"], linewidth=1.4)
            for point in points:
                axes.plot(
                    point["loss"], y, color=COLOURS["shipped"], marker="o", alpha=max(0.2, min(1.0, point["fraction"]))
                )
        axes.axvline(baseline, color=COLOURS["ink"], linewidth=1.0, linestyle=(0, (4, 2)))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.set_xlabel("loss on val, one layer pruned alone")
        _names(axes, layers)
        worst = max(layers, key=lambda layer: layer["mean_rise"])
        alternative = (
            f"Loss on val with each of {len(layers)} layers pruned alone, {baseline:.3f} without; the most sensitive "
            f"is {worst['layer']}, whose loss rises by {worst['mean_rise']:.3f} in the mean"
        )
        return to_svg(figure, "sensitivities", alternative)


def layer_errors(layers: Rows) -> str:
    """Signal to noise at the logits, each layer alone in INT8; worst first.

    Args:
        layers: of ``layer_errors`` in the report.
    """
    shown = [layer for layer in layers if layer["logits_snr_db"] is not None][:MOST]
    with canvas("layer-errors", 60.0 + ROW * len(shown)) as figure:
        axes = figure.subplots()
        values = [layer["logits_snr_db"] for layer in shown]
        axes.barh(range(len(shown)), values, height=0.55, color=COLOURS["shipped"], alpha=0.75)
        axes.set_xlabel("signal to noise at the logits, dB")
        _names(axes, shown)
        told = f"the worst is {shown[0]['layer']} with {values[0]:.1f} dB" if shown else "none has any error"
        return to_svg(
            figure, "layer-errors", f"Error by INT8 of the worst {len(shown)} of {len(layers)} layers; {told}"
        )


def _names(axes: Any, layers: Rows) -> None:
    # Names of layers differ at their ends.
    names = [label(layer["layer"], LONGEST, keep="end") for layer in layers]
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(which="both", length=0)
    quiet(axes, "x")
    axes.spines["left"].set_visible(False)
