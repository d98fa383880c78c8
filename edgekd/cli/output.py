"""What every command prints by: logs and progress on stderr, tables on stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekd.progress import Progress


def start_output(quiet: bool, verbose: bool = False) -> Progress:
    """Send logs to stderr; return a bar for terminals and plain lines for anything else.

    Raises:
        UserError: both quiet and verbose.
    """
    from edgekd.errors import UserError
    from edgekd.progress import BarProgress, LineProgress, Progress

    if quiet and verbose:
        raise UserError("--quiet and --verbose: one of the two")

    handler: logging.Handler
    terminal = sys.stderr.isatty()
    if terminal:
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(
            console=Console(stderr=True), show_path=False, show_level=False, omit_repeated_times=False
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("edgekd")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    if quiet:
        return Progress()
    return BarProgress() if terminal else LineProgress()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table on stdout; all columns but the first are numbers."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)


def printable(text: str) -> str:
    """Text of a stranger's file without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
