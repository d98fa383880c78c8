"""The analysis of sensitivity: what val loses with each layer pruned alone."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.options import option


@dataclass(frozen=True)
class Sensitivity:
    """What is tried on each layer, and on which images of val."""

    sparsities: tuple[float, ...] = option(
        (0.25, 0.5, 0.7, 0.8, 0.9),
        "fractions of zeros that are tried in each convolution and dense layer; none is pruned further than the last",
        above=0,
        below=1,
    )
    channel_fractions: tuple[float, ...] = option(
        (0.25, 0.5, 0.75),
        "fractions of the channels of each layer whose removal is tried, rounded down to what prune.channel_multiple "
        "allows; the removal of as many as it allows is tried too",
        above=0,
        below=1,
    )
    num_images: int = option(
        0,
        "images of val that are looked at, a random one of each class in turn; 0: all of them, or 1,024 where there "
        "are more",
        minimum=0,
        maximum=10_000_000,
    )
