"""Runs on the emulated processor, under the plug-in that counts: ``python -m edgekd.arm64.count_child count``."""

from __future__ import annotations

import contextlib
import gc
import os
from typing import Any

from edgekd.model_child import in_range, made_up, main

MARK = 0x65646B64
"""No process has this number; the plug-in knows the call by it."""


def count(request: dict[str, Any]) -> dict[str, Any]:
    """Mark twice with nothing between, and then before and after each of ``runs`` inferences on a made-up picture.

    Args:
        request: ``model``, a path; ``kernel``; ``runs``.
    """
    import numpy as np

    from edgekd._litert import open_interpreter

    gc.disable()
    interpreter = open_interpreter(request["model"], request["kernel"])
    generator = np.random.default_rng(0)
    for row in interpreter.get_input_details():
        picture = made_up(tuple(int(side) for side in row["shape"]), 2, generator)
        interpreter.set_tensor(row["index"], in_range(picture, np.dtype(row["dtype"]), 0.0, 255.0))
    for _ in range(2):  # the first ones prepare what later ones reuse
        interpreter.invoke()
        _mark()
        _mark()
    for _ in range(request["runs"]):
        _mark()
        interpreter.invoke()
        _mark()
    return {"runs": request["runs"]}


def _mark() -> None:
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(MARK)


if __name__ == "__main__":
    main({"count": count})
