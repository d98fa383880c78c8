"""A functional Keras model as a graph: which layer reads which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd._keras import tf, tf_keras
from edgekd.channels import operators
from edgekd.errors import ModelError


@dataclass(frozen=True)
class Node:
    """A layer and what it reads. Each layer stands once and has one output, so that its name names the tensor too.

    Attributes:
        layer: the Keras layer; for arithmetic on tensors, the layer that does the same.
        inputs: names of the layers that it reads.
        listed: it is called with a list of tensors.
        options: keyword arguments of the call (``training=False``).
        shape: of the output, the batch first.
    """

    layer: Any
    inputs: tuple[str, ...]
    listed: bool
    options: Mapping[str, Any]
    shape: tuple[int | None, ...]

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.layer.name)

    @property
    def kind(self) -> str:
        """The layer's class."""
        return type(self.layer).__name__

    @property
    def channels(self) -> int:
        """Length of the output's last axis."""
        return int(self.shape[-1] or 0)


def read(model: Any) -> dict[str, Node]:
    """Return the layers by name, in the model's order: each after all that it reads.

    Raises:
        ModelError: not a functional model; a layer that is used twice, is a model itself, is not Keras's own, or is
            called in a way that cannot be followed. The message names the layer.
    """
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(
            f'model "{model.name}" is not a functional one, and its layers cannot be followed; build it with '
            "tf_keras.Model(inputs, outputs)"
        )
    # A sequential model does not list its input, which comes before all others.
    place = {layer.name: index for index, layer in enumerate(model.layers)}
    calls = [call for row in model._nodes_by_depth.values() for call in row]
    calls.sort(key=lambda call: place.get(call.layer.name, -1))
    for name, count in Counter(call.layer.name for call in calls).items():
        if count > 1:
            raise ModelError(
                f'layer "{name}" is used {count} times, and its channels cannot go in one place alone; '
                "give each use a layer of its own"
            )
    return {call.layer.name: _node(call) for call in calls}


def rebuild(model: Any, nodes: Mapping[str, Node], layers: Mapping[str, Any]) -> Any:
    """Connect ``layers`` as ``nodes`` say, into a functional model with the inputs and outputs of ``model``."""
    tensors: dict[str, Any] = {}
    for name, node in nodes.items():
        read = [tensors[source] for source in node.inputs]
        if not read:
            tensors[name] = layers[name].output
        else:
            tensors[name] = layers[name](read if node.listed else read[0], **node.options)

    def rebuilt(structure: Any) -> Any:
        return tf.nest.map_structure(lambda tensor: tensors[producer(tensor)], structure)

    return tf_keras.Model(rebuilt(model.input), rebuilt(model.output), name=model.name)


def _node(call: Any) -> Node:
    layer = call.layer
    kind = type(layer).__name__
    shape = tuple(getattr(call.outputs, "shape", ()))
    if isinstance(layer, tf_keras.Model):
        raise ModelError(
            f'layer "{layer.name}" is a model within the model; build it flat (Keras applications: with input_tensor=)'
        )
    if kind in operators.CLASSES and type(layer).__module__.startswith("tf_keras."):
        layer, tensors = operators.as_layer(layer, call.call_args, call.call_kwargs)
        return Node(layer, tuple(map(producer, tensors)), len(tensors) > 1, {}, shape)
    if type(layer) is not getattr(tf_keras.layers, kind, None):
        raise ModelError(f'layer "{layer.name}" is of class {kind}, which is not one of Keras: it cannot be followed')
    if call.is_input:
        return Node(layer, (), False, {}, shape)
    options = {key: value for key, value in call.call_kwargs.items() if value is not None}
    if (
        len(call.call_args) != 1
        or not all(map(operators.is_keras_tensor, tf.nest.flatten(call.call_args)))
        or any(map(operators.is_keras_tensor, tf.nest.flatten(options)))
    ):
        raise ModelError(
            f'layer "{layer.name}" ({kind}) is called with something else than the outputs of layers: it cannot be '
            "followed"
        )
    (read,) = call.call_args
    listed = isinstance(read, (list, tuple))
    return Node(layer, tuple(map(producer, read if listed else [read])), listed, options, shape)


def producer(tensor: Any) -> str:
    """Name of the layer that makes a Keras tensor."""
    name: str = tensor._keras_history.layer.name
    return name
