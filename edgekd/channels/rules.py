"""What each kind of layer does to the channels that it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import tf
from edgekd.channels.graph import Node
from edgekd.channels.weights import MIXING
from edgekd.errors import ModelError


@dataclass(frozen=True)
class Channels:
    """The channels of a tensor, which are its last axis.

    Attributes:
        ids: (c,) int64: what stands where; a channel keeps its number until a layer mixes it with others.
        gone: (c,) float64: the value that is seen in its place once all weights that write it are zero; NaN where it is
            not one value.
    """

    ids: NDArray[np.int64]
    gone: NDArray[np.float64]


@dataclass
class Book:
    """What is found on the way through a graph.

    Attributes:
        writers: for each channel number, the layer that makes it.
        together: pairs of arrays of channels that go together or not at all.
        kept: channels that cannot go, with the reason.
    """

    writers: list[str] = field(default_factory=list)
    together: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    kept: list[tuple[NDArray[np.int64], str]] = field(default_factory=list)

    def new(self, node: Node, gone: float) -> Channels:
        """Number the channels that a layer makes."""
        first = len(self.writers)
        self.writers += [node.name] * node.channels
        return Channels(np.arange(first, len(self.writers)), np.full(node.channels, gone))

    def keep(self, ids: NDArray[np.int64], reason: str) -> None:
        """Say that channels cannot go."""
        if len(ids):
            self.kept.append((ids, reason))


Rule = Callable[[Node, Sequence[Channels], Book], Channels]


def follow(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """Return the channels of a layer's output, and enter into the book what binds or keeps them.

    Raises:
        ModelError: a kind of layer that has no rule, or one whose axes cannot be followed.
    """
    if node.kind not in _RULES:
        raise _refusal(node, f"is of class {node.kind}; known: {', '.join(sorted(_RULES))}")
    if getattr(node.layer, "data_format", "channels_last") == "channels_first":
        raise _refusal(node, 'has data_format "channels_first"; use channels_last')
    if None in node.shape[-1:]:
        raise _refusal(node, "has an unknown number of channels; give the model an input size")
    return _RULES[node.kind](node, inputs, book)


def _refusal(node: Node, reason: str) -> ModelError:
    return ModelError(f'channels cannot be followed through layer "{node.name}": it {reason}')


def _input(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    channels = book.new(node, np.nan)
    book.keep(channels.ids, "they are the model's input")
    return channels


def _mixing(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """Convolutions and dense layers: each output channel reads all input channels, and sees zero where one is gone."""
    (x,) = inputs
    seen = x.gone != 0
    if seen.any():
        value = x.gone[seen][0]
        what = "something else than 0" if np.isnan(value) else f"{value:g} and not 0"
        book.keep(x.ids[seen], f'layer "{node.name}" would see {what} in their place')
    made = book.new(node, 0.0)
    if getattr(node.layer, "groups", 1) > 1:
        for ids in (x.ids, made.ids):
            book.keep(ids, f'layer "{node.name}" is a grouped convolution')
    return _activation(node, [made], book)


def _depthwise(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """Output ``c * multiplier + j`` is made of input ``c`` alone; with its kernel and bias at zero it is zero."""
    ids = np.repeat(inputs[0].ids, node.layer.depth_multiplier)
    return _activation(node, [Channels(ids, np.zeros(len(ids)))], book)


def _normalization(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """Gamma, beta and mean go to zero; without a gamma that gives zero only where the input is zero."""
    (x,) = inputs
    axis = list(node.layer.axis)
    if axis != [len(node.shape) - 1]:
        raise _refusal(node, f"normalizes along axis {axis}; use the last")
    return Channels(x.ids, np.where(node.layer.scale | (x.gone == 0), 0.0, np.nan))


def _activation(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """A function of each number by itself; a softmax is none."""
    (x,) = inputs
    function = node.layer.activation
    if getattr(function, "weights", []):
        raise _refusal(node, "has an activation with weights; use a layer of its own for that")
    values = tf.constant(np.linspace(-3, 3, 7, dtype=np.float32)[np.newaxis])
    if not np.allclose(function(values), tf.transpose(function(tf.transpose(values)))):
        return _whole(node, inputs, book)
    return Channels(x.ids, _image(x.gone, function))


def _pointwise(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """A function of each number by itself; not so a Rescaling that has numbers of its own for each channel."""
    if np.ndim(getattr(node.layer, "scale", 0.0)) or np.ndim(getattr(node.layer, "offset", 0.0)):
        return _whole(node, inputs, book)
    return Channels(inputs[0].ids, _image(inputs[0].gone, node.layer.call))


def _image(values: NDArray[np.float64], function: Callable[[Any], Any]) -> NDArray[np.float64]:
    found = np.asarray(function(tf.constant(values, tf.float32)), np.float64)
    return np.where(np.isnan(values), np.nan, found)  # a clipped NaN would be a number


def _still(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """Positions move or are averaged; a channel that has one value everywhere keeps it."""
    return inputs[0]


def _through_zero(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """Each channel by itself, zero to zero, but other values become several."""
    (x,) = inputs
    return Channels(x.ids, np.where(x.gone == 0, 0.0, np.nan))


def _whole(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """What each channel becomes depends on the others, or on its place among them."""
    (x,) = inputs
    book.keep(x.ids, f'layer "{node.name}" ({node.kind}) works across them')
    return Channels(x.ids, np.full(len(x.ids), np.nan))


_ELEMENTWISE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "Add": lambda gone: gone.sum(axis=0),
    "Subtract": lambda gone: gone[0] - gone[1],
    "Multiply": lambda gone: np.where((gone == 0).any(axis=0), 0.0, gone.prod(axis=0)),
    "Average": lambda gone: gone.mean(axis=0),
    "Maximum": lambda gone: gone.max(axis=0),
    "Minimum": lambda gone: gone.min(axis=0),
}


def _elementwise(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """Channel by channel; what has a single one meets all of the others, and stays."""
    count = max(len(x.ids) for x in inputs)
    first, *others = (x for x in inputs if len(x.ids) == count)
    book.together += [(first.ids, other.ids) for other in others]
    for x in inputs:
        if len(x.ids) != count:
            book.keep(x.ids, f'layer "{node.name}" spreads them over other channels')
    gone = np.stack([x.gone if len(x.ids) == count else np.full(count, np.nan) for x in inputs])
    return Channels(first.ids, _ELEMENTWISE[node.kind](gone))


def _concatenate(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    if node.layer.axis not in (-1, len(node.shape) - 1):
        raise _refusal(node, f"concatenates along axis {node.layer.axis}; use the last")
    return Channels(np.concatenate([x.ids for x in inputs]), np.concatenate([x.gone for x in inputs]))


def _reshape(node: Node, inputs: Sequence[Channels], book: Book) -> Channels:
    """Flatten and Reshape: allowed where each place of the new last axis holds one channel, whatever the position."""
    (x,) = inputs
    positions = node.layer.input.shape[1:-1]
    if None in positions:
        raise _refusal(node, "reshapes an image of unknown size; give the model an input size")
    ids, gone = (np.tile(values, prod(positions)).reshape(-1, node.channels) for values in (x.ids, x.gone))
    if (ids != ids[0]).any():
        raise _refusal(node, "makes positions of channels")
    return Channels(ids[0], gone[0])


_RULES: dict[str, Rule] = {
    "InputLayer": _input,
    **dict.fromkeys(MIXING, _mixing),
    "DepthwiseConv2D": _depthwise,
    "BatchNormalization": _normalization,
    "Activation": _activation,
    **dict.fromkeys(("ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Rescaling"), _pointwise),
    **dict.fromkeys(("PReLU", "ZeroPadding2D"), _through_zero),
    **dict.fromkeys(("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"), _still),
    **dict.fromkeys(("Cropping2D", "UpSampling2D", "Resizing", "CenterCrop"), _still),
    **dict.fromkeys(("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation"), _still),
    **dict.fromkeys(("Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"), _still),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    "Concatenate": _concatenate,
    **dict.fromkeys(("Flatten", "Reshape"), _reshape),
    **dict.fromkeys(("Softmax", "Normalization", "LayerNormalization", "GroupNormalization"), _whole),
}
