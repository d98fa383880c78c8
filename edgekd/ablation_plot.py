"""The plot of an ablation: what each method changed against the student alone, on val and on test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.ablation_table import BASELINE, TITLES, shown
from edgekd.plots import BLUE, ORANGE, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The marker, its filling and the line tell the splits apart in grey too.
STYLES: Mapping[str, Mapping[str, Any]] = {
    "test": {"color": BLUE, "marker": "o", "filling": BLUE, "line": "-", "offset": -0.14},
    "val": {"color": ORANGE, "marker": "D", "filling": "white", "line": (0, (4, 2)), "offset": 0.14},
}


def plot(document: Mapping[str, Any], out: Path) -> list[Path]:
    """Draw paired differences to ``none`` of the float student with their 95 % intervals, every seed a dot.

    Args:
        document: what :func:`edgekd.ablate.ablate` returns; at least one method beside ``none``.
        out: folder of ``ablation.svg`` and ``ablation.png``; equal documents give equal bytes.

    Returns:
        The two files.
    """
    from matplotlib.figure import Figure

    rows = [row for row in document["methods"] if row["method"] != BASELINE]
    figures = shown(rows[0], document["choose_by"])
    with style():
        picture = Figure(figsize=(1.8 + 3.6 * len(figures), 1.7 + 0.52 * len(rows)), layout="constrained")
        panels = picture.subplots(1, len(figures), sharey=True, squeeze=False)[0]
        for axes, figure in zip(panels, figures, strict=True):
            _panel(axes, rows, figure)
        marks = {document["chosen"]: " ✓"}
        names = [f"{row['method']}{marks.get(row['method'], '')}\n{len(row['seeds'])} seeds" for row in rows]
        panels[0].set_yticks(range(len(rows)), names)
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
        handles, labels = panels[0].get_legend_handles_labels()
        picture.legend(handles, labels, loc="outside upper center", ncols=3, handlelength=3, frameon=False)
        data = document["dataset"]
        choice = "no method chosen on val" if document["chosen"] == BASELINE else "✓ chosen on val"
        picture.supxlabel(
            f"Difference to the student alone, paired by seed, with its 95 % interval; right of 0 is better.\n"
            f"{data['name']}, n = {data['num_val']} on val, {data['num_test']} on test; {choice}",
            fontsize=9,
        )
        return save(picture, out, "ablation", document["sentence"])


def _panel(axes: Axes, rows: list[Mapping[str, Any]], figure: str) -> None:
    """One figure: for each method a line of test and a line of val."""
    lines = [
        (position, row["student_fp32"][split][figure], split) for split in STYLES for position, row in enumerate(rows)
    ]
    # Few seeds give intervals many times as wide as the dots lie apart; they run out of the picture, with an arrow.
    dots = [0.0, *(value for _, part, _ in lines for value in part["differences"])]
    margin = 0.6 * max(max(dots) - min(dots), 1e-3)
    left, right = min(dots) - margin, max(dots) + margin
    axes.set_xlim(left, right)
    axes.axvline(0, color="black", linewidth=0.8)
    labelled = {"test": "test, mean", "val": "val, mean", "seed": "one seed"}
    for position, part, split in lines:
        color, line, offset = (STYLES[split][key] for key in ("color", "line", "offset"))
        y, (low, high) = position + offset, part["ci95"]
        axes.plot([low, high], [y, y], color=color, linestyle=line, linewidth=1.6)
        axes.plot([low, high], [y, y], "|", color=color, markersize=7, markeredgewidth=1.6)
        for end, outside, arrow in ((left, low < left, "<"), (right, high > right, ">")):
            if outside:
                axes.plot(end, y, arrow, color=color, markersize=5, clip_on=False)
        beside = [position + 2 * offset] * len(part["differences"])
        axes.plot(part["differences"], beside, ".", color="0.35", markersize=4, label=labelled.pop("seed", None))
        axes.plot(
            part["difference"],
            y,
            color=color,
            linestyle=line,
            marker=STYLES[split]["marker"],
            markerfacecolor=STYLES[split]["filling"],
            markersize=6.5,
            label=labelled.pop(split, None),
        )
    axes.set_title(TITLES[figure], fontsize=10)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.locator_params(axis="x", nbins=6)
