"""Which channels go together, by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import channel_models
import pytest
from channel_models import conv, head, image, layers

from edgekd import _keras
from edgekd._keras import tf_keras
from edgekd.channels import Plan, follow
from edgekd.errors import ModelError, RecipeError
from edgekd.models import build_student


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


INPUT = ("image", 3, "", "a")
Row = tuple[str, int, str, str]

# For each graph its groups, but for the output: name, channels, the layers that write them, the layers that read them.
GROUPS: dict[str, list[Row]] = {
    "chain": [INPUT, ("a", 16, "a", "b"), ("b", 16, "b", "logits")],
    "shared_tensor": [INPUT, ("a", 16, "a a_bn b c", "b c d e"), ("d", 24, "d e", "logits")],
    "concatenation": [
        ("image", 3, "", "a b"),
        ("a", 16, "a bn", "c"),
        ("b", 24, "b bn", "c"),
        ("c", 16, "c", "logits"),
    ],
    "nested_concatenation": [
        ("image", 3, "", "a b c"),
        ("a", 16, "a bn", "d"),
        ("b", 24, "b bn", "d"),
        ("c", 8, "c bn", "d"),
        ("d", 16, "d", "logits"),
    ],
    "sum_of_concatenation": [
        ("image", 3, "", "a b c"),
        ("a", 16, "a c", "logits"),
        ("b", 24, "b c", "logits"),
    ],
    "depthwise_multiplier": [INPUT, ("a", 16, "a dw dw_bn", "b"), ("b", 24, "b", "logits")],
    "squeeze_excite": [
        INPUT,
        ("a", 32, "a a_bn excite", "squeeze b"),
        ("squeeze", 16, "squeeze", "excite"),
        ("b", 16, "b", "logits"),
    ],
    "odd_layers": [
        INPUT,
        ("a", 16, "a prelu", "sep e"),
        ("sep", 24, "sep", "up"),
        ("up", 16, "up e", "logits"),
    ],
    "attention_map": [INPUT, ("a", 16, "a", "map b"), ("map", 1, "map", ""), ("b", 16, "b", "logits")],
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups_by_hand(name: str) -> None:
    structure = follow(channel_models.HAND_MADE[name]())
    found = {
        (group.name, len(group), frozenset(group.layers), frozenset(group.readers))
        for group in structure.groups.values()
        if group.name != "logits"
    }
    assert found == {(name, n, frozenset(w.split()), frozenset(r.split())) for name, n, w, r in GROUPS[name]}
    assert structure.groups["logits"].kept_because == "they are the model's output"
    assert structure.groups["image"].kept_because == "they are the model's input"


def test_groups_of_two_heads() -> None:
    structure = follow(channel_models.two_heads())
    assert {group.name: (set(group.layers), set(group.readers)) for group in structure.prunable} == {
        "a": ({"a"}, {"hidden", "size_hidden"}),
        "hidden": ({"hidden", "hidden_bn"}, {"kind"}),
        "size_hidden": ({"size_hidden"}, {"size"}),
    }
    assert {structure.groups[name].kept_because for name in ("kind", "size")} == {"they are the model's output"}
    # Flattened, each of the 16 channels stands at 4 x 4 positions, channels innermost.
    assert structure.units["flatten"].tolist() == structure.units["a"].tolist() * 16


def test_units_of_a_depthwise_multiplier() -> None:
    """Outputs 2 c and 2 c + 1 are made of input c."""
    structure = follow(channel_models.depthwise_multiplier())
    assert structure.units["dw"].tolist() == [unit for unit in structure.units["a"] for _ in range(2)]


def test_units_of_a_nested_concatenation() -> None:
    structure = follow(channel_models.nested_concatenation())
    units = {name: structure.units[name].tolist() for name in ("a", "b", "c", "outer")}
    assert units["outer"] == units["c"] + units["a"] + units["b"] + units["a"]
    assert structure.groups["b"].units.tolist() == units["b"]


def test_groups_that_one_layer_would_name() -> None:
    """The convolution that is made first lies in two groups, and each needs a name."""
    x = image()
    c = layers.ReLU()(layers.ReLU()(layers.ReLU()(conv(x, 40, "c"))))
    both = layers.Concatenate(name="concat")([conv(x, 16, "a"), conv(x, 24, "b")])
    model = head(x, layers.Add(name="add")([both, c]))
    groups = {group.name: (len(group), set(group.layers)) for group in follow(model).groups.values()}
    assert {name: row for name, row in groups.items() if "c" in row[1]} == {
        "c": (16, {"a", "c"}),
        "c#2": (24, {"b", "c"}),
    }


def test_mobilenet_v2_by_its_paper() -> None:
    """17 blocks: 16 expansions, outputs of 7 stages that blocks of equal width share, a stem, a last convolution.

    The first stage has one block and no expansion: its depthwise convolution belongs to the stem.
    """
    structure = follow(build_student("mobilenet_v2", image_size=32, num_classes=2, width_multiplier=0.35))
    names = [group.name for group in structure.prunable]
    assert len(names) == 16 + 7 + 1 + 1
    assert sum(name.endswith("_expand") for name in names) == 16
    second = structure.groups["block_1_project"]
    assert set(second.layers) == {f"block_{block}_{layer}" for block in (1, 2) for layer in ("project", "project_BN")}
    assert set(second.readers) == {"block_2_expand", "block_3_expand"}
    assert "expanded_conv_depthwise" in structure.groups["Conv1"].layers


def through(layer: Callable[[Any], Any]) -> Any:
    x = image()
    return head(x, conv(layer(conv(x, 16, "a")), 24, "b"))


# Where a channel with all its weights at zero is seen as something else, and what works across channels.
KEPT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sigmoid": (layers.Activation("sigmoid"), 'layer "b" would see 0.5 and not 0 in their place'),
    "offset": (lambda x: x + 3.0, 'layer "b" would see 3 and not 0 in their place'),
    "hard sigmoid": (lambda x: layers.ReLU(6.0)(x + 3.0) * (1 / 6), 'layer "b" would see 0.5 and not 0 in their place'),
    "padded": (
        lambda x: layers.ZeroPadding2D()(layers.Activation("exponential")(x)),
        'layer "b" would see something else than 0 in their place',
    ),
    "normalized without a gamma": (
        lambda x: layers.BatchNormalization(scale=False)(layers.Activation("sigmoid")(x)),
        'layer "b" would see something else than 0 in their place',
    ),
    "softmax": (layers.Softmax(name="soft"), 'layer "soft" (Softmax) works across them'),
    "activation softmax": (layers.Activation("softmax", name="soft"), 'layer "soft" (Activation) works across them'),
    "layer normalization": (layers.LayerNormalization(name="ln"), 'layer "ln" (LayerNormalization) works across them'),
    "factors": (layers.Rescaling([1.0] * 16, name="factors"), 'layer "factors" (Rescaling) works across them'),
    "grouped": (layers.Conv2D(16, 1, groups=4, name="grouped"), 'layer "grouped" is a grouped convolution'),
}


@pytest.mark.parametrize("name", KEPT)
def test_channels_that_have_to_stay(name: str) -> None:
    layer, reason = KEPT[name]
    structure = follow(through(layer))
    assert structure.groups["a"].kept_because == reason
    assert not structure.groups["b"].kept_because
    with pytest.raises(ModelError) as caught:
        Plan({"a": (0,)}).kept(structure)
    assert str(caught.value) == f'channels of "a" cannot be removed: {reason}'


# Zero to zero, or brought back to zero by what comes after.
FREE: dict[str, Callable[[Any], Any]] = {
    **{name: layers.Activation(name) for name in ("relu6", "swish", "gelu", "tanh", "elu", "softsign")},
    "normalized sigmoid": lambda x: layers.BatchNormalization()(layers.Activation("sigmoid")(x)),
    "filtered sigmoid": lambda x: layers.DepthwiseConv2D(3, padding="same")(layers.Activation("sigmoid")(x)),
    "hard swish": lambda x: x * layers.ReLU(6.0)(x + 3.0) * (1 / 6),
    "there and back": lambda x: (x + 3.0) - 3.0,
    "augmented": lambda x: layers.RandomRotation(0.1)(layers.RandomFlip()(x)),
}


@pytest.mark.parametrize("name", FREE)
def test_channels_that_may_go(name: str) -> None:
    structure = follow(through(FREE[name]))
    assert [group.name for group in structure.prunable] == ["a", "b"]


def test_a_spread_channel_stays() -> None:
    groups = follow(channel_models.attention_map()).groups
    assert groups["map"].kept_because == 'layer "weigh" spreads them over other channels'
    assert not groups["a"].kept_because


def test_protected_layers() -> None:
    """By the name of a convolution, or of a layer further on that its channels go through."""
    model = channel_models.depthwise_multiplier()
    assert [group.name for group in follow(model, ["a"]).prunable] == ["b"]
    structure = follow(model, ["relu"])
    assert structure.groups["a"].kept_because == 'layer "relu" is protected'
    with pytest.raises(RecipeError, match=r'^protected layer "dw_bm" is not in the model; did you mean "dw_bn"\?$'):
        follow(model, ["dw_bm"])


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ({"conv": (0,)}, r'^no group of channels "conv"; known: a, b, image, logits$'),
        ({"a": (16,)}, r'^group "a" has channels 0 to 15, not all of \[16\]$'),
        ({"a": (-1,)}, r'^group "a" has channels 0 to 15, not all of \[-1\]$'),
        ({"a": tuple(range(16))}, r'^all 16 channels of "a" would be removed; leave at least one$'),
        ({"logits": (1,)}, r'^channels of "logits" cannot be removed: they are the model\'s output$'),
    ],
)
def test_plans_that_do_not_fit(removed: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Plan(removed).kept(follow(channel_models.chain()))


def test_a_model_without_channels_to_prune() -> None:
    x = tf_keras.Input((4,), name="features")
    assert follow(tf_keras.Model(x, layers.Dense(2, name="logits")(x))).prunable == ()
