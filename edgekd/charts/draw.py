"""Matplotlib drawings as SVG within the page: colours by meaning, so that they follow light and dark; text as text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from edgekd.charts.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 380.0
"""Of a picture, in CSS pixels: it fits a phone without being scaled, so that its text stays readable."""

FONT = 11.0
MARKERS = {"teacher": "D", "float": "s", "shipped": "o"}

COLOURS = {role: colour for role, colour in LIGHT.items() if role not in ("paper", "panel")}


@contextmanager
def canvas(name: str, height: float, width: float = WIDTH) -> Iterator[Figure]:
    """A figure of so many pixels in the report's style; ``name`` keeps its ids apart from those of other pictures."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        **{"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": FONT},
        **{"axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": FONT, "axes.labelsize": FONT},
        **{"xtick.labelsize": FONT - 1, "ytick.labelsize": FONT - 1, "axes.titlelocation": "left"},
        **{"axes.edgecolor": COLOURS["soft"], "axes.labelcolor": COLOURS["soft"], "text.color": COLOURS["ink"]},
        **{"xtick.color": COLOURS["soft"], "ytick.color": COLOURS["soft"], "axes.linewidth": 0.8},
        **{"grid.color": COLOURS["line"], "grid.linewidth": 0.8, "axes.axisbelow": True},
        **{"lines.linewidth": 1.6, "lines.markersize": 5.0, "axes.facecolor": "none"},
        **{"legend.frameon": False, "legend.fontsize": FONT - 1, "legend.labelcolor": COLOURS["soft"]},
    }
    with matplotlib.rc_context(style):
        # A point of the SVG file is a pixel of the page: 72 of them make matplotlib's inch.
        yield Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def to_svg(figure: Figure, name: str, alternative: str) -> str:
    """The SVG element alone; equal figures give equal text.

    Args:
        figure: of :func:`canvas`, within its block.
        name: the same.
        alternative: what a reader who cannot see it is told.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Type": None})
    text = file.getvalue()
    body = text[text.index("<svg") :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.S)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)
    assert box is not None
    for role, colour in COLOURS.items():
        body = re.sub(colour, f"var(--{role})", body, flags=re.I)
    body = body.replace("'DejaVu Sans'", "system-ui, sans-serif")
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{name}-", body)
    body = body.replace("xlink:href", "href")
    head = (
        f'<svg class="drawn" viewBox="{box[0].split(chr(34))[1]}" style="max-width:{float(box[1]):.0f}px" role="img" '
        f'aria-label="{escape(alternative)}">'
    )
    return head + body[body.index(">") + 1 :].strip()


def quiet(axes: Axes, grid: str = "y") -> None:
    """No ticks, a grid along one axis."""
    axes.tick_params(length=0)
    if grid:
        axes.grid(axis=grid)  # type: ignore[arg-type]


def label(name: str, longest: int, keep: str = "start") -> str:
    """A stranger's name on one line, of so many letters at most; nothing in it is read as mathematics."""
    plain = " ".join(name.split())
    if len(plain) > longest:
        plain = f"{plain[: longest - 1]}…" if keep == "start" else f"…{plain[1 - longest :]}"
    return plain.replace("$", r"\$")
