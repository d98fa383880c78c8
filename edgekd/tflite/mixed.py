"""Choose the layers that stay in float: the fewest that bring what INT8 loses under a limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekd.tflite import cost
from edgekd.tflite.layer_errors import LayerError, carries
from edgekd.tflite.layers import layer_of, layers_of
from edgekd.tflite.view import Operator, View

Drop = Callable[[tuple[str, ...]], float]
"""``layers in float -> fall of accuracy in percentage points``"""


@dataclass(frozen=True)
class Choice:
    """What was found.

    Attributes:
        layers: to keep in float; empty where INT8 holds the limit, or where nothing does.
        held: whether the limit is held.
        drop_pp: of what is to be shipped, in percentage points.
        int8_drop_pp: of INT8 throughout.
        tried: how many models were measured.
    """

    layers: tuple[str, ...]
    held: bool
    drop_pp: float
    int8_drop_pp: float
    tried: int


def choose(view: View, errors: Sequence[LayerError], drop: Drop, limit_pp: float) -> Choice:
    """Keep layers in float, worst first, until the limit is held; then give back each that is not needed.

    A tensor is free of rounding where the layer that writes it and all layers that read it are in float. So a layer
    comes with its readers. How many of the ranked layers are needed is found by doubling and halving; where the ranking
    leads nowhere, each layer is tried by itself. Then every layer of the set is tried in INT8 again, the last ones
    first: no single layer of the result can be spared. Another set of as few may exist; to find the smallest of all
    would take every subset.

    Args:
        view: of the INT8 model.
        errors: of :func:`~edgekd.tflite.layer_errors.layer_errors`, worst first.
        drop: measures a set of layers.
        limit_pp: percentage points that may be lost.
    """
    ranked = {error.layer: readers(view, error.layer) for error in errors}
    weighted = {layer_of(view, step) for step, _ in cost.weights(view)}
    known: dict[tuple[str, ...], float] = {}

    def measured(layers: tuple[str, ...]) -> float:
        if layers not in known:
            known[layers] = drop(layers)
        return known[layers]

    def first(count: int) -> tuple[str, ...]:
        worst = list(ranked.items())[:count]
        return tuple(dict.fromkeys(name for layer, after in worst for name in (layer, *after)))

    plain = measured(())
    if plain <= limit_pp:
        return Choice((), True, plain, plain, len(known))
    # With all weights in float nothing would be quantized any more.
    most = max(count for count in range(len(ranked) + 1) if not weighted <= set(first(count)))
    count = 1
    while count < most and measured(first(count)) > limit_pp:
        count *= 2
    count = min(count, most)
    if count and measured(first(count)) <= limit_pp:
        too_few = count // 2
        while count - too_few > 1:
            middle = (count + too_few) // 2
            too_few, count = (too_few, middle) if measured(first(middle)) <= limit_pp else (middle, count)
        layers = first(count)
    else:
        pairs = [(layer, *after) for layer, after in ranked.items() if not weighted <= {layer, *after}]
        layers = next((pair for pair in pairs if measured(pair) <= limit_pp), ())
    if not layers:
        return Choice((), False, plain, plain, len(known))
    for layer in reversed(layers):
        fewer = tuple(name for name in layers if name != layer)
        if measured(fewer) <= limit_pp:
            layers = fewer
    return Choice(layers, True, measured(layers), plain, len(known))


def readers(view: View, layer: str) -> tuple[str, ...]:
    """Layers that read what a layer writes, through those that only move values; these are named too."""
    found: dict[str, None] = {}
    waiting: list[Operator] = list(layers_of(view)[layer])
    while waiting:
        written = waiting.pop(0)
        for step in view.operators:
            if not set(written.outputs) & set(step.inputs) or step.name in ("QUANTIZE", "DEQUANTIZE"):
                continue
            if set(step.outputs) & set(view.output_indices):
                continue
            found[layer_of(view, step)] = None
            if carries(view, step):
                waiting.append(step)
    return tuple(name for name in found if name != layer)
