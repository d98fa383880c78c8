"""The student that a search varies: inverted residuals of any depth, width, kernel and expansion."""

from __future__ import annotations

from typing import Any

from edgekd.config.blocks import Blocks
from edgekd.models.layers import (
    activated,
    classifier,
    conv_bn,
    inverted_residual,
    normalised_pixels,
    rounded_channels,
)

NAME = "blocks"


def blocks_of(config: Blocks, image_size: int, num_classes: int, width_multiplier: float) -> Any:
    """Build it: a stem of stride 2, the stages, mean pooling and a dense layer.

    Args:
        config: what each stage is made of.
        image_size: side of the input, in pixels.
        num_classes: logits.
        width_multiplier: factor on the channels of every layer, which stay multiples of 8.
    """
    kind = config.activation
    pixels, x = normalised_pixels(image_size)
    x = activated(conv_bn(x, rounded_channels(config.stem_channels, width_multiplier), 3, 2, "stem"), kind, "stem_relu")
    stages = zip(config.channels, config.depths, config.kernels, config.expansions, config.strides, strict=True)
    for stage, (channels, depth, kernel, expansion, stride) in enumerate(stages):
        for index in range(depth):
            width = rounded_channels(channels, width_multiplier)
            name = f"stage{stage}_block{index}"
            x = inverted_residual(x, width, kernel, 1 if index else stride, expansion, name, kind)
    if config.head_channels:
        x = activated(
            conv_bn(x, rounded_channels(config.head_channels, width_multiplier), 1, 1, "head"), kind, "head_relu"
        )
    return classifier(pixels, x, num_classes, NAME)
