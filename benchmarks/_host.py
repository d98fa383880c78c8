"""What every benchmark prints beside its figures: the machine, the versions, the commit."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("edgekd", "tensorflow", "tf-keras", "tensorflow-model-optimization", "ai-edge-litert", "numpy")
ROOT = Path(__file__).parent.parent


def header() -> dict[str, Any]:
    """``host``, ``versions`` and ``commit``; nothing that names the machine or its user."""
    return {"host": host(), "versions": versions(), "commit": commit()}


def host() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, system."""
    return {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that the figures depend on, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Commit of the working tree, with ``-dirty`` where tracked files differ; None outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None


def report(figures: dict[str, Any], out: Path | None = None) -> None:
    """Print figures and header as JSON, and write them to ``out`` where it is given."""
    text = json.dumps({**figures, **header()}, indent=2)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the option that all benchmarks share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--out", type=Path, help="write the JSON to this file too")
    return made


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
