"""How the report's templates write numbers, ratios and strangers' names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgekd.units import format_bytes, format_seconds, format_times


def number(value: float | None, digits: int = 3) -> str:
    """So many digits after the point; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def times(ratio: float | None) -> str:
    """``153.6`` gives ``"154×"``."""
    return "–" if ratio is None else format_times(ratio)


def factor(ratio: float) -> str:
    """A figure over another: ``0.5`` gives ``"×0.50"``, ``0.00412`` gives ``"×0.0041"``."""
    return f"×{ratio:.2f}" if ratio >= 0.095 else f"×{ratio:.2g}"


def points(share: float) -> str:
    """A difference of shares in percentage points: ``-0.0125`` gives ``"-1.2"``."""
    return f"{100 * share:+.1f}"


def plain(value: float) -> str:
    """A limit, or what stands against it."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def settings(changes: Mapping[str, Any]) -> str:
    """What a candidate changes in the recipe."""
    return ", ".join(f"{key} = {value}" for key, value in changes.items()) or "nothing changed"


def markdown_cell(text: object) -> str:
    """Keep a name from breaking out of a table cell, or from becoming markup."""
    escaped = " ".join(str(text).split()).replace("<", "&lt;").replace("`", "'")
    for mark in "\\|[]*":
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped


def tests(claim: Mapping[str, Any]) -> str:
    """What else was computed for a claim: the p of its test, and the bootstrap interval."""
    share = not claim["id"].startswith(("auc", "distillation_gain_auc"))
    found = [f"{name} p = {claim[key]:.2g}" for key, name in _TESTS.items() if key in claim]
    if ends := claim.get("bootstrap_ci95"):
        low, high = (f"{100 * end:+.1f}" if share else f"{end:+.4f}" for end in ends)
        found.append(f"paired bootstrap {low} to {high}")
    return "; ".join(found)


def p_value(p: float) -> str:
    """``0.0004`` gives ``"< 0.001"``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


_TESTS = {"mcnemar_p": "McNemar's exact test,", "delong_p": "DeLong's test,"}

FILTERS: Mapping[str, Callable[..., str]] = {
    "percent": "{:.1%}".format,
    "factor": factor,
    "number": number,
    "plain": plain,
    "points": points,
    "times": times,
    "settings": settings,
    "tests": tests,
    "p": p_value,
    "bytes": format_bytes,
    "seconds": format_seconds,
    "cell": markdown_cell,
    "capitalized": lambda text: text[:1].upper() + text[1:],
}
