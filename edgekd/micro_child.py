"""A process that runs a model by TensorFlow Lite Micro: ``python -m edgekd.micro_child TASK``.

The near side is :mod:`edgekd.micro`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from edgekd.model_child import main

ALIGNMENT = 16
"""Arenas are cut to multiples of this."""
SECONDS = 60
"""Longest time of one trial of an arena."""


def outputs(request: dict[str, Any]) -> dict[str, Any]:
    """Run inputs one at a time and write what the model gives, as it is.

    Args:
        request: ``model``, a path; ``inputs``, an .npy of shape ``(n, ...)`` in the model's own type; ``arena``, bytes;
            ``out``, where to write.
    """
    import numpy as np

    inputs = np.load(request["inputs"], allow_pickle=False)
    np.save(request["out"], _run(request["model"], inputs, request["arena"]), allow_pickle=False)
    return {"num_inputs": len(inputs)}


def arena(request: dict[str, Any]) -> dict[str, Any]:
    """The smallest arena that gives the first input's answer: ``{"arena_bytes"}``.

    An arena that is too small may end the process by a segmentation fault, so that each is tried in a fork.

    Args:
        request: ``model``; ``inputs``; ``arena``, bytes that are known to be enough.
    """
    import numpy as np

    inputs = np.load(request["inputs"], allow_pickle=False)[:1]
    first = _run(request["model"], inputs, request["arena"])

    def suffices(size: int) -> bool:
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1] == 0
        code = 1
        try:
            signal.alarm(SECONDS)
            code = 0 if np.array_equal(_run(request["model"], inputs, size), first) else 1
        finally:
            os._exit(code)

    return {"arena_bytes": smallest(suffices, ALIGNMENT, request["arena"])}


def smallest(suffices: Callable[[int], bool], step: int, most: int) -> int:
    """The smallest multiple of ``step`` that suffices, by doubling and bisection; what suffices does so for all above.

    Args:
        suffices: is asked some two times the logarithm of the answer, and never about 0.
        step: every size is a multiple of it.
        most: known to suffice; a multiple of ``step``.
    """
    low, high = 0, step
    while high < most and not suffices(high):
        low, high = high, min(2 * high, most)
    while high - low > step:
        middle = (low + high) // 2 // step * step
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _run(model: str, inputs: Any, size: int) -> Any:
    import numpy as np
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_file(model, arena_size=size)
    wanted = interpreter.get_input_details(0)["dtype"]
    if inputs.dtype != wanted:
        raise ValueError(f"the model takes {np.dtype(wanted).name}, not {inputs.dtype}")
    rows = []
    for index in range(len(inputs)):
        interpreter.set_input(np.ascontiguousarray(inputs[index : index + 1]), 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0).ravel().copy())
    return np.stack(rows)


if __name__ == "__main__":
    main({"outputs": outputs, "arena": arena})
