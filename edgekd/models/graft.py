"""Put a network onto another input, layer by layer, in layers that are data and no code."""

from __future__ import annotations

from typing import Any

from edgekd._keras import tf_keras
from edgekd.errors import ModelError

# A Normalization layer that Keras applications fill from their weights files: ImageNet's mean and variance of RGB in
# 0..1. As a weight it would be read when the layer is built, before the weights of a saved model come back.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_VARIANCE = (0.229**2, 0.224**2, 0.225**2)


def graft(model: Any, inputs: Any, prefix: str = "") -> Any:
    """Call copies of a functional model's layers, weights included, on ``inputs``; returns the model's output there.

    The result is flat: the copies become layers of whatever model is made of it. What Keras writes as a call of a
    TensorFlow function (``x + 3.0``) becomes a ``Rescaling``, so that the model can be saved without naming functions.

    Args:
        model: functional, with one input, one output and no layer used twice.
        inputs: a Keras tensor of the input's shape.
        prefix: put before every layer's name.

    Raises:
        ModelError: a function of TensorFlow that is no shift and no scaling.
    """
    tensors = {}
    for layer in model.layers:  # in the order of execution
        if isinstance(layer, tf_keras.layers.InputLayer):
            tensors[layer.name] = inputs
            continue
        node = layer.inbound_nodes[-1]
        sources = [tensors[parent.layer.name] for parent in node.parent_nodes]
        copy = _copy(layer, node, prefix)
        tensors[layer.name] = copy(sources[0] if len(sources) == 1 else sources)
        if copy.weights:
            copy.set_weights(layer.get_weights())
    return tensors[model.output._keras_history.layer.name]


def _copy(layer: Any, node: Any, prefix: str) -> Any:
    config = layer.get_config()
    if type(layer).__name__ == "TFOpLambda":
        name = prefix + config["name"].replace("tf.", "").strip("_.").replace("__", "")
        operand = node.call_args[-1]
        if config["function"] == "__operators__.add" and isinstance(operand, float):
            return tf_keras.layers.Rescaling(1.0, offset=operand, name=name)
        if config["function"] == "math.multiply" and isinstance(operand, float):
            return tf_keras.layers.Rescaling(operand, name=name)
        raise ModelError(f'layer "{layer.name}" calls the function {config["function"]}; use built-in Keras layers')
    if isinstance(layer, tf_keras.layers.Normalization) and layer.input_mean is None:
        config |= {"mean": list(IMAGENET_MEAN), "variance": list(IMAGENET_VARIANCE)}
        return tf_keras.layers.Normalization.from_config({**config, "name": prefix + config["name"]})
    return type(layer).from_config({**config, "name": prefix + config["name"]})
