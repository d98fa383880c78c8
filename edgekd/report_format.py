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


FILTERS: Mapping[str, Callable[..., str]] = {
    "percent": "{:.1%}".format,
    "factor": factor,
    "number": number,
    "plain": plain,
    "points": points,
    "times": times,
    "settings": settings,
    "bytes": format_bytes,
    "seconds": format_seconds,
    "cell": markdown_cell,
    "capitalized": lambda text: text[:1].upper() + text[1:],
}
