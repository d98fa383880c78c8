"""The errors of layers in a process of its own: ``python -m edgekd.layer_errors_child layer_errors``.

A run folder may be a stranger's, so this is asked as :mod:`edgekd.model_child` is, which reads and answers.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import model_child, tflite


def layer_errors(request: dict[str, Any]) -> dict[str, Any]:
    """Compare ``int8`` with ``fp32`` over ``images``, paths all three: ``{"layers": [...]}``, worst first.

    The images are an .npy of uint8 ``(n, h, w, 3)``. A figure that is infinite is None.
    """
    images = np.load(request["images"], allow_pickle=False)
    rows = tflite.layer_errors(Path(request["fp32"]).read_bytes(), Path(request["int8"]).read_bytes(), images)
    return {"layers": [{name: _plain(value) for name, value in asdict(row).items()} for row in rows]}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    model_child.main({"layer_errors": layer_errors})
