"""An analysis of sensitivity as a table: a row for each layer, the most sensitive first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekd.curves import ranked, read

TITLES = {"weights": "Zeros in single layers", "channels": "Channels removed from single layers"}

Analysis = Mapping[str, Any]


def table(analysis: Analysis) -> tuple[list[str], list[list[str]]]:
    """Header and rows; ``analysis`` is the facts of :mod:`edgekd.stages.sensitivity`.

    A cell of a point reads ``loss (AUC)``. Where the layers were not pruned by the same fractions, which is so of
    channels as they go by eights, it has the fraction before it.
    """
    curves = ranked(read(analysis["layers"]))
    tried = {tuple(point["fraction"] for point in curve.points[1:]) for curve in curves}
    rounded = {tuple(f"{fraction:.0%}" for fraction in fractions) for fractions in tried}
    alike = len(rounded) == 1
    num_points = max(map(len, tried))
    heads = list(rounded.pop()) if alike else [f"point {place + 1}" for place in range(num_points)]
    rows = []
    for curve in curves:
        cells = [
            f"{'' if alike else format(point['fraction'], '.0%') + ' '}{point['loss']:.3f} ({point['auc']:.3f})"
            for point in curve.points[1:]
        ]
        padding = [""] * (num_points - len(cells))
        rows.append([curve.layer, f"{curve.size:,}", f"{curve.mean_rise:+.3f}", *cells, *padding])
    return ["layer", analysis["kind"], "mean rise", *heads], rows


def sentence(analysis: Analysis, dataset: str) -> str:
    """What was measured on what, and what the columns mean."""
    baseline = analysis["baseline"]
    return (
        f"{dataset}, n = {analysis['num_images']} of val: loss on the labels (AUC) of the float student with that "
        f"layer alone pruned and nothing trained after it; as it is: {baseline['loss']:.3f} ({baseline['auc']:.3f}). "
        "Mean rise: of the loss, over the fractions tried"
    )


def markdown(analysis: Analysis, dataset: str) -> str:
    """Title, table and sentence."""
    header, rows = table(analysis)
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    lines.insert(1, f"|---|{'---:|' * (len(header) - 1)}")
    kind = analysis["kind"]
    return "\n".join(
        [f"## {TITLES[kind]}", "", *lines, "", f"{sentence(analysis, dataset)}.", "", f"![{kind}]({kind}.png)", ""]
    )
