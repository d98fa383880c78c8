"""Numbers as people read them: sizes in KiB and MiB, durations, ratios."""

from __future__ import annotations


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
