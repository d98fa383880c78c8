"""Which channels of which layers can only go together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from edgekd.channels import rules
from edgekd.channels.graph import Node, producer, read
from edgekd.channels.weights import MIXING, weights
from edgekd.errors import ModelError, RecipeError, did_you_mean


@dataclass(frozen=True)
class Group:
    """Channels that are alike in where they run, of which any may go without the others.

    Attributes:
        name: the first layer that makes them. Channel ``k`` of the group is the k-th of that layer's channels that
            belong to it (all of them, but where a sum meets a concatenation).
        layers: all layers with weights that write these channels, in the model's order.
        readers: layers that make other channels out of these.
        units: (n,) int64: the channels' numbers in ``Structure.units``.
        kept_because: why none of them may go; empty where they may.
    """

    name: str
    layers: tuple[str, ...]
    readers: tuple[str, ...]
    units: NDArray[np.int64]
    kept_because: str

    def __len__(self) -> int:
        return len(self.units)


@dataclass(frozen=True)
class Structure:
    """A model and its channels.

    Attributes:
        model: the Keras model.
        nodes: its layers, each after what it reads.
        units: for each layer's output, the number of the unit that each channel is part of. A unit goes as a whole: it
            is one channel in each of several layers.
        groups: by name, in the model's order; every unit is in one.
    """

    model: Any
    nodes: Mapping[str, Node]
    units: Mapping[str, NDArray[np.int64]]
    groups: Mapping[str, Group]

    @property
    def prunable(self) -> tuple[Group, ...]:
        """Groups of which channels may go."""
        return tuple(group for group in self.groups.values() if not group.kept_because)

    @property
    def num_units(self) -> int:
        """Units of all groups."""
        return sum(map(len, self.groups.values()))

    def along(self, layer: str, role: str) -> NDArray[np.int64]:
        """Units along an axis of a layer's weight, by its role in :mod:`edgekd.channels.weights`."""
        if role == "o":
            return self.units[layer]
        read = self.units[self.nodes[layer].inputs[0]]
        return np.repeat(read, self.nodes[layer].layer.depth_multiplier) if role == "m" else read

    def group(self, name: str) -> Group:
        """The group of a name.

        Raises:
            ModelError: there is none; the message names the nearest.
        """
        if name not in self.groups:
            raise ModelError(f'no group of channels "{name}"{did_you_mean(name, self.groups)}')
        return self.groups[name]


def follow(model: Any, protected: Iterable[str] = ()) -> Structure:
    """Find the groups of a functional Keras model.

    A channel of one layer and a channel of another belong together where they are added or multiplied element by
    element, and a depthwise convolution's where it reads that channel. The connected components of that relation are
    the units; units that the same layers make are a group. Activations, normalization, pooling, padding, concatenation
    and flattening carry channels on.

    Kept whole are the model's inputs and outputs, channels that a layer works across (softmax, layer normalization,
    grouped convolutions), channels that would still be seen as something else than zero with all their weights at zero
    (a sigmoid before a convolution; a sigmoid that gates is no obstacle, as what it gates is zero), and ``protected``.

    Args:
        model: functional, flat, each layer used once.
        protected: names of layers whose output channels stay.

    Raises:
        ModelError: a layer that cannot be followed; the message names it.
        RecipeError: a protected layer that does not exist; the message names the nearest.
    """
    nodes = read(model)
    book = rules.Book()
    found: dict[str, rules.Channels] = {}
    for name, node in nodes.items():
        found[name] = rules.follow(node, [found[source] for source in node.inputs], book)
    kept = [(found[producer(tensor)].ids, "they are the model's output") for tensor in model.outputs]
    for name in protected:
        if name not in nodes:
            raise RecipeError(f'protected layer "{name}" is not in the model{did_you_mean(name, nodes)}')
        kept.append((found[name].ids, f'layer "{name}" is protected'))
    unit_of = _components(len(book.writers), book.together)
    units = {name: unit_of[channels.ids] for name, channels in found.items()}
    reasons: dict[int, str] = {}
    for ids, reason in (*kept, *book.kept):
        for unit in unit_of[ids]:
            reasons.setdefault(int(unit), reason)
    return Structure(model, nodes, units, _groups(nodes, units, unit_of, book.writers, reasons))


def _components(count: int, together: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> NDArray[np.int64]:
    """For each channel the number of its unit; units are numbered in the order of their first channels."""
    pairs = list(together)
    rows, columns = (np.concatenate([np.empty(0, np.int64), *(pair[side] for pair in pairs)]) for side in (0, 1))
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), (count, count))
    _, first, labels = np.unique(connected_components(links)[1], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[labels]


def _groups(
    nodes: Mapping[str, Node],
    units: Mapping[str, NDArray[np.int64]],
    unit_of: NDArray[np.int64],
    writers: list[str],
    reasons: Mapping[int, str],
) -> dict[str, Group]:
    names = list(dict.fromkeys(writers))
    # How many channels of each layer a unit has; units that agree in all of it are a group.
    made = np.zeros((unit_of.max() + 1, len(names)), np.int64)
    column = {name: index for index, name in enumerate(names)}
    np.add.at(made, (unit_of, np.array([column[writer] for writer in writers])), 1)
    _, first, kinds = np.unique(made, axis=0, return_index=True, return_inverse=True)
    written = {
        layer: set(kinds[units[layer]])
        for layer, node in nodes.items()
        if any(weight.written for weight in weights(node.layer))
    }
    read = {layer: set(kinds[units[node.inputs[0]]]) for layer, node in nodes.items() if node.kind in MIXING}
    groups: dict[str, Group] = {}
    for kind in np.argsort(first):
        members = np.flatnonzero(kinds == kind)
        maker = names[int(np.flatnonzero(made[members[0]])[0])]
        name, number = maker, 1
        while name in groups:
            number += 1
            name = f"{maker}#{number}"
        groups[name] = Group(
            name,
            tuple(layer for layer, found in written.items() if kind in found),
            tuple(layer for layer, found in read.items() if kind in found),
            members,
            next((reasons[int(unit)] for unit in members if int(unit) in reasons), ""),
        )
    return groups
