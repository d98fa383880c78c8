"""The plot of a benchmark: how the times of each model are distributed, process by process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.plots import BLUE, save, style


def plot(models: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Draw the distribution function of each model's runs, one thin line a process and a thick one for all.

    Processes that lie apart are what makes an interval wide. A band is the 95 % interval of the median.

    Args:
        models: ``models`` of the benchmark's facts.
        runs: ``{"model", "kernel", "num_threads", "invoke_ms": [[[...], ...], ...]}`` each, by process and turn;
            the first of a model is drawn.
        out: folder of ``latency.svg`` and ``latency.png``; equal runs give equal bytes.

    Returns:
        The two files.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    shown = {
        name: [np.ravel(turns) for turns in next(row["invoke_ms"] for row in runs if row["model"] == name)]
        for name in models
    }
    # What a single interruption took would press all else together.
    last = max(float(np.percentile(np.concatenate(processes), 98)) for processes in shown.values())
    with style():
        picture = Figure(figsize=(8.0, 0.9 + 1.35 * len(shown)), layout="constrained")
        panels = picture.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, processes) in zip(panels, shown.items(), strict=True):
            for times in processes:
                axes.plot(*_distribution(times), color="0.6", linewidth=0.7)
            axes.plot(*_distribution(np.concatenate(processes)), color=BLUE, linewidth=1.8)
            row = models[name]["latency"][0]
            if row["p50_ci95_ms"]:
                axes.axvspan(*row["p50_ci95_ms"], color=BLUE, alpha=0.2, linewidth=0)
            axes.axvline(row["p50_ms"], color=BLUE, linewidth=0.8, linestyle=(0, (4, 2)))
            title = name.replace("$", r"\$")  # a file's name is no formula
            axes.set_title(f"{title}: p50 {row['p50_ms']:.3g} ms", fontsize=9, loc="left")
            axes.set_yticks([0, 0.5, 1])
            axes.grid(axis="x", color="0.9", linewidth=0.6)
        first = min(float(np.min(np.concatenate(processes))) for processes in shown.values())
        panels[-1].set_xscale("log")
        panels[-1].set_xlim(0.97 * first, 1.03 * last)
        panels[-1].xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        panels[-1].xaxis.set_major_formatter("{x:g}")
        panels[-1].xaxis.set_minor_formatter(NullFormatter())
        panels[-1].set_xlabel("ms of one inference; thin: one process, thick: all; band: 95 % interval of p50")
        picture.supylabel("share of the runs", fontsize=9)
        description = f"latency of {', '.join(shown)}"
        return save(picture, out, "latency", description)


def _distribution(times: Any) -> tuple[Any, Any]:
    """Times in order, and the share of runs up to each."""
    return np.sort(times), np.arange(1, len(times) + 1) / len(times)
