"""Quantization-aware training: a student that rounds as INT8 does while it learns, and the ranges it rounds within.

A range is the smallest and the largest value that a layer's output can have in INT8. It belongs to a layer of the plain
Keras student by its name; so the student is stored as any other, and its ranges beside it as numbers.

``w`` is rounded to multiples of ``max |w| / 127``, taken over each output channel as it is now; ``x`` in a range
``[low, high]`` to multiples of ``(high - low) / 255``. Gradients pass as if nothing were rounded (Jacob et al. 2018).
"""

from edgekd.fake_quant.obstacles import check
from edgekd.fake_quant.ranges import PIXELS, Ranged, Ranges, calibrate, with_ranges
from edgekd.fake_quant.wrapped import kernels, pin_input, read_ranges, unwrap, wrap

__all__ = [
    "PIXELS",
    "Ranged",
    "Ranges",
    "calibrate",
    "check",
    "kernels",
    "pin_input",
    "read_ranges",
    "unwrap",
    "with_ranges",
    "wrap",
]
