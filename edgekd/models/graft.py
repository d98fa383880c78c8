"""Put a network onto another input, layer by layer, in layers that are data and no code."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekd._keras import tf_keras
from edgekd.errors import ModelError


def graft(model: Any, inputs: Any, prefix: str = "") -> Any:
    """Call copies of a functional model's layers, weights included, on ``inputs``; returns the model's output there.

    The result is flat: the copies, those of models within the model included, become layers of whatever model is made
    of it. What Keras writes as a call of a TensorFlow function (``x + 3.0``) becomes a ``Rescaling``, so that the model
    can be saved without naming functions.

    Args:
        model: functional, with one input, one output and no layer used twice.
        inputs: a Keras tensor of the input's shape.
        prefix: put before every layer's name.

    Raises:
        ModelError: a layer used twice, a function of TensorFlow that is no shift and no scaling.
    """
    tensors = {}
    for layer in model.layers:  # in the order of execution
        if isinstance(layer, tf_keras.layers.InputLayer):
            tensors[layer.name] = inputs
            continue
        if len(layer.inbound_nodes) != 1:
            raise ModelError(f'layer "{layer.name}" is used {len(layer.inbound_nodes)} times; once is known')
        node = layer.inbound_nodes[0]
        sources = [tensors[parent.layer.name] for parent in node.parent_nodes]
        if isinstance(layer, tf_keras.Model):
            inner = tf_keras.Model(layer.inputs, layer.outputs)
            tensors[layer.name] = graft(inner, sources[0], f"{prefix}{layer.name}_")
            continue
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
        if isinstance(operand, (float, list)):
            number = np.squeeze(operand).tolist()
            if config["function"] == "__operators__.add":
                return tf_keras.layers.Rescaling(1.0, offset=number, name=name)
            if config["function"] == "math.multiply":
                return tf_keras.layers.Rescaling(number, name=name)
        raise ModelError(f'layer "{layer.name}" calls the function {config["function"]}; use built-in Keras layers')
    if isinstance(layer, tf_keras.layers.Normalization) and layer.input_mean is None:
        # As weights they would be read when the layer is built, before the weights of a saved model come back.
        config |= {"mean": layer.adapt_mean.numpy().tolist(), "variance": layer.adapt_variance.numpy().tolist()}
        return tf_keras.layers.Normalization.from_config({**config, "name": prefix + config["name"]})
    return type(layer).from_config({**config, "name": prefix + config["name"]})
