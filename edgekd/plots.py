"""What the plots beside a command's tables share: colours, the style, and the two files that each is written to.

The charts of report.html follow the page's own palette: :mod:`edgekd.charts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Of Okabe and Ito 2008, which every kind of colour vision tells apart, the orange darkened for white paper. Markers and
# lines tell series apart in grey too.
BLUE, ORANGE, GREY = "#0072B2", "#B34700", "#8A8A8A"
DOTS_PER_INCH = 160


@contextmanager
def style() -> Iterator[None]:
    """Draw without a frame, and so that equal figures give equal bytes of SVG."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "edgekd", "axes.spines.top": False, "axes.spines.right": False}):
        yield


def save(picture: Any, out: Path, name: str, description: str) -> list[Path]:
    """Write a matplotlib figure, inside :func:`style`.

    Args:
        picture: the figure.
        out: folder.
        name: of the files, without suffix.
        description: what it shows; stands in both files for those who cannot see it.

    Returns:
        ``<name>.svg`` and ``<name>.png``.
    """
    files = [out / f"{name}.svg", out / f"{name}.png"]
    picture.savefig(files[0], metadata={"Date": None, "Title": description})
    picture.savefig(files[1], dpi=DOTS_PER_INCH, metadata={"Description": description})
    return files
