"""Arithmetic on Keras tensors (``x + 3.0``, ``tf.nn.relu6(x)``) as the layers that do the same.

Keras files each such operation as a layer that looks a TensorFlow function up by its name: code, which a saved model of
ours may not hold. Keras applications are full of them (the hard sigmoid of MobileNetV3 is three).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd._keras import tf, tf_keras
from edgekd.errors import ModelError

CLASSES = ("TFOpLambda", "SlicingOpLambda")


def as_layer(operation: Any, args: Sequence[Any], options: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """Return a layer of the operation's name that does the same, and the Keras tensors that it reads.

    Followed are sums, differences, products and quotients of two tensors or of a tensor and one number (but for a
    number divided by a tensor), ``tf.negative``, ``tf.nn.relu``, ``tf.nn.relu6`` and ``tf.concat``.

    Args:
        operation: Keras's layer.
        args: what it was called with.
        options: the keyword arguments of that call.

    Raises:
        ModelError: another operation.
    """
    layers, name = tf_keras.layers, operation.name
    first, *others = [*args, *(options[key] for key in ("y", "axis") if key in options)]
    operands = [first, *others[:1]]
    tensors = [operand for operand in operands if is_keras_tensor(operand)]
    numbers = [float(operand) for operand in operands if _is_number(operand)]
    match operation.symbol, len(tensors), numbers:
        case "__operators__.add" | "math.add", 2, []:
            return layers.Add(name=name), tensors
        case "__operators__.add" | "math.add", 1, [number]:
            return layers.Rescaling(1.0, offset=number, name=name), tensors
        case "math.subtract", 2, []:
            return layers.Subtract(name=name), tensors
        case "math.subtract", 1, [number] if tensors[0] is first:
            return layers.Rescaling(1.0, offset=-number, name=name), tensors
        case "math.subtract", 1, [number]:
            return layers.Rescaling(-1.0, offset=number, name=name), tensors
        case "math.multiply", 2, []:
            return layers.Multiply(name=name), tensors
        case "math.multiply", 1, [number]:
            return layers.Rescaling(number, name=name), tensors
        case "math.truediv", 1, [number] if tensors[0] is first:
            return layers.Rescaling(1 / number, name=name), tensors
        case "math.negative", 1, []:
            return layers.Rescaling(-1.0, name=name), tensors
        case "nn.relu", 1, []:
            return layers.ReLU(name=name), tensors
        case "nn.relu6", 1, []:
            return layers.ReLU(6.0, name=name), tensors
        case "concat", 0, [axis]:
            return layers.Concatenate(axis=int(axis), name=name), list(first)
    raise ModelError(
        f'layer "{name}" is the operation tf.{operation.symbol.removeprefix("__operators__.")}, whose channels cannot '
        "be followed; use a Keras layer in its place"
    )


def is_keras_tensor(value: Any) -> bool:
    """The value is the output of a Keras layer, in a model that is being described."""
    return hasattr(value, "_keras_history")


def _is_number(operand: Any) -> bool:
    return isinstance(operand, (int, float)) or (
        tf.is_tensor(operand) and not is_keras_tensor(operand) and operand.shape == ()
    )
