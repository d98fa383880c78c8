"""The served forms as rows of a table, and the sentences around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.serving.cost import fastest
from edgekd.units import format_bytes

Entry = Mapping[str, Any]
HOW_TO_PRICE = (
    "The recipe states no price of an hour, so that images have none: --set benchmark.price_per_hour=0.40 --set "
    "benchmark.currency=EUR, or what your machine costs."
)


def rows(serving: Entry) -> list[dict[str, Any]]:
    """One row a form and batch size, as text; ``best`` where the form is the fastest."""
    found = []
    for form in serving["forms"]:
        best = fastest(form["batches"])["batch_size"]
        for row in form["batches"]:
            rate = row["images_per_second"]
            found.append(
                {
                    "form": form["id"],
                    "batch": row["batch_size"],
                    "rate": _rate(rate) + _between(row["ci95"], _rate),
                    "milliseconds": f"{1000 * row['batch_size'] / rate:,.2f}",
                    "memory": format_bytes(row["peak_rss_bytes"]),
                    "cost": "–"
                    if row["cost_per_million"] is None
                    else _amount(row["cost_per_million"]) + _between(row["cost_ci95"], _amount),
                    "best": row["batch_size"] == best,
                }
            )
    return found


def in_words(serving: Entry) -> str:
    """The fastest way, and what a million images cost that way."""
    choices = [(form, fastest(form["batches"])) for form in serving["forms"]]
    form, row = max(choices, key=lambda choice: float(choice[1]["images_per_second"]))
    at_a_time = "one" if row["batch_size"] == 1 else row["batch_size"]
    text = f"Fastest: {form['id']}, {at_a_time} at a time, {_rate(row['images_per_second'])} images a second"
    if row["cost_per_million"] is None:
        return f"{text}. {HOW_TO_PRICE}"
    currency = serving["currency"]
    price = f"{_amount(serving['price_per_hour'])} {currency} an hour"
    cost = f"{_amount(row['cost_per_million'])} {currency}{_between(row['cost_ci95'], _amount)}"
    return f"{text}: {cost} for a million images, at {price} as the recipe states and with the machine never idle."


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _amount(value: float) -> str:
    return f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"


def _between(ends: Sequence[float] | None, show: Any) -> str:
    return f" ({show(ends[0])} to {show(ends[1])})" if ends else ""
