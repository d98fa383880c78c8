"""The sections of the report, in the order of the page.

A section ``x`` is an entry here and its templates, ``templates/sections/x.html.j2`` and, where the short report tells
of it too, ``x.md.j2``. Templates see the document's fields by name, ``document``, ``shipped``, ``baseline``, ``task``,
``rows``, and what the section's function adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgekd import budget_report, pruning_report, recipe, vela
from edgekd.charts.waterfall import waterfall
from edgekd.page import card, decisions, drawings, serving, words
from edgekd.page.figures import Document, shipped_of, task_of

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
    """Limits, the budget's candidates, and warnings that are not about the data, which has its own."""
    about_data = document["dataset"]["warnings"]
    others = [text for text in document.get("warnings", []) if text not in about_data]
    return {"trials": budget_report.trials(document), "other_warnings": others}


def asked(document: Document) -> Context | None:
    """The recipe in words."""
    return {"steps": words.in_words(recipe.from_table(document["recipe"]))}


def models(document: Document) -> Context | None:
    """Every model in one table, what was done to the student, and pictures."""
    return {
        "pictures": drawings.trade_offs(document),
        "pruned": any("pruned" in row["steps"] for row in document["models"]),
        **pruning_report.shown(document),
    }


def chain(document: Document) -> Context | None:
    """What each step brought; nothing where the chain has one step alone."""
    steps = document.get("attribution")
    return {"waterfall": waterfall(steps, task_of(document).accuracy_title)} if steps else None


def served(document: Document) -> Context | None:
    """What a server answers in a second, and what it costs; where the target is one."""
    entry = document.get("serving")
    return {"words": serving.in_words(entry), "rows_of_forms": serving.rows(entry)} if entry else None


def npu(document: Document) -> Context | None:
    """What Vela made of the student, where the target has an Ethos-U."""
    found = document.get("npu")
    if not found:
        return None
    names = sorted({*found["predicted"], *found["confirmed"]})
    rows = [(name, found["predicted"].get(name, 0), found["confirmed"].get(name, 0)) for name in names]
    return {"words": vela.in_words(found), "estimates": vela.estimates_in_words(found), "operators": rows}


def devices(document: Document) -> Context | None:
    """Times that others than this host took."""
    latency = shipped_of(document)["latency"]
    return {"on_devices": latency[1:]} if len(latency) > 1 else None


def latency(document: Document) -> Context | None:
    """Times in full."""
    return {"picture": drawings.times(document), "spread": drawings.spread_of_times(document)}


def confusion(document: Document) -> Context | None:
    """What was taken for what."""
    return decisions.confusion(document) if document.get("confusion") else None


def recall(document: Document) -> Context | None:
    """Each class before and after."""
    return {"picture": drawings.recalls_of(document)}


def calibration(document: Document) -> Context | None:
    """Whether confidence is deserved."""
    return {"pictures": drawings.reliabilities(document)} if document.get("reliability") else None


def learning(document: Document) -> Context | None:
    """Every training."""
    return {"pictures": drawings.trainings(document)} if document.get("learning_curves") else None


def cases(document: Document) -> Context | None:
    """Single images."""
    found = decisions.cases(document) if document.get("cases") else []
    return {"groups": found} if found or document.get("disagreements") else None


def others(document: Document) -> Context | None:
    """Worse pictures, unfamiliar ones, and images fed wrongly; where they were tried."""
    names = ("robustness", "out_of_distribution", "preprocessing_faults")
    return {} if any(document.get(name) for name in names) else None


def layers(document: Document) -> Context | None:
    """What was measured of each layer, where it was."""
    found = drawings.of_layers(document)
    return {"pictures": found} if found else None


def reproduction(document: Document) -> Context | None:
    """What it takes to do the same again."""
    return {"recipe_toml": recipe.to_toml(recipe.from_table(document["recipe"]))}


def model_card(document: Document) -> Context | None:
    """What reporting guidelines ask for."""
    groups = card.card(document)
    fields = [field for _, group in groups for field in group]
    empty = [field.name for field in fields if not field.value]
    return {"groups": groups, "empty": empty, "num_empty": len(empty), "num_fields": len(fields)}


SECTIONS = (
    Section("gates", "Gates, decided on val", gates),
    Section("claims", "Claims, on test"),
    Section("asked", "What was asked", asked),
    Section("data", "Data"),
    Section("chain", "What each step brought, test", chain),
    Section("models", "Models: size, speed, accuracy", models),
    Section("latency", "Latency and memory", latency),
    Section("npu", "On the NPU: what Vela made of it", npu),
    Section("serving", "On a server: throughput and cost", served),
    Section("devices", "On devices", devices),
    Section("confusion", "Confusion, test", confusion),
    Section("recall", "Recall per class, test", recall),
    Section("calibration", "Calibration, test", calibration),
    Section("learning", "Learning curves", learning),
    Section("cases", "Mistakes and changed decisions, test", cases),
    Section("others", "Worse, other and wrongly fed pictures", others),
    Section("kernels", "Kernels"),
    Section("layers", "Layer by layer", layers),
    Section("reproduction", "Reproduction", reproduction),
    Section("card", "Model card", model_card),
    Section("limits", "Limits"),
)
