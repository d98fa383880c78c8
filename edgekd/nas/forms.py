"""What a network is made of, as far as its cost goes: the distinct blocks, and what comes after the last."""

from __future__ import annotations

from typing import Any, NamedTuple

from edgekd._keras import tf_keras
from edgekd.config.blocks import Blocks
from edgekd.models.layers import activated, classifier, conv_bn, inverted_residual
from edgekd.supernet.space import Space


class Block(NamedTuple):
    """An inverted residual on ``(side, side, in_channels)``."""

    side: int
    in_channels: int
    channels: int
    kernel: int
    expansion: int
    stride: int

    @property
    def name(self) -> str:
        """In a table."""
        return (
            f"{self.side}x{self.side}x{self.in_channels}_to_{self.channels}_kernel{self.kernel}_expansion"
            f"{self.expansion}_stride{self.stride}"
        )


class Tail(NamedTuple):
    """What follows the last block on ``(side, side, in_channels)``: the head if there is one, pooling, logits."""

    side: int
    in_channels: int

    @property
    def name(self) -> str:
        """In a table."""
        return f"{self.side}x{self.side}x{self.in_channels}_to_logits"


Form = Block | Tail


def forms_of(blocks: Blocks, image_size: int) -> list[Form]:
    """The blocks of a network in their order, and its tail; the stem is the same for all networks of a space."""
    side, channels, found = -(-image_size // 2), blocks.stem_channels, list[Form]()
    stages = zip(blocks.channels, blocks.depths, blocks.kernels, blocks.expansions, blocks.strides, strict=True)
    for width, depth, kernel, expansion, stride in stages:
        for index in range(depth):
            block = Block(side, channels, width, kernel, expansion, 1 if index else stride)
            found.append(block)
            side, channels = _half(side, block.stride), width
    return [*found, Tail(side, channels)]


def forms_in(space: Space, image_size: int) -> list[Form]:
    """Every form that any network of a space has, once each."""
    found: dict[Form, None] = {}
    ends = {(-(-image_size // 2), space.base.stem_channels)}
    for stage, stride in zip(space.stages, space.base.strides, strict=True):
        kinds = [(kernel, expansion) for kernel in stage.kernels for expansion in stage.expansions]
        after = set(ends) if stage.depths[0] == 0 else set()
        for side, channels in sorted(ends):
            for width in stage.channels if stage.depths[-1] else ():
                small = _half(side, stride)
                found |= {Block(side, channels, width, *kind, stride): None for kind in kinds}
                if stage.depths[-1] > 1:
                    found |= {Block(small, width, width, *kind, 1): None for kind in kinds}
                after.add((small, width))
        ends = after
    return [*found, *(Tail(side, channels) for side, channels in sorted(ends))]


def model_of(form: Form, base: Blocks, num_classes: int) -> Any:
    """A form as a network of its own, with fresh weights."""
    inputs = tf_keras.Input((form.side, form.side, form.in_channels))
    if isinstance(form, Block):
        shape = (form.channels, form.kernel, form.stride, form.expansion)
        return tf_keras.Model(inputs, inverted_residual(inputs, *shape, "block", base.activation))
    x = inputs
    if base.head_channels:
        x = activated(conv_bn(x, base.head_channels, 1, 1, "head"), base.activation, "head_relu")
    return classifier(inputs, x, num_classes, "tail")


def _half(side: int, stride: int) -> int:
    return -(-side // stride)
