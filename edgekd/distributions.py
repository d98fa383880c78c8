"""How the times of each model are distributed, process by process, in few enough numbers to stand in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgekd.latency import percentile

PERCENTS = (1, *range(5, 100, 5), 98, 99, 100)


def distributions(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Percentiles by nearest rank of the runs of each process, and of all together.

    These describe the runs that there were: what they say of other runs is the ``latency`` of a model.

    Args:
        runs: ``{"model", "kernel", "num_threads", "invoke_ms": [[[...], ...], ...]}`` each, by process and turn; the
            first of a model is taken, which is the target's own way.

    Returns:
        ``{"percents": [1, 5, ..., 95, 98, 99, 100], "models": [{"model", "kernel", "num_threads", "ms": [...],
        "processes": [[...], ...]}]}``.
    """
    first: dict[str, Mapping[str, Any]] = {}
    for row in runs:
        first.setdefault(row["model"], row)
    return {
        "percents": list(PERCENTS),
        "models": [
            {
                **{name: row[name] for name in ("model", "kernel", "num_threads")},
                "ms": _percentiles(np.ravel(row["invoke_ms"])),
                "processes": [_percentiles(np.ravel(turns)) for turns in row["invoke_ms"]],
            }
            for row in first.values()
        ],
    }


def _percentiles(times: Any) -> list[float]:
    return [round(percentile(times, percent), 6) for percent in PERCENTS]
