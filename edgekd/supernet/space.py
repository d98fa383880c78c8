"""The networks that a supernet holds: for each stage of ``blocks`` a depth, a kernel, an expansion and a width."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd.config.blocks import Blocks
from edgekd.config.nas import Nas
from edgekd.errors import RecipeError
from edgekd.models.layers import rounded_channels


class Stage(NamedTuple):
    """What a stage may be; ascending."""

    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Space:
    """A set of networks; each is a :class:`~edgekd.config.blocks.Blocks` of width multiplier 1.

    Attributes:
        base: what all of them have in common: stem, head, strides, activation.
        stages: what each stage may be. In a stage of depth 0 nothing else counts, and is written at its smallest.
    """

    base: Blocks
    stages: tuple[Stage, ...]

    @classmethod
    def of(cls, blocks: Blocks, width_multiplier: float, nas: Nas) -> Space:
        """The space of a recipe.

        Raises:
            RecipeError: a single network, or a stage to be left out before which there is a wider one.
        """
        depths = tuple(sorted(nas.depths))
        stages = [
            Stage(
                depths if index < len(blocks.channels) - 1 else tuple(depth for depth in depths if depth),
                tuple(sorted(nas.kernels)),
                tuple(sorted(nas.expansions)),
                tuple(sorted({rounded_channels(channels, share * width_multiplier) for share in nas.widths})),
            )
            for index, channels in enumerate(blocks.channels)
        ]
        base = dataclasses.replace(
            blocks,
            stem_channels=rounded_channels(blocks.stem_channels, width_multiplier),
            head_channels=blocks.head_channels and rounded_channels(blocks.head_channels, width_multiplier),
        )
        made = cls(base, tuple(stages))
        widest = [base.stem_channels, *(stage.channels[-1] for stage in stages)]
        if 0 in depths and widest != sorted(widest):
            # What follows a stage that is left out takes the output of the one before, on its first channels.
            raise RecipeError(
                f"nas.depths = {list(nas.depths)}: with 0 in it, stem and stages must not become narrower, and they "
                f"have {widest} channels; leave 0 out, or change distill.blocks.channels"
            )
        if made.size == 1:
            raise RecipeError("nas: widths, depths, kernels and expansions leave one network; give one of them more")
        return made

    @property
    def size(self) -> int:
        """How many networks there are."""
        return math.prod(
            sum(math.prod(map(len, stage[1:])) if depth else 1 for depth in stage.depths) for stage in self.stages
        )

    @property
    def largest(self) -> Blocks:
        """The one whose weights all others share."""
        return self.blocks([[values[-1] for values in stage] for stage in self.stages])

    @property
    def smallest(self) -> Blocks:
        """The one with the least of everything."""
        return self.blocks([[values[0] for values in stage] for stage in self.stages])

    def blocks(self, rows: object) -> Blocks:
        """The network of a table ``(stages, 4)``: depth, kernel, expansion, channels."""
        columns = [tuple(int(value) for value in column) for column in np.transpose(np.asarray(rows))]
        depths, *others = columns
        for gene, column in enumerate(others, start=1):
            others[gene - 1] = tuple(
                value if depth else stage[gene][0]
                for value, depth, stage in zip(column, depths, self.stages, strict=True)
            )
        kernels, expansions, channels = others
        return dataclasses.replace(self.base, depths=depths, kernels=kernels, expansions=expansions, channels=channels)

    def drawn(self, generator: np.random.Generator) -> Blocks:
        """A network with every value drawn evenly."""
        return self.blocks([[values[generator.integers(len(values))] for values in stage] for stage in self.stages])

    def mutated(self, blocks: Blocks, generator: np.random.Generator) -> Blocks:
        """The network with one value of one stage changed to another."""
        rows = rows_of(blocks)
        places = [
            (index, gene)
            for index, stage in enumerate(self.stages)
            for gene, values in enumerate(stage)
            if len(values) > 1 and (gene == 0 or rows[index, 0])
        ]
        index, gene = places[generator.integers(len(places))]
        others = [value for value in self.stages[index][gene] if value != rows[index, gene]]
        rows[index, gene] = others[generator.integers(len(others))]
        return self.blocks(rows)


def rows_of(blocks: Blocks) -> NDArray[np.int32]:
    """Depth, kernel, expansion and channels of each stage, shape ``(stages, 4)``."""
    return np.array([blocks.depths, blocks.kernels, blocks.expansions, blocks.channels], np.int32).T
