"""What the student ``blocks`` is made of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from edgekd.errors import RecipeError
from edgekd.options import option


@dataclass(frozen=True)
class Blocks:
    """A stem and stages of inverted residuals (Sandler et al. 2018); each list has one entry a stage."""

    stem_channels: int = option(16, "channels of the first convolution, of stride 2", minimum=8, maximum=1024)
    channels: tuple[int, ...] = option((16, 24, 40, 80), "channels of each stage", minimum=8, maximum=4096)
    depths: tuple[int, ...] = option((1, 2, 2, 2), "blocks of each stage; 0 leaves it out", minimum=0, maximum=64)
    kernels: tuple[int, ...] = option((3, 3, 5, 3), "side of the depthwise filters: odd", minimum=1, maximum=11)
    expansions: tuple[int, ...] = option(
        (1, 4, 4, 4), "channels inside a block for each outside", minimum=1, maximum=16
    )
    strides: tuple[int, ...] = option((1, 2, 2, 2), "stride of a stage's first block: 1 or 2", minimum=1, maximum=2)
    head_channels: int = option(
        0, "channels of a last convolution before pooling; 0 leaves it out", minimum=0, maximum=4096
    )
    activation: str = option(
        "relu6", "relu6, relu, or hard_swish, which INT8 kernels are slower at", choices=("relu6", "relu", "hard_swish")
    )


def check_blocks(blocks: Blocks) -> None:
    """Raise RecipeError unless every list has an entry for each stage, and kernels have a middle."""
    wanted = len(blocks.channels)
    for item in dataclasses.fields(blocks):
        value = getattr(blocks, item.name)
        if isinstance(value, tuple) and len(value) != wanted:
            raise RecipeError(
                f"distill.blocks.{item.name} = {list(value)}: {len(value)} stages, and distill.blocks.channels has "
                f"{wanted}; give one entry a stage"
            )
    if any(kernel % 2 == 0 for kernel in blocks.kernels):
        raise RecipeError(f"distill.blocks.kernels = {list(blocks.kernels)}: odd ones, which have a middle")
    if not any(blocks.depths):
        raise RecipeError("distill.blocks.depths: at least one stage of at least one block")
