"""Ranges of activations: clipped by percentile or by squared error, and put into a calibrated model.

The converter itself knows minimum and maximum alone. Between its two steps, calibration and quantization, the model is
a float .tflite whose tensors carry their ranges; there the ranges can be exchanged, and the converter's own quantizer
makes of them what it makes of its own, ties between tensors included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd import _litert
from edgekd.errors import ConversionError
from edgekd.tflite import edit
from edgekd.tflite.view import View

Range = tuple[float, float]

NUM_BINS = 4096
_LEVELS = 255  # steps between the 256 values of 8 bits
_NUM_CLIPS = 100
_SWEEPS = 2
# Their outputs have ranges that the operator prescribes.
_FIXED = ("LOGISTIC", "SOFTMAX", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX")


@dataclass(frozen=True)
class Histogram:
    """How often a tensor's values fall into equal bins.

    Attributes:
        low, high: smallest and largest value.
        counts: shape ``(bins,)``.
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of each bin."""
        width = (self.high - self.low) / len(self.counts)
        return self.low + width * (np.arange(len(self.counts), dtype=np.float64) + 0.5)


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """Leave out ``100 - percentile`` per cent of the values at either end; 99.99 leaves out one in ten thousand.

    Within a bin values count as evenly spread: a bound is off by a bin's width, or the gap between two values.
    """
    edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
    shares = np.concatenate([[0.0], np.cumsum(histogram.counts) / histogram.counts.sum()])
    tail = 1 - percentile / 100
    low, high = np.interp([tail, 1 - tail], shares, edges)
    return float(low), float(high)


def mse_range(histogram: Histogram) -> Range:
    """The range that loses least: the smallest mean of ``(x - Q(x))**2`` over the histogram, Q being 8 bits in range.

    Each end in turn is drawn towards zero in steps of a hundredth, twice.
    """
    low, high = lowest, highest = min(histogram.low, 0.0), max(histogram.high, 0.0)
    shares = [share / _NUM_CLIPS for share in range(_NUM_CLIPS, 0, -1)]
    for _ in range(_SWEEPS):
        high = min((highest * share for share in shares), key=lambda end: quantization_error(histogram, low, end))
        low = min((lowest * share for share in shares), key=lambda end: quantization_error(histogram, end, high))
    return low, high


def quantization_error(histogram: Histogram, low: float, high: float) -> float:
    """Mean of ``(x - Q(x))**2``, of values that are rounded to 256 steps from ``low`` to ``high`` and cut off there."""
    if high <= low:
        return float(np.average(histogram.centres**2, weights=histogram.counts))
    scale = (high - low) / _LEVELS
    zero_point = np.rint(-low / scale)
    steps = np.clip(np.rint(histogram.centres / scale) + zero_point, 0, _LEVELS)
    return float(np.average((histogram.centres - scale * (steps - zero_point)) ** 2, weights=histogram.counts))


def clipped_ranges(calibrated: bytes, images: NDArray[np.uint8], method: str, percentile: float) -> dict[str, Range]:
    """Choose the range of every computed tensor, by name; the input's is left as it is.

    Args:
        calibrated: a float model whose tensors carry the ranges that were seen.
        images: uint8 ``(n, h, w, c)``.
        method: ``percentile`` or ``mse``.
        percentile: for that method.
    """
    choose: dict[str, Callable[[Histogram], Range]] = {
        "percentile": lambda histogram: percentile_range(histogram, percentile),
        "mse": mse_range,
    }
    return {name: choose[method](histogram) for name, histogram in histograms(calibrated, images).items()}


def histograms(calibrated: bytes, images: NDArray[np.uint8]) -> dict[str, Histogram]:
    """Run images through a calibrated float model; a histogram of each computed tensor that carries a range, by name.

    The converter may have seen more than a tensor holds in the end (operators that work in place); the histogram spans
    what there is.
    """
    graph = edit.unpack(calibrated).subgraphs[0]
    inputs = set(graph.inputs)
    names = {
        index: tensor.name.decode()
        for index, tensor in enumerate(graph.tensors)
        if index not in inputs and tensor.quantization is not None and tensor.quantization.max is not None
    }
    interpreter = _litert.open_interpreter(calibrated, "builtin", preserve_all_tensors=True)
    spans: dict[int, Range] = {}
    for values in _litert.tensors_of(interpreter, images, list(names)):
        for index, array in values.items():
            low, high = spans.get(index, (np.inf, -np.inf))
            spans[index] = (min(low, float(array.min())), max(high, float(array.max())))
    counts = {index: np.zeros(NUM_BINS, np.int64) for index in names}
    for values in _litert.tensors_of(interpreter, images, list(names)):
        for index, array in values.items():
            counts[index] += np.histogram(array, NUM_BINS, spans[index])[0]
    return {names[index]: Histogram(*spans[index], counts[index]) for index in names}


def with_ranges(calibrated: bytes, ranges: Mapping[str, Range]) -> bytes:
    """The calibrated model with other ranges, by tensor name; each is widened to hold zero, as the format wants it."""
    model = edit.unpack(calibrated)
    for tensor in model.subgraphs[0].tensors:
        if (name := tensor.name.decode()) in ranges:
            low, high = ranges[name]
            tensor.quantization.min = np.array([min(low, 0.0)], np.float32)
            tensor.quantization.max = np.array([max(high, 0.0)], np.float32)
    return edit.pack(model)


def check_ranges(view: View, ranges: Mapping[str, Range]) -> tuple[str, ...]:
    """Hold the scales of an INT8 file against the ranges that were asked for.

    Returns:
        Names of the tensors whose scale is another one because an operator ties it: to its other tensors
        (concatenation, pooling, padding, reshaping), or to a fixed range (sigmoid, softmax).

    Raises:
        ConversionError: another scale for no such reason.
    """
    tied: set[int] = set()
    for operator in view.operators:
        touched = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
        scales = {index: (view.tensors[index].scale, view.tensors[index].zero_point) for index in touched}
        shared = Counter(scales.values())
        tied |= {index for index, scale in scales.items() if shared[scale] > 1}
        if operator.name in _FIXED:
            tied |= set(operator.outputs)
    others = []
    for index, tensor in enumerate(view.tensors):
        if tensor.name not in ranges or len(tensor.scale) != 1:
            continue
        low, high = ranges[tensor.name]
        expected = (max(high, 0.0) - min(low, 0.0)) / _LEVELS
        if not expected or np.isclose(tensor.scale[0], expected, rtol=1e-4, atol=0):
            continue
        if index not in tied:
            raise ConversionError(
                f'"{tensor.name}" has the scale {tensor.scale[0]:g}, and calibration asked for {expected:g}'
            )
        others.append(tensor.name)
    return tuple(others)
