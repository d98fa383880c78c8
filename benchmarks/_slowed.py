"""Measure as edgekd.measure does, a model that takes a stated fraction longer: ``python _slowed.py 0.05``.

After each inference it spins until the time that the inference took is over once more, times the fraction; what is
measured is both. With 0 nothing is added but the wrapper itself, so that two models measured by this file differ by
the fraction alone.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from edgekd import _litert, measure

_open = _litert.open_interpreter


class Slowed:
    """An interpreter whose inferences take ``1 + fraction`` times as long."""

    def __init__(self, interpreter: Any, fraction: float):
        self.inner, self.fraction = interpreter, fraction
        self.get_input_details, self.set_tensor = interpreter.get_input_details, interpreter.set_tensor

    def invoke(self) -> None:
        began = time.perf_counter_ns()
        self.inner.invoke()
        ends = time.perf_counter_ns()
        ends += round(self.fraction * (ends - began))
        while time.perf_counter_ns() < ends:
            pass


if __name__ == "__main__":
    fraction = float(sys.argv[1])
    _litert.open_interpreter = lambda *arguments: Slowed(_open(*arguments), fraction)
    measure.main()
