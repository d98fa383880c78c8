"""What every benchmark script shares: its options, and the JSON with host, versions and commit."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from edgekd import host


def header() -> dict[str, Any]:
    """``host``, ``versions`` and ``commit``; nothing that names the machine or its user."""
    return {"host": host.host(), "versions": host.versions(), "commit": host.commit()}


def load() -> list[float] | None:
    """Processes that wanted a processor on average over the last 1, 5 and 15 minutes, our own among them."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the option that all benchmarks share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--out", type=Path, help="write the JSON to this file too")
    return made


def add_chain_options(made: argparse.ArgumentParser) -> None:
    """Options of the benchmarks that train whole chains: how they run, and the words that a result has to carry."""
    made.add_argument("--jobs", type=int, default=1, help="chains trained at a time; default: 1")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of all recipes")
    made.add_argument("--cache-dir", type=Path, default=None, help="store of finished stages")
    made.add_argument("--settings-chosen", required=True, help="how each setting was chosen, in words")
    made.add_argument("--test-looked-at", required=True, help="how often test was looked at before, in words")


def words(asked: argparse.Namespace) -> dict[str, str]:
    """What was said of the settings and of test, for the result."""
    return {"settings_chosen": asked.settings_chosen, "test_looked_at": asked.test_looked_at}


def show_progress() -> None:
    """Send edgekd's log lines to stderr."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("edgekd").setLevel(logging.INFO)


def report(figures: dict[str, Any], out: Path | None = None) -> None:
    """Print figures and header as JSON, and write them to ``out`` where it is given."""
    text = json.dumps({**figures, **header()}, indent=2)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
