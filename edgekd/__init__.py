"""edgekd: from labelled medical images to a small, proven .tflite in one command.

Names are loaded when they are first used, so that ``import edgekd`` costs nothing and the runtime of a bundle needs no
tensorflow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd.api import build, build_targets
    from edgekd.errors import EdgekdError
    from edgekd.pipeline import Run
    from edgekd.run_report import Report
    from edgekd.runtime import LoadedBundle, Prediction, load_bundle
    from edgekd.targets_build import TargetRuns

    __version__: str

_HOMES = {
    "build": "edgekd.api",
    "build_targets": "edgekd.api",
    "Run": "edgekd.pipeline",
    "TargetRuns": "edgekd.targets_build",
    "Report": "edgekd.run_report",
    "load_bundle": "edgekd.runtime",
    "LoadedBundle": "edgekd.runtime",
    "Prediction": "edgekd.runtime",
    "EdgekdError": "edgekd.errors",
}

__all__ = [
    "build",
    "build_targets",
    "Run",
    "TargetRuns",
    "Report",
    "load_bundle",
    "LoadedBundle",
    "Prediction",
    "EdgekdError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("edgekd")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'edgekd' has no attribute {name!r}")
