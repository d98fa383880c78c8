"""Colours of the report by what they mean, on light paper and on dark.

Text keeps a contrast of 4.5 to 1 on the paper and on panels, marks of 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11). The marks of
the models are orange, violet and blue, and their shapes differ too, so that no picture rests on colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "panel": "#f4f6f8",
    "line": "#d3d9e0",
    "ink": "#181c20",
    "soft": "#56606b",
    "good": "#0a6b3c",
    "bad": "#a8201a",
    "open": "#7a4f00",
    "accent": "#0a58a8",
    "teacher": "#b34a00",
    "float": "#6b4fb3",
    "shipped": "#0068b5",
}
DARK: Mapping[str, str] = {
    "paper": "#14171a",
    "panel": "#1e2328",
    "line": "#3a424a",
    "ink": "#e9ecef",
    "soft": "#a6b0ba",
    "good": "#5fd39a",
    "bad": "#ff8f87",
    "open": "#e8b654",
    "accent": "#7cb9ff",
    "teacher": "#f0a05a",
    "float": "#bda6f5",
    "shipped": "#5fb4f5",
}
TEXT = ("ink", "soft", "good", "bad", "open", "accent")
MARKS = ("teacher", "float", "shipped")
GROUNDS = ("paper", "panel")
HEAT = 0.3
"""Largest share of ``accent`` mixed into the ground of a cell, so that ``ink`` can be read on it."""


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, from 0 (black) to 1 (white): WCAG 2.2, "relative luminance"."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, from 1 to 21: ``(lighter + 0.05) / (darker + 0.05)`` of their luminances."""
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def mixed(colour: str, ground: str, share: float) -> str:
    """So much of a colour over a ground, as ``color-mix(in srgb, ...)`` has it."""
    pairs = [(int(colour[at : at + 2], 16), int(ground[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(share * over + (1 - share) * under):02x}" for over, under in pairs)
