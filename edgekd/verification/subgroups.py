"""By subgroup: whether compression, or the model, treats some images worse than others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import statistics
from edgekd.verification.classes import SIGNIFICANT, verdict

MAX_VALUES = 20
NOT_STATED = "not stated"

Right = NDArray[np.bool_]


def by_subgroup(
    before: Right | None, after: Right, columns: Mapping[str, NDArray[np.str_]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Accuracy in each subgroup of the test images, against the other images and against another model.

    Two tests, each adjusted over all subgroups by Holm's method: Fisher's exact test of the subgroup against all other
    images that state the column, and McNemar's exact test of the two models on its images.

    Args:
        before, after: whether each model was right, shape ``(n,)``; None without a model to compare with.
        columns: values by name of the column, shape ``(n,)`` each; an empty text is "not stated".

    Returns:
        ``{"column", "value", "n", "accuracy", "accuracy_ci95", "others", "p_others_holm", "differs", "before",
        "estimate", "ci95", "p_holm", "verdict"}`` of each subgroup, and a sentence for each column that was left out:
        one value alone, or more than 20.
    """
    rows, left_out = [], []
    for column, stated in columns.items():
        values = np.where(stated == "", NOT_STATED, stated)
        names = np.unique(values)
        if not 2 <= len(names) <= MAX_VALUES:
            left_out.append(f"{column}: {len(names)} value(s) in test; subgroups need 2 to {MAX_VALUES}")
            continue
        known = values != NOT_STATED
        rows += [_row(column, str(name), values == name, known, before, after) for name in names]
    for key, adjusted in (("p_others", "p_others_holm"), ("p", "p_holm")):
        for row, p in zip(rows, statistics.holm([row.pop(key) for row in rows]), strict=True):
            row[adjusted] = p
    for row in rows:
        row["differs"] = row["p_others_holm"] < SIGNIFICANT
        row["verdict"] = None if before is None else verdict(row["estimate"], row["p_holm"])
    return rows, left_out


def _row(column: str, value: str, members: Right, known: Right, before: Right | None, after: Right) -> dict[str, Any]:
    from scipy.stats import fisher_exact

    here, others = after[members], after[known & ~members]
    table = [[int(part.sum()), int((~part).sum())] for part in (here, others)]
    row = {
        **{"column": column, "value": value, "n": len(here)},
        "accuracy": float(here.mean()),
        "accuracy_ci95": list(statistics.wilson_interval(table[0][0], len(here))),
        "others": float(others.mean()) if len(others) else None,
        "p_others": float(fisher_exact(table).pvalue) if len(others) else 1.0,
    }
    if before is None:
        return {**row, "before": None, "estimate": None, "ci95": None, "p": 1.0}
    difference = statistics.paired_difference(here, before[members])
    return {
        **row,
        "before": float(before[members].mean()),
        **{"estimate": difference.estimate, "ci95": [difference.low, difference.high]},
        "p": statistics.mcnemar_p(here, before[members]),
    }
