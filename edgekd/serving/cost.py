"""What a million images cost on a machine that is paid by the hour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SECONDS_AN_HOUR = 3600
MILLION = 1_000_000


def per_million(price_per_hour: float, images_per_second: float) -> float:
    """``price_per_hour / (3600 * images_per_second) * 1e6``, in the currency of the price."""
    return price_per_hour / (SECONDS_AN_HOUR * images_per_second) * MILLION


def priced(row: dict[str, Any], price_per_hour: float | None) -> dict[str, Any]:
    """A row with ``images_per_second`` and its ``ci95``, and beside it the cost; None where no price was stated.

    The interval turns over: the most images a second are the cheapest.
    """
    if price_per_hour is None:
        return {**row, "cost_per_million": None, "cost_ci95": None}
    ends = row["ci95"] and [per_million(price_per_hour, row["ci95"][1]), per_million(price_per_hour, row["ci95"][0])]
    return {**row, "cost_per_million": per_million(price_per_hour, row["images_per_second"]), "cost_ci95": ends}


def fastest(batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of the most images per second; of equal ones the smallest batch, which answers soonest."""
    return max(batches, key=lambda row: (row["images_per_second"], -row["batch_size"]))
