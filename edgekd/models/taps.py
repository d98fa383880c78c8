"""Look inside a network: which of its layers match those of another, and their feature maps beside the logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgekd._keras import tf_keras
from edgekd.errors import ModelError, did_you_mean


def layer_pairs(student: Any, teacher: Any, named: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs of layers whose feature maps are compared.

    Args:
        student, teacher: functional Keras models of the same input size.
        named: student layer to teacher layer; empty pairs the last layers of every resolution that both have.

    Raises:
        ModelError: a layer that does not exist or gives no feature map, maps whose sides do not divide each other.
    """
    if not named:
        ours, theirs = _last_of_each_size(student), _last_of_each_size(teacher)
        return [(ours[size], theirs[size]) for size in sorted(ours.keys() & theirs.keys(), reverse=True)]
    for ours_name, theirs_name in named.items():
        size, other = _map_size(student, ours_name, "student"), _map_size(teacher, theirs_name, "teacher")
        if any(max(a, b) % min(a, b) for a, b in zip(size, other, strict=True)):
            raise ModelError(
                f'distill.layer_pairs: "{ours_name}" has {size[0]} x {size[1]} positions and "{theirs_name}" '
                f"{other[0]} x {other[1]}, which do not divide each other; name layers of equal stride"
            )
    return list(named.items())


def with_features(model: Any, layers: Sequence[str]) -> Callable[[Any, bool], tuple[Any, list[Any]]]:
    """``forward(pixels, training) -> (logits, feature maps of the named layers)``; the weights are the model's own."""
    view = tf_keras.Model(
        model.input, {"logits": model.output, **{name: model.get_layer(name).output for name in layers}}
    )

    def forward(pixels: Any, training: bool) -> tuple[Any, list[Any]]:
        outputs = view(pixels, training=training)
        return outputs["logits"], [outputs[name] for name in layers]

    return forward


def channels(model: Any, layer: str) -> int:
    """Channels of a layer's feature map."""
    return int(model.get_layer(layer).output.shape[-1])


def _is_map(layer: Any) -> bool:
    output = layer.output
    return not isinstance(output, list) and len(output.shape) == 4


def _last_of_each_size(model: Any) -> dict[tuple[int, int], str]:
    """Name of the last layer at every resolution below the input's."""
    sides = tuple(model.input.shape[1:3])
    sizes = {tuple(layer.output.shape[1:3]): layer.name for layer in model.layers if _is_map(layer)}
    return {size: name for size, name in sizes.items() if size != sides}


def _map_size(model: Any, name: str, role: str) -> tuple[int, int]:
    names = [layer.name for layer in model.layers if _is_map(layer)]
    if name not in names:
        raise ModelError(f'distill.layer_pairs: the {role} has no feature map "{name}"{did_you_mean(name, names)}')
    height, width = model.get_layer(name).output.shape[1:3]
    return int(height), int(width)
