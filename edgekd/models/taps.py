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
        named: student layer to teacher layer; empty pairs the last layers of every resolution that both have, or,
            where the teacher resizes its input so that they have none in common, those of the same rank from the
            smallest on.

    Raises:
        ModelError: a layer that does not exist or gives no feature map.
    """
    if not named:
        ours, theirs = _last_of_each_size(student), _last_of_each_size(teacher)
        shared = sorted(ours.keys() & theirs.keys(), reverse=True)
        if shared:
            return [(ours[size], theirs[size]) for size in shared]
        ranked = zip(sorted(ours), sorted(theirs), strict=False)
        return [(ours[size], theirs[other]) for size, other in ranked][::-1]
    for ours_name, theirs_name in named.items():
        _check_map(student, ours_name, "student")
        _check_map(teacher, theirs_name, "teacher")
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


def _check_map(model: Any, name: str, role: str) -> None:
    names = [layer.name for layer in model.layers if _is_map(layer)]
    if name not in names:
        raise ModelError(f'distill.layer_pairs: the {role} has no feature map "{name}"{did_you_mean(name, names)}')
