"""Sent to a device as text and run by its python3, whatever its version: what is this machine, and what has it?

Standard library and old syntax only. Prints one line of JSON; an interpreter that is too old prints its version alone.
"""

import json
import os
import platform
import shutil
import sys
import tempfile
from typing import Any

MINIMUM = (3, 11)
PACKAGES = ("numpy", "ai_edge_litert")


def probe() -> Any:
    """Version, architecture, processor, board, memory, missing packages, free bytes for temporary files, load."""
    found = {"python": platform.python_version(), "machine": platform.machine()}  # type: Any
    if sys.version_info[:2] < MINIMUM:
        return found
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    found["missing"] = [name for name in PACKAGES if find_spec(name) is None]
    try:
        found["litert"] = version("ai-edge-litert")
    except PackageNotFoundError:
        found["litert"] = None
    found["free_bytes"] = shutil.disk_usage(tempfile.gettempdir()).free
    found["folder"] = tempfile.gettempdir()
    found["system"] = platform.system() + " " + platform.release()
    found["cores"] = os.cpu_count()
    found["load"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found["cpu"] = first_line("/proc/cpuinfo", ("model name", "Hardware", "Model")) or platform.processor()
    found["board"] = read("/proc/device-tree/model").strip("\0\n ")
    return found


def read(path: str) -> str:
    """A small text file, or nothing."""
    try:
        with open(path, errors="replace") as file:  # noqa: PTH123
            return file.read(1 << 16)
    except OSError:
        return ""


def first_line(path: str, starts: Any) -> str:
    """What stands after the colon of the first line that starts so."""
    for line in read(path).splitlines():
        if line.startswith(starts):
            return line.partition(":")[2].strip()
    return ""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe()) + "\n")
