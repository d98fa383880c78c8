"""The sections of the report, in the order of the page.

A section ``x`` is an entry here and its templates, ``templates/sections/x.html.j2`` and, where the short report tells
of it too, ``x.md.j2``. Templates see the document's fields by name, ``document``, ``shipped``, ``baseline``, ``task``,
``rows``, and what the section's function adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgekd import attribution, budget_report, pruning_report, recipe
from edgekd.page.figures import Document, task_of
from edgekd.pictures.scatter import scatter
from edgekd.pictures.waterfall import waterfall

Context = Mapping[str, Any]


def as_it_is(document: Document) -> Context | None:
    """A section that is always there and whose template needs nothing but the document."""
    return {}


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        id: its anchor, and the name of its templates.
        title: its heading.
        context: from the document to what the templates need beside it, or None where the section is not shown.
    """

    id: str
    title: str
    context: Callable[[Document], Context | None] = as_it_is


def gates(document: Document) -> Context | None:
    """Limits, the budget's candidates, and warnings."""
    return {"trials": budget_report.trials(document)}


def models(document: Document) -> Context | None:
    """Every model in one table, what was done to the student, and a picture."""
    # Nobody would ship the model right after its channels were removed.
    to_choose = [row for row in document["models"] if row["id"] != attribution.CUT]
    return {
        "scatter": scatter(to_choose, task_of(document).accuracy),
        "pruned": any("pruned" in row["steps"] for row in document["models"]),
        **pruning_report.shown(document),
    }


def chain(document: Document) -> Context | None:
    """What each step brought; nothing where the chain has one step alone."""
    steps = document.get("attribution")
    return {"waterfall": waterfall(steps, task_of(document).accuracy_title)} if steps else None


def devices(document: Document) -> Context | None:
    """Times that others than this host took."""
    shipped = next(row for row in document["models"] if row["shipped"])
    return {"on_devices": shipped["latency"][1:]} if len(shipped["latency"]) > 1 else None


def reproduction(document: Document) -> Context | None:
    """What it takes to do the same again."""
    return {"recipe_toml": recipe.to_toml(recipe.from_table(document["recipe"]))}


SECTIONS = (
    Section("gates", "Gates, decided on val", gates),
    Section("claims", "Claims, on test"),
    Section("models", "Models", models),
    Section("chain", "What each step brought, test", chain),
    Section("devices", "On devices", devices),
    Section("recall", "Recall per class, test"),
    Section("latency", "Latency and memory"),
    Section("data", "Data"),
    Section("reproduction", "Reproduction", reproduction),
    Section("limits", "Limits"),
)
