"""One promise of a bundle or a run, checked anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from edgekd.artifact import read_json

TOLERANCE = 1e-6
"""Figures that differ by no more are the same: sums in floating point follow the processor."""


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        about: what the promise is about, in a word or two.
        held: None where it could not be checked; ``text`` says why.
        text: what holds, or what is wrong and what to do.
    """

    about: str
    held: bool | None
    text: str


def all_or_faults(about: str, faults: Iterable[str], held: str) -> Iterator[Check]:
    """Every fault, or where there is none, that the promise holds."""
    found = list(faults)
    yield from (Check(about, False, fault) for fault in found)
    if not found:
        yield Check(about, True, held)


def schema_faults(document: Any, schema: str, title: str) -> list[str]:
    """Where a document breaks one of the package's JSON Schemas, by dotted name."""
    import jsonschema

    rules = read_json(Path(str(resources.files("edgekd") / "schemas" / schema)))
    errors = jsonschema.Draft202012Validator(rules).iter_errors(document)
    return [f"{title}: {error.json_path.removeprefix('$.')}: {error.message[:200]}" for error in errors]


def differences(stated: Any, found: Any, at: str = "") -> list[str]:
    """Where two JSON values differ, by dotted name; of two objects only names that both have are compared."""
    if isinstance(stated, dict) and isinstance(found, dict):
        pairs = {f"{at}.{name}" if at else name: (stated[name], found[name]) for name in stated if name in found}
        return [text for name, pair in pairs.items() for text in differences(*pair, name)]
    if isinstance(stated, list) and isinstance(found, list) and len(stated) == len(found):
        both = enumerate(zip(stated, found, strict=True))
        return [text for index, pair in both for text in differences(*pair, f"{at}[{index}]")]
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (stated, found))
    same = abs(stated - found) <= TOLERANCE * max(1.0, abs(stated)) if numbers else stated == found
    return [] if same else [f"{at} is {_short(found)}, {_short(stated)} is stated"]


def gate_faults(gates: Any) -> list[str]:
    """Gates whose verdict does not follow from limit and measured figure; ``max_`` is at most, ``min_`` at least."""
    faults = []
    for gate in gates:
        at_most = gate["id"].startswith("max_")
        held = gate["measured"] <= gate["limit"] if at_most else gate["measured"] >= gate["limit"]
        if held != gate["held"]:
            said = "held" if gate["held"] else "fallen short"
            faults.append(f"gate {gate['id']} is said to have {said}: {gate['measured']:g} against {gate['limit']:g}")
    return faults


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
