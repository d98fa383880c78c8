"""Numbers as people read them: sizes in KiB and MiB, durations, ratios."""

from __future__ import annotations

import re
from collections.abc import Mapping


def format_bytes(count: int) -> str:
    """Format a byte count with binary units: ``1536`` gives ``"1.5 KiB"``."""
    if count < 1024:
        return f"{count} B"
    if count < 1024**2:
        return f"{count / 1024:.1f} KiB"
    if count < 1024**3:
        return f"{count / 1024**2:.1f} MiB"
    return f"{count / 1024**3:.1f} GiB"


def format_seconds(seconds: float) -> str:
    """Format a duration: ``0.25`` gives ``"0.2 s"``, ``75`` gives ``"1 min 15 s"``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_times(ratio: float) -> str:
    """Format a ratio as a factor: ``156.4`` gives ``"156×"``, ``2.34`` gives ``"2.3×"``."""
    return f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×"


def format_age(seconds: float) -> str:
    """Format how long ago something was, in its largest unit: ``7300`` gives ``"2 h ago"``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


_AGES = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SIZES = {"": 1, "B": 1} | {
    f"{letter}{unit}": base**power
    for unit, base in (("iB", 1024), ("B", 1000), ("", 1024))
    for power, letter in enumerate("KMGT", 1)
}


def parse_age(text: str) -> float:
    """Read a duration in seconds: ``"30d"`` gives ``2592000.0``. Raises ValueError for what is none."""
    return _parse(text, {unit.upper(): factor for unit, factor in _AGES.items()})


def parse_bytes(text: str) -> int:
    """Read a size in bytes: ``"5GiB"`` or ``"500MB"``; a letter alone is binary. Raises ValueError for what is none."""
    return round(_parse(text, {unit.upper(): factor for unit, factor in _SIZES.items()}))


def _parse(text: str, units: Mapping[str, int]) -> float:
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in units:
        raise ValueError(text)
    return float(found[1]) * units[found[2].upper()]
