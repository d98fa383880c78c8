"""The student ``blocks``: what it is made of, counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekd import recipe
from edgekd._keras import tf_keras
from edgekd.config.blocks import Blocks
from edgekd.errors import RecipeError
from edgekd.models import build_student
from edgekd.search import space


def built(**values: Any) -> Any:
    return build_student(
        "blocks", image_size=32, num_classes=3, width_multiplier=1.0, blocks=Blocks(**values) if values else None
    )


def test_parameters_counted_by_hand() -> None:
    """Stem 3x3x3x8; one block of 8 channels, expansion 2, kernel 5; a head of 32; three logits; batch norms of 4."""
    model = built(
        stem_channels=8, channels=(8,), depths=(1,), kernels=(5,), expansions=(2,), strides=(1,), head_channels=32
    )
    stem = 3 * 3 * 3 * 8 + 4 * 8
    expand, depthwise, project = 8 * 16 + 4 * 16, 5 * 5 * 16 + 4 * 16, 16 * 8 + 4 * 8
    head, logits = 8 * 32 + 4 * 32, 32 * 3 + 3
    assert model.count_params() == stem + expand + depthwise + project + head + logits
    assert "stage0_block0_add" in {layer.name for layer in model.layers}  # same channels, stride 1: a shortcut


def test_a_stage_of_no_blocks_is_left_out_and_strides_are_the_first_block_s() -> None:
    model = built(channels=(8, 16, 24), depths=(1, 0, 2), kernels=(3, 3, 3), expansions=(1, 4, 4), strides=(1, 2, 2))
    names = {layer.name for layer in model.layers}
    assert not any(name.startswith("stage1_") for name in names)
    # 32 pixels, 16 after the stem, 8 after the first block of the last stage; its second keeps them.
    assert model.get_layer("stage2_block0_project_bn").output_shape == (None, 8, 8, 24)
    assert model.get_layer("stage2_block1_project_bn").output_shape == (None, 8, 8, 24)
    assert "stage2_block1_add" in names
    assert "stage2_block0_add" not in names


def test_hard_swish_is_x_relu6_of_x_plus_3_over_6() -> None:
    from edgekd.models.layers import activated

    pixels = tf_keras.Input((4,))
    model = tf_keras.Model(pixels, activated(pixels, "hard_swish", "act"))
    x = np.array([[-4.0, -1.0, 0.5, 5.0]], np.float32)
    wanted = x * np.clip(x + 3, 0, 6) / 6
    assert np.allclose(model(x).numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"depths": [1, 2]}, "2 stages, and distill.blocks.channels has 4"),
        ({"kernels": [3, 4, 3, 3]}, "odd ones"),
        ({"depths": [0, 0, 0, 0]}, "at least one block"),
        ({"strides": [1, 2, 3, 2]}, "distill.blocks.strides = 3: allowed: at least 1 and at most 2"),
        ({"activation": "swish"}, "hard_swish"),
    ],
)
def test_what_cannot_be_built_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        recipe.from_table({"name": "x", "data": {"name": "synthetic_cells"}, "distill": {"blocks": values}})
    assert words in str(refused.value)


def test_a_search_varies_one_stage() -> None:
    key = "distill.blocks.depths.1"
    made = recipe.from_table(
        {
            "name": "x",
            "data": {"name": "synthetic_cells", "image_size": 32},
            "distill": {"student": "blocks"},
            "search": {"space": {key: {"low": 0, "high": 3}}},
        }
    )
    space.check(made)
    assert space.grid(made.search.space) == {key: [0, 1, 2, 3]}
    assert space.changed(made, {key: 3}).distill.blocks.depths == (1, 3, 2, 2)
    with pytest.raises(RecipeError, match="has 4 places"):
        space.changed(made, {"distill.blocks.depths.4": 1})
