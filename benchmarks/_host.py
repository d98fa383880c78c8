"""What every benchmark script shares: its options, and the JSON with host, versions and commit."""

from __future__ import annotations

import argparse
import json
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


def report(figures: dict[str, Any], out: Path | None = None) -> None:
    """Print figures and header as JSON, and write them to ``out`` where it is given."""
    text = json.dumps({**figures, **header()}, indent=2)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
