"""The student in tfmot's wrappers: made, read, and taken out of them again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgekd import _keras
from edgekd._keras import tf_keras
from edgekd.errors import ModelError
from edgekd.fake_quant.obstacles import check
from edgekd.fake_quant.ranges import PIXELS, Ranges
from edgekd.fake_quant.scheme import scheme

_INPUT = "quantize_layer"
# What the wrapped layer calls the range of its output: without and with an activation of its own.
_PLACES = ("output", "post_activation")


def wrap(model: Any, ranges: Ranges) -> Any:
    """The student with tfmot's wrapper around every layer; weights are copied, layers are named ``quant_<name>``.

    Args:
        model: flat, as :func:`check` wants it.
        ranges: of :func:`calibrate`; tfmot's own start at -6 and 6 and hardly move.

    Raises:
        ModelError: as :func:`check`; a range that is not given.
    """
    check(model)
    quantization = _keras.tfmot().quantization.keras
    with quantization.quantize_scope():
        wrapped = quantization.quantize_apply(quantization.quantize_annotate_model(model), scheme())
    for name, low, high in _variables(wrapped):
        if name not in ranges:
            raise ModelError(f'layer "{name}" has no range from the calibration; use quantize.method = "ptq"')
        low.assign(ranges[name][0])
        high.assign(ranges[name][1])
    pin_input(wrapped)
    return wrapped


def pin_input(wrapped: Any) -> None:
    """Set the input's range to that of the pixels, which the views of a batch seldom fill: they would shrink it."""
    layer = wrapped.get_layer(_INPUT)
    for end, value in zip(("min", "max"), PIXELS, strict=True):
        _weights(layer)[f"{_INPUT}_{end}"].assign(value)


def kernels(wrapped: Any) -> list[Any]:
    """Variables behind the kernels that pruning and clustering work on, in the order of the layers."""
    layers = tf_keras.layers
    return [
        _weights(layer)["kernel"]
        for layer in wrapped.layers
        if type(getattr(layer, "layer", None)) in (layers.Conv2D, layers.Dense)
    ]


def read_ranges(wrapped: Any) -> dict[str, tuple[float, float]]:
    """The ranges as they are now, by the names of the student's own layers; the input's is left out."""
    return {name: (float(low.numpy()), float(high.numpy())) for name, low, high in _variables(wrapped)}


def unwrap(wrapped: Any, model: Any) -> None:
    """Give a student the weights of its wrapped form: without ranges, in floating point."""
    for layer in wrapped.layers:
        inner = getattr(layer, "layer", None)
        if inner is not None:
            own = _weights(layer)
            for weight in model.get_layer(inner.name).weights:
                weight.assign(own[_short(weight)])


def _variables(wrapped: Any) -> Iterator[tuple[str, Any, Any]]:
    """``(layer of the student, low, high)`` of every range but the input's."""
    for layer in wrapped.layers:
        own = _weights(layer)
        for place in _PLACES:
            if f"{place}_min" in own:
                yield layer.layer.name, own[f"{place}_min"], own[f"{place}_max"]


def _weights(layer: Any) -> dict[str, Any]:
    return {_short(weight): weight for weight in layer.weights}


def _short(weight: Any) -> str:
    return str(weight.name).rpartition("/")[2].partition(":")[0]
