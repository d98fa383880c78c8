"""A model as a graph of layers: what can be read, what is refused by name, arithmetic as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from channel_models import conv, head, image, layers

from edgekd import _keras
from edgekd._keras import tf, tf_keras
from edgekd.channels import follow
from edgekd.channels.graph import read, rebuild
from edgekd.errors import ModelError


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def test_layers_and_what_they_read() -> None:
    x = image()
    a = conv(x, 8, "a")
    model = head(x, layers.Add(name="add")([a, conv(a, 8, "b")]))
    assert {name: node.inputs for name, node in read(model).items()} == {
        "image": (),
        "a": ("image",),
        "b": ("a",),
        "add": ("a", "b"),
        "pool": ("add",),
        "logits": ("pool",),
    }
    assert read(model)["b"].shape == (None, 8, 8, 8)


def test_a_sequential_model_is_a_graph_too() -> None:
    model = tf_keras.Sequential([image(), layers.Conv2D(8, 3, name="a"), layers.Flatten(name="flat")])
    assert [node.inputs for node in read(model).values()] == [(), ("image",), ("a",)]


# For each operation, what it is made of; the operands are two feature maps x and y.
OPERATIONS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "sum": (lambda x, y: x + y, "Add"),
    "difference": (lambda x, y: x - y, "Subtract"),
    "product": (lambda x, y: x * y, "Multiply"),
    "plus": (lambda x, y: x + 3.0, "Rescaling"),
    "plus, right": (lambda x, y: 3.0 + x, "Rescaling"),
    "minus": (lambda x, y: x - 3, "Rescaling"),
    "minus, right": (lambda x, y: 3.0 - x, "Rescaling"),
    "times": (lambda x, y: x * 0.25, "Rescaling"),
    "times, right": (lambda x, y: 4 * x, "Rescaling"),
    "divided": (lambda x, y: x / 6.0, "Rescaling"),
    "negative": (lambda x, y: -x, "Rescaling"),
    "relu": (lambda x, y: tf.nn.relu(x), "ReLU"),
    "relu6": (lambda x, y: tf.nn.relu6(x), "ReLU"),
    "concat": (lambda x, y: tf.concat([x, y], -1), "Concatenate"),
}


@pytest.mark.parametrize("reloaded", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic_is_read_as_layers_that_do_the_same(name: str, reloaded: bool) -> None:
    """Keras writes the second operand of a loaded model into a keyword argument; both forms are read."""
    operation, kind = OPERATIONS[name]
    x = image()
    model = head(x, operation(conv(x, 8, "a"), conv(x, 8, "b")))
    if reloaded:
        weights = model.get_weights()
        model = tf_keras.models.model_from_json(model.to_json())
        model.set_weights(weights)
    nodes = read(model)
    (made,) = (node for node in nodes.values() if node.name not in ("image", "a", "b", "pool", "logits"))
    assert made.kind == kind
    copy = rebuild(
        model, nodes, {node.name: type(node.layer).from_config(node.layer.get_config()) for node in nodes.values()}
    )
    copy.set_weights(model.get_weights())
    pixels = np.random.default_rng(0).normal(0, 5, (2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(copy(pixels), model(pixels), rtol=1e-5, atol=1e-6)


class Own(tf_keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x


class Conv2D(tf_keras.layers.Conv2D):
    """Of the name of a known class, but who knows what it does."""


class Subclassed(tf_keras.Model):
    def call(self, x: Any) -> Any:
        return x


def twice() -> Any:
    x, layer = image(8), layers.Conv2D(8, 3, padding="same", name="again")
    return head(x, layer(layer(x)))


def nested() -> Any:
    inside = tf_keras.Sequential([image(), layers.Conv2D(8, 3)], name="inside")
    x = tf_keras.Input((8, 8, 3))
    return head(x, inside(x))


def through(layer: Callable[[Any], Any]) -> Callable[[], Any]:
    def build() -> Any:
        x = image(8)
        return head(x, layer(conv(x, 8, "a")))

    return build


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "layer used twice": (twice, r'^layer "again" is used 2 times, .* give each use a layer of its own$'),
    "nested model": (nested, r'^layer "inside" is a model within the model; build it flat'),
    "own layer": (through(Own(name="mine")), r'^layer "mine" is of class Own, which is not one of Keras'),
    "own layer of a known name": (
        through(Conv2D(8, 3, name="mine")),
        r'^layer "mine" is of class Conv2D, which is not',
    ),
    "lambda": (
        through(layers.Lambda(lambda x: x, name="mine")),
        r'through layer "mine": it is of class Lambda; known: ',
    ),
    "no rule": (
        through(layers.Permute((2, 1, 3), name="turn")),
        r'through layer "turn": it is of class Permute; known: ',
    ),
    "operation": (
        through(lambda x: tf.exp(x)),
        r'^layer "tf.math.exp" is the operation tf.math.exp, .* use a Keras layer',
    ),
    "slice": (through(lambda x: x[..., :4]), r"is the operation tf.getitem, whose channels"),
    "number over tensor": (through(lambda x: 1.0 / x), r"is the operation tf.math.truediv, whose channels"),
    "constant": (
        through(lambda x: layers.Add(name="add")([x, tf.ones((1, 8, 8, 8))])),
        r'^layer "add" \(Add\) is called with something else than the outputs of layers',
    ),
    "channels first": (
        through(layers.MaxPooling2D(data_format="channels_first", name="max")),
        r'through layer "max": it has data_format "channels_first"',
    ),
    "concatenation of positions": (
        through(lambda x: layers.Concatenate(axis=1, name="tall")([x, x])),
        r'through layer "tall": it concatenates along axis 1; use the last',
    ),
    "normalization of rows": (
        through(layers.BatchNormalization(axis=1, name="bn")),
        r'through layer "bn": it normalizes along axis \[1\]; use the last',
    ),
    "channels to positions": (
        through(layers.Reshape((16, 8, 4), name="shuffle")),
        r'through layer "shuffle": it makes positions of channels',
    ),
    "weights in an activation": (
        through(layers.Conv2D(8, 1, activation=layers.PReLU(), name="b")),
        r'through layer "b": it has an activation with weights',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(ModelError, match=message) as caught:
        follow(build())
    assert "\n" not in str(caught.value)


def test_a_subclassed_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r'^model "own" is not a functional one'):
        follow(Subclassed(name="own"))


def test_an_image_of_unknown_size_cannot_be_flattened() -> None:
    x = tf_keras.Input((None, None, 3))
    model = tf_keras.Model(
        x, layers.Reshape((-1, 8), name="rows")(layers.Reshape((-1, 8), name="list")(conv(x, 8, "a")))
    )
    with pytest.raises(ModelError, match=r'through layer "list": it reshapes an image of unknown size'):
        follow(model)
