"""Which axis of which weight belongs to a layer's input channels and which to its output channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Roles of the last axes: what is read (i), what is made (o), what is read and made one by one (c), what lies between
# the halves of a separable convolution (m), the same for all channels (.).
_ROLES: dict[str, dict[str, str]] = {
    "Conv2D": {"kernel": "io", "bias": "o"},
    "Conv2DTranspose": {"kernel": "oi", "bias": "o"},
    "Dense": {"kernel": "io", "bias": "o"},
    "DepthwiseConv2D": {"depthwise_kernel": "c.", "bias": "o"},
    "SeparableConv2D": {"depthwise_kernel": "i.", "pointwise_kernel": "mo", "bias": "o"},
    "BatchNormalization": dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), "c"),
    "PReLU": {"alpha": "c"},
}
MIXING = ("Conv2D", "Conv2DTranspose", "Dense", "SeparableConv2D")
WRITTEN = ("o", "c")


@dataclass(frozen=True)
class Weight:
    """A variable of a layer.

    Attributes:
        attribute: its name in the layer; empty for a variable that the channels do not concern.
        variable: the TensorFlow variable.
        axes: the role of each axis along which channels lie; axes are counted from the end.
    """

    attribute: str
    variable: Any
    axes: Mapping[int, str]

    @property
    def written(self) -> Mapping[int, str]:
        """The axes along which the channels lie that the layer writes."""
        return {axis: role for axis, role in self.axes.items() if role in WRITTEN}


def weights(layer: Any) -> list[Weight]:
    """A layer's variables, in the order of ``layer.weights``."""
    known = _ROLES.get(type(layer).__name__, {})
    if type(layer).__name__ == "PReLU" and layer.alpha.shape[-1] != layer.output.shape[-1]:
        known = {}  # shared by all channels
    if getattr(layer, "groups", 1) > 1:
        known = known | {"kernel": "o"}  # what it reads stays, and lies along two axes at once
    attributes = {id(getattr(layer, attribute)): attribute for attribute in known}
    found = []
    for variable in layer.weights:
        attribute = attributes.get(id(variable), "")
        roles = known.get(attribute, "")
        axes = {index - len(roles): role for index, role in enumerate(roles) if role != "."}
        found.append(Weight(attribute, variable, axes))
    return found


def resized(layer: Any, num_outputs: int) -> dict[str, Any]:
    """The layer's configuration with another number of output channels."""
    config: dict[str, Any] = layer.get_config()
    match type(layer).__name__:
        case "Conv2D" | "Conv2DTranspose" | "SeparableConv2D":
            config["filters"] = num_outputs
        case "Dense":
            config["units"] = num_outputs
        case "Reshape" if config["target_shape"][-1] != -1:
            config["target_shape"] = (*config["target_shape"][:-1], num_outputs)
    return config
