"""Which layer of the Keras model an operator was: the converter's fused names, read backwards."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgekd.errors import RecipeError, did_you_mean
from edgekd.tflite.view import Operator, View

# What a layer calls its arithmetic, at the end of a name; a digit behind it tells copies apart.
_ARITHMETIC = {
    "CONV_2D": r"Conv2D|separable_conv2d",
    "DEPTHWISE_CONV_2D": r"depthwise",
    "FULLY_CONNECTED": r"MatMul",
    "TRANSPOSE_CONV": r"conv2d_transpose",
}
_BRIDGES = ("QUANTIZE", "DEQUANTIZE", "DENSIFY")


def layer_of(view: View, operator: Operator) -> str:
    """The Keras layer that an operator computes, what was fused into it left out.

    A name like ``net/act/Relu;net/bn/FusedBatchNormV3;net/stem/Conv2D1`` is a convolution's of layer ``stem``. Where
    the output's name does not tell (the last one is called ``Identity``), that of the weights does.
    """
    texts = [view.tensors[index].name for index in (operator.outputs[0], *operator.inputs) if index >= 0]
    arithmetic = _ARITHMETIC.get(operator.name)
    if arithmetic is not None:
        for part in (part for text in texts for part in text.split(";")):
            names = part.split("/")
            if len(names) > 2 and re.fullmatch(rf"(?:{arithmetic})\d*", names[-1]):
                return "/".join(name for name in names[1:-1] if name != "separable_conv2d")
    names = texts[0].split(";")[-1].split("/")
    return "/".join(names[1:-1]) if len(names) > 2 else texts[0]


def layers_of(view: View) -> dict[str, tuple[Operator, ...]]:
    """The operators of each layer, in the order of execution; without the bridges between number types and the head."""
    heads = {index for index in view.output_indices if view.producers[index].name in ("SOFTMAX", "LOGISTIC")}
    found: dict[str, tuple[Operator, ...]] = {}
    for operator in view.operators:
        if operator.name not in _BRIDGES and not heads & set(operator.outputs):
            name = layer_of(view, operator)
            found[name] = (*found.get(name, ()), operator)
    return found


def check_layers(view: View, names: Iterable[str], key: str) -> None:
    """Raise unless each name is that of a layer which the file computes.

    Args:
        view: of any variant of the model.
        names: as a recipe gives them.
        key: of the recipe, for the message.

    Raises:
        RecipeError: a name that is not there: mistyped, or of a layer that was fused into another.
    """
    known = layers_of(view)
    for name in names:
        if name in known:
            continue
        fused = next((layer for layer, steps in known.items() if _mentions(view, steps, name)), None)
        if fused:
            raise RecipeError(f'{key}: "{name}" is computed within "{fused}"; name that layer')
        raise RecipeError(f'{key}: the model has no layer "{name}"{did_you_mean(name, known)}')


def _mentions(view: View, operators: Iterable[Operator], name: str) -> bool:
    return any(
        f"/{name}/" in part for operator in operators for part in view.tensors[operator.outputs[0]].name.split(";")
    )
