"""Multiply-accumulates of a Keras model: by hand, and against what is counted in the file made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import channel_models
import numpy as np
import pytest
from channel_models import conv, head, image, layers

from edgekd import _keras, channels, tflite
from edgekd._keras import tf_keras
from edgekd.channels.macs import table
from edgekd.errors import ModelError
from edgekd.models import build_student


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def mixed() -> Any:
    """a 8 * 8 * 9 * 3 * 16 = 27,648; dw 4 * 4 * 9 * 32 = 4,608; sep 16 * 9 * 32 + 16 * 32 * 8 = 8,704;
    up 16 * 4 * 8 * 8 = 4,096; grouped 64 * 9 * 4 * 8 = 18,432; logits 8 * 2 = 16. In all 63,504."""
    x = conv(image(), 16, "a", 3)
    x = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same", name="dw")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", name="sep")(x)
    x = layers.Conv2DTranspose(8, 2, strides=2, name="up")(x)
    x = layers.Conv2D(8, 3, padding="same", groups=2, name="grouped")(x)
    return tf_keras.Model(
        tf_keras.utils.get_source_inputs(x)[0], layers.Dense(2, name="logits")(layers.GlobalMaxPooling2D()(x))
    )


# two_heads: a 64 * 9 * 16 = 9,216; hidden 256 * 24 = 6,144; size_hidden 256 * 16 = 4,096; kind 72, size 16: 19,544.
# squeeze_excite: a 64 * 27 * 32 = 55,296; squeeze and excite 512 each; b 64 * 9 * 32 * 16 = 294,912; logits 32.
@pytest.mark.parametrize(
    ("build", "count"),
    [
        (channel_models.chain, 19_488),
        (channel_models.two_heads, 19_544),
        (channel_models.squeeze_excite, 351_264),
        (mixed, 63_504),
    ],
)
def test_by_hand(build: Callable[[], Any], count: int) -> None:
    assert channels.macs(build()) == count


def test_resnet8_by_its_paper() -> None:
    """12.5 million in MLPerf Tiny's ResNet-8 at 32 x 32: stem 1024 * 27 * 16; block 0 twice 1024 * 144 * 16; block 1
    256 * (144 * 32 + 288 * 32 + 16 * 32); block 2 64 * (288 * 64 + 576 * 64 + 32 * 64); head 64 * 10."""
    model = build_student("resnet8", image_size=32, num_classes=10, width_multiplier=1.0)
    assert channels.macs(model) == 442_368 + 4_718_592 + 3_670_016 + 3_670_016 + 640


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "ds_cnn", "squeeze_excite"])
def test_as_counted_in_the_file(name: str) -> None:
    model = (
        channel_models.squeeze_excite()
        if name == "squeeze_excite"
        else build_student(name, image_size=32, num_classes=3, width_multiplier=0.35)
    )
    assert channels.macs(model) == tflite.macs(tflite.open_view(tflite.convert(tflite.freeze(model), "fp32")))


@pytest.mark.parametrize("build", [*channel_models.HAND_MADE.values(), mixed])
def test_the_table_knows_what_is_left(build: Callable[[], Any]) -> None:
    """At full size, and at random sizes what is counted in the model without those channels."""
    structure = channels.follow(build())
    macs_of = table(structure)
    full = np.array([len(group) for group in structure.groups.values()])
    assert macs_of(full) == channels.macs(structure.model)
    rng = np.random.default_rng(0)
    removed = {group.name: tuple(range(rng.integers(0, len(group)))) for group in structure.prunable}
    left = np.array([len(group) - len(removed.get(group.name, ())) for group in structure.groups.values()])
    assert macs_of(left) == channels.macs(channels.remove(structure, channels.Plan(removed)))
    np.testing.assert_array_equal(macs_of(np.stack([full, left], 1)), [macs_of(full), macs_of(left)])


def test_an_image_of_unknown_size() -> None:
    x = tf_keras.Input((None, None, 3))
    with pytest.raises(ModelError, match=r'^the output of layer "a" has no fixed size; give the model an input size$'):
        channels.macs(head(x, conv(x, 8, "a")))
