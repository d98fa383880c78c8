"""Batch normalization re-estimated: against NumPy, layer by layer, and taken back where val gets worse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tflite_models import keras_logits, smooth_images

from edgekd import _keras, batchnorm
from edgekd.data.dataset import Split
from edgekd.errors import ModelError


def network(*, twice: bool = False) -> Any:
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 64)(pixels)
    shared = layers.BatchNormalization(name="first_bn")
    x = layers.ReLU()(shared(layers.Conv2D(6, 3, name="first")(x)))
    if twice:
        x = shared(x)
    x = layers.BatchNormalization(name="second_bn")(layers.Conv2D(5, 3, name="second")(x))
    return _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(x)))


def test_each_layer_gets_mean_and_variance_of_what_it_sees() -> None:
    model, images = network(), smooth_images(300, seed=1)  # more than a batch, and no multiple of it
    assert batchnorm.reestimate(model, images) == 2
    for name in ("first", "second"):
        values = keras_logits(_keras.tf_keras.Model(model.input, model.get_layer(name).output), images)
        layer = model.get_layer(f"{name}_bn")
        np.testing.assert_allclose(layer.moving_mean.numpy(), values.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.moving_variance.numpy(), values.var(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)


def test_a_layer_used_twice_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match='"first_bn" is used twice'):
        batchnorm.reestimate(network(twice=True), smooth_images(4))


def labelled(images: np.ndarray, labels: np.ndarray) -> Any:
    return SimpleNamespace(train=Split(images, labels, 2), val=Split(images, labels, 2))


def test_statistics_that_had_not_arrived_are_mended() -> None:
    images = smooth_images(64, seed=1)
    model = network()
    right = keras_logits(model, images).argmax(axis=1)
    batchnorm.reestimate(model, images)
    right = keras_logits(model, images)
    labels = (right[:, 1] - right[:, 0] > np.median(right[:, 1] - right[:, 0])).astype(np.int64)
    model.get_layer("second_bn").moving_mean.assign(np.full(5, 3.0))
    found = batchnorm.reestimate_unless_worse(model, labelled(images, labels))
    assert (found["kept"], found["layers"], found["num_images"]) == (True, 2, 64)
    np.testing.assert_allclose(keras_logits(model, images), right, atol=1e-5)


def test_what_makes_val_worse_is_taken_back() -> None:
    images = smooth_images(64, seed=1)
    model = network()
    model.get_layer("first_bn").moving_mean.assign(np.linspace(-2, 2, 6))
    logits = keras_logits(model, images)
    spread = logits[:, 1] - logits[:, 0]
    before = model.get_weights()
    # Labels that the network with its present statistics orders without a fault.
    found = batchnorm.reestimate_unless_worse(model, labelled(images, (spread > np.median(spread)).astype(np.int64)))
    assert found["val_before"]["auc"] == 1.0 > found["val_after"]["auc"]
    assert not found["kept"]
    assert "val got worse" in found["text"]
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
