"""Size against accuracy: where the points stand; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def scatter(rows: Sequence[Mapping[str, Any]], accuracy: str) -> dict[str, Any]:
    """Points of the chart: bytes on a logarithmic axis against accuracy on test, in the units of its viewBox.

    Args:
        rows: ``models`` of the report.
        accuracy: name of the task's accuracy.
    """
    sizes = [math.log10(row["tflite_bytes"] / 1024) for row in rows]
    low, high = math.floor(min(sizes)), math.ceil(max(sizes))
    bottom: float = max(0.0, math.floor(20 * (min(row["test"][accuracy] for row in rows) - 0.005)) / 20)
    top = 1.0

    def x(size: float) -> float:
        return round(60.0 + 520 * (size - low) / max(high - low, 1), 1)

    def y(value: float) -> float:
        return round(250.0 - 220.0 * (value - bottom) / max(top - bottom, 0.05), 1)

    return {
        "points": [
            {
                "id": row["id"],
                "x": x(size),
                "y": y(row["test"][accuracy]),
                "shipped": row["shipped"],
                "role": row["role"],
            }
            for row, size in zip(rows, sizes, strict=True)
        ],
        "x_ticks": [{"x": x(power), "label": f"{10**power:,} KiB"} for power in range(low, high + 1)],
        "y_ticks": [
            {"y": y(bottom + step * (top - bottom) / 4), "label": f"{bottom + step * (top - bottom) / 4:.3f}"}
            for step in range(5)
        ],
    }
