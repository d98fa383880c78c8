"""Remove channels from a model, or set them to zero in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import tf_keras
from edgekd.channels.graph import Node, rebuild
from edgekd.channels.groups import Structure
from edgekd.channels.plan import Plan
from edgekd.channels.weights import resized, weights
from edgekd.errors import ModelError


def remove(structure: Structure, plan: Plan) -> Any:
    """Return a smaller model without the channels of the plan.

    Before any fine-tuning it computes what :func:`zeroed` computes. It is a dense functional model of plain Keras
    layers: names, settings and what is left of the weights are those of the original. Arithmetic on tensors has become
    layers (:mod:`edgekd.channels.operators`).

    Raises:
        ModelError: a plan that does not fit the model, or a layer that cannot be made again.
    """
    kept = plan.kept(structure)
    layers = {name: _smaller(structure, node, kept) for name, node in structure.nodes.items()}
    model = rebuild(structure.model, structure.nodes, layers)
    for name, node in structure.nodes.items():
        values = []
        for weight in weights(node.layer):
            value = weight.variable.numpy()
            for axis, role in weight.axes.items():
                value = np.compress(kept[structure.along(name, role)], value, axis)
            values.append(value)
        layers[name].set_weights(values)
    return model


def _smaller(structure: Structure, node: Node, kept: NDArray[np.bool_]) -> Any:
    config = resized(node.layer, int(kept[structure.units[node.name]].sum()))
    try:
        return type(node.layer).from_config(config)
    except Exception as error:  # Keras raises whatever the configuration leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f'layer "{node.name}" ({node.kind}) cannot be made from its settings: {reason}') from error


def zeroed(structure: Structure, plan: Plan) -> Any:
    """Return the original model with the plan's channels at zero: same layers, same sizes.

    Raises:
        ModelError: a plan that does not fit the model.
    """
    values = zeroed_weights(structure, plan)
    model = tf_keras.models.clone_model(structure.model)
    model.set_weights(values)
    return model


def zeroed_weights(structure: Structure, plan: Plan) -> list[NDArray[np.generic]]:
    """The original model's weights with all that writes the plan's channels at zero, for its ``set_weights``.

    At zero are the kernel and bias of each layer that makes such a channel, its depthwise kernels, and all numbers by
    which it is normalized; what reads it is left alone. The other numbers are the model's as it is now. So many plans
    can be tried on one model without building another, its own weights being set again before the next.

    Raises:
        ModelError: a plan that does not fit the model.
    """
    kept = plan.kept(structure)
    found = {id(variable): variable.numpy() for variable in structure.model.weights}
    for name, node in structure.nodes.items():
        for weight in weights(node.layer):
            for axis, role in weight.written.items():
                gone = ~kept[structure.along(name, role)]
                np.moveaxis(found[id(weight.variable)], axis, 0)[gone] = 0
    return [found[id(variable)] for variable in structure.model.weights]
