"""What each step brought: where the bars stand; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgekd.units import format_bytes

# Of a panel of the waterfall, in the units of its viewBox: where its bars begin, how long they may be, a row's height.
_LEFT, _LENGTH, _ROW = 116.0, 164.0, 28.0

Step = Mapping[str, Any]


def waterfall(steps: Sequence[Step], accuracy_title: str) -> list[dict[str, Any]]:
    """Panels of one row a step: how it moved the accuracy; how large and how slow its model is, on logarithmic axes.

    A bar of the accuracy goes from the step before to this one, and a line over it is the 95 % interval of the change.
    The bar of a file's bytes holds that of its gzip form.

    Args:
        steps: ``attribution`` of the report; where one was not timed there is no panel of times.
        accuracy_title: what the task's accuracy is called.
    """
    if not steps:
        return []
    panels = {f"{accuracy_title}, test": _moves(steps), "bytes, and of them gzip": _sizes(steps)}
    if all(step["p50_ms"] for step in steps):
        panels["p50"] = _times(steps)
    return [
        {
            "title": title,
            "height": _ROW * len(rows),
            "rows": [
                {**row, "label": step["step"], "y": _ROW * at}
                for at, (row, step) in enumerate(zip(rows, steps, strict=True))
            ],
        }
        for title, rows in panels.items()
    ]


def _moves(steps: Sequence[Step]) -> list[dict[str, Any]]:
    found = []
    for step in steps:
        after, change = step["accuracy"], step["change"]
        before = after - change["accuracy"] if change else after
        found.append((before, after, [before + end for end in change["accuracy_ci95"]] if change else [after, after]))
    low, high = (
        min(min(before, *line) for before, _, line in found),
        max(max(before, *line) for before, _, line in found),
    )
    x = _scale(low, high)
    return [
        {
            "bars": [
                {
                    "x": min(x(before), x(after)),
                    "width": max(abs(x(after) - x(before)), 2.0),
                    "kind": "good" if after > before else "bad" if after < before else "",
                }
            ],
            "line": [x(end) for end in line],
            "value": f"{after:.3f}",
        }
        for before, after, line in found
    ]


def _sizes(steps: Sequence[Step]) -> list[dict[str, Any]]:
    x = _decades([step[name] for step in steps for name in ("gzip_bytes", "tflite_bytes")])
    return [
        {
            "bars": [_bar(x(step["tflite_bytes"])), _bar(x(step["gzip_bytes"]), "gzip")],
            "value": format_bytes(step["tflite_bytes"]),
        }
        for step in steps
    ]


def _times(steps: Sequence[Step]) -> list[dict[str, Any]]:
    x = _decades([step["p50_ms"] for step in steps])
    return [{"bars": [_bar(x(step["p50_ms"]))], "value": f"{step['p50_ms']:.3g} ms"} for step in steps]


def _bar(end: float, kind: str = "") -> dict[str, Any]:
    return {"x": _LEFT, "width": round(end - _LEFT, 1), "kind": kind}


def _scale(low: float, high: float) -> Callable[[float], float]:
    """Places on a linear axis from ``low`` to ``high``."""
    return lambda value: round(_LEFT + _LENGTH * (value - low) / ((high - low) or 1.0), 1)


def _decades(values: Sequence[float]) -> Callable[[float], float]:
    """Places on a logarithmic axis that begins at a power of ten below the smallest value."""
    logs = [math.log10(value) for value in values]
    place = _scale(math.ceil(min(logs)) - 1, max(logs))
    return lambda value: place(math.log10(value))
