"""Options that several commands share, with one wording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

DATA = click.option("--data", metavar="NAME|PATH", help="Data set by name, folder, table, TFRecord or NPZ file.")
SETTINGS = click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a recipe key: --set distill.temperature=2."
)
SEED = click.option("--seed", type=int, help="Seed of weights, order and views.")
CACHE_DIR = click.option("--cache-dir", type=click.Path(path_type=Path), help="Store of finished stages.")


def verbosity(command: Command) -> Command:
    """Give a command ``--quiet`` and ``--verbose``, as :func:`edgekd.cli.output.start_output` takes them."""
    quiet = click.option("--quiet", "-q", is_flag=True, help="Warnings and errors only.")
    verbose = click.option("--verbose", "-v", is_flag=True, help="Every epoch, every stage's key.")
    return quiet(verbose(command))
