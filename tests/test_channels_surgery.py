"""A model without some channels computes what the original computes with those channels at zero."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import channel_models
import numpy as np
import pytest
from channel_models import calibrated, images, randomized
from numpy.typing import NDArray
from tflite_models import smooth_images

from edgekd import _keras, channels, tflite
from edgekd._keras import tf_keras
from edgekd._litert import predict_probs
from edgekd.errors import ModelError
from edgekd.models import build_student, build_teacher

PIXELS = smooth_images(16, 32).astype(np.float32)


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def student(name: str, width: float = 0.35) -> Any:
    return build_student(name, image_size=32, num_classes=3, width_multiplier=width)


def mobilenet_v3() -> Any:
    """As published: hard swish, squeeze and excite, arithmetic on tensors."""
    return tf_keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), weights=None, classes=5, classifier_activation=None
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    "mobilenet_v1": lambda: student("mobilenet_v1"),
    "mobilenet_v2": lambda: student("mobilenet_v2"),
    "mobilenet_v3_small": lambda: student("mobilenet_v3_small"),
    "resnet8": lambda: student("resnet8"),
    "ds_cnn": lambda: student("ds_cnn"),
    "efficientnet_lite0": lambda: student("efficientnet_lite0"),
    "resnet50": lambda: build_teacher("resnet50", image_size=32, num_classes=3, weights="none"),
    "resnet_small": lambda: build_teacher("resnet_small", image_size=32, num_classes=3, weights="none"),
    "mobilenet_v3": mobilenet_v3,
}


def random_plan(structure: channels.Structure, seed: int = 0) -> channels.Plan:
    """Some channels of every group that may lose any, at most half of them."""
    rng = np.random.default_rng(seed)
    removed = {}
    for group in structure.prunable:
        if len(group) > 1:
            places = rng.permutation(len(group))[: rng.integers(1, len(group) // 2 + 1)]
            removed[group.name] = tuple(sorted(places.tolist()))
    assert removed
    return channels.Plan(removed)


def outputs(model: Any, pixels: Any) -> NDArray[np.float32]:
    made = model(pixels, training=False)
    return (
        np.concatenate([np.asarray(made[key]) for key in sorted(made)], 1) if isinstance(made, dict) else made.numpy()
    )


def assert_equal_to_zeroed(model: Any, plan: channels.Plan, pixels: Any) -> Any:
    """Return the smaller model."""
    structure = channels.follow(model)
    before = outputs(model, pixels)
    smaller = channels.remove(structure, plan)
    zeroed = outputs(channels.zeroed(structure, plan), pixels)
    np.testing.assert_allclose(outputs(smaller, pixels), zeroed, rtol=0, atol=1e-4)
    assert np.abs(zeroed - before).max() > 1e-3  # what went was not without effect
    assert np.ptp(zeroed, axis=0).max() > 1e-3  # what is left still sees the image
    np.testing.assert_array_equal(outputs(model, pixels), before)
    assert smaller.count_params() < model.count_params()
    return smaller


@pytest.mark.parametrize("name", FAMILIES)
def test_equal_to_the_zeroed_original(name: str) -> None:
    model = calibrated(FAMILIES[name](), PIXELS)
    smaller = assert_equal_to_zeroed(model, random_plan(channels.follow(model)), PIXELS)
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]


def test_equal_on_a_student_that_starts_from_published_weights(shared_data: Path) -> None:
    """Its Rescaling is another one than that of a student from scratch, and its zeros are padded before a stride."""
    file = shared_data / "weights" / "mobilenet_1_0.25_224_imagenet_no_top.h5"
    model = build_student("mobilenet_v1", image_size=32, num_classes=3, width_multiplier=0.25, weights=str(file))
    assert "ZeroPadding2D" in {type(layer).__name__ for layer in model.layers}
    structure = channels.follow(model)
    smaller = assert_equal_to_zeroed(model, channels.by_scores(structure, channels.l1(structure), 0.5), PIXELS)
    assert channels.macs(smaller) <= 0.5 * channels.macs(model)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", channel_models.HAND_MADE)
def test_equal_on_hand_made_graphs(name: str, seed: int) -> None:
    model = randomized(channel_models.HAND_MADE[name]())
    assert_equal_to_zeroed(model, random_plan(channels.follow(model), seed), images(model, largest=3.0))


def test_equal_on_a_network_that_no_one_here_wrote(shared_data: Path) -> None:
    """Its softmax is saturated on made-up images, so the features before it are compared too."""
    model = tf_keras.models.load_model(shared_data / "thirdparty_models" / "pretrainedResnet.h5", compile=False)
    structure = channels.follow(model)
    plan = channels.by_scores(structure, channels.l1(structure), keep_macs=0.5)
    smaller, zeroed = channels.remove(structure, plan), channels.zeroed(structure, plan)
    pixels = images(model, largest=1.0)
    np.testing.assert_allclose(smaller(pixels), zeroed(pixels), rtol=0, atol=1e-4)
    features = [tf_keras.Model(one.input, one.get_layer("flatten").output) for one in (smaller, zeroed)]
    kept = plan.kept(structure)[structure.units["flatten"]]
    expected = features[1](pixels).numpy()
    assert np.abs(expected[:, kept]).max() > 0.1
    np.testing.assert_array_equal(expected[:, ~kept], 0)
    np.testing.assert_allclose(features[0](pixels), expected[:, kept], rtol=0, atol=1e-4)


def test_what_is_left_by_hand() -> None:
    """Channels 0 and 2 of ``a`` go: columns of its kernel and bias, rows of what reads it."""
    model = randomized(channel_models.chain())
    smaller = channels.remove(channels.follow(model), channels.Plan({"a": (0, 2)}))
    left = [1, *range(3, 16)]
    (kernel, bias), (next_kernel, next_bias) = (model.get_layer(name).get_weights() for name in "ab")
    for found, expected in zip(
        smaller.get_weights(),
        [kernel[..., left], bias[left], next_kernel[:, :, left], next_bias, *model.get_layer("logits").get_weights()],
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    assert smaller.get_layer("a").filters == 14
    assert smaller.get_layer("b").filters == 16


def test_zeroed_by_hand() -> None:
    """All that writes the channel, and nothing of what reads it."""
    model = randomized(channel_models.depthwise_multiplier())
    structure = channels.follow(model)
    before, after = model.get_weights(), channels.zeroed_weights(structure, channels.Plan({"a": (5,)}))
    changed = {
        variable.name.partition(":")[0]: np.argwhere(old != new)
        for variable, old, new in zip(model.weights, before, after, strict=True)
        if (old != new).any()
    }
    assert set(changed) == {
        *("a/kernel", "a/bias", "dw/depthwise_kernel", "dw/bias"),
        *(f"dw_bn/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
    }
    assert set(changed["a/kernel"][:, 3]) == {5}
    assert set(changed["dw/depthwise_kernel"][:, 2]) == {5}
    assert changed["dw_bn/gamma"].tolist() == changed["dw/bias"].tolist() == [[10], [11]]


def test_many_plans_on_one_model() -> None:
    """As a sensitivity analysis does: weights in, evaluate, weights back."""
    model = randomized(channel_models.squeeze_excite())
    structure, pixels, original = channels.follow(model), images(model), model.get_weights()
    first = outputs(model, pixels)
    for name in ("a", "squeeze", "b"):
        plan = channels.Plan({name: (0, 3)})
        model.set_weights(channels.zeroed_weights(structure, plan))
        found = outputs(model, pixels)
        model.set_weights(original)
        np.testing.assert_allclose(found, outputs(channels.remove(structure, plan), pixels), rtol=0, atol=1e-4)
        np.testing.assert_array_equal(outputs(model, pixels), first)


def test_an_empty_plan_copies_the_model() -> None:
    model = randomized(channel_models.squeeze_excite())
    copy = channels.remove(channels.follow(model), channels.Plan({}))
    assert copy.to_json() == model.to_json()
    for found, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert copy.get_layer("a").kernel is not model.get_layer("a").kernel


def test_round_after_round() -> None:
    """A pruned model is a model like any other, and can be pruned again."""
    model = calibrated(student("mobilenet_v2"), PIXELS)
    for seed in range(2):
        structure = channels.follow(model)
        plan = channels.by_ratios(
            structure, channels.l1(structure), {g.name: 0.2 for g in structure.prunable}, multiple=1
        )
        model = assert_equal_to_zeroed(model, plan, PIXELS)
        assert seed or model.get_layer("block_1_expand").filters == 48 - 9  # a fifth of 48 is 9.6


def test_settings_and_structure_of_outputs_stay() -> None:
    model = randomized(channel_models.two_heads())
    model.get_layer("hidden").trainable = False
    smaller = channels.remove(channels.follow(model), channels.Plan({"hidden": (1, 2)}))
    assert set(smaller.output) == {"kind", "size"}
    assert smaller.name == "two_heads"
    assert not smaller.get_layer("hidden").trainable
    assert smaller.get_layer("dropout").rate == 0.5
    assert smaller.get_layer("hidden_bn").get_config() == model.get_layer("hidden_bn").get_config()


def test_the_result_learns() -> None:
    model = randomized(student("ds_cnn"))
    structure = channels.follow(model)
    smaller = channels.remove(structure, random_plan(structure))
    smaller.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [layer.kernel.numpy() for layer in smaller.layers if hasattr(layer, "kernel")]
    smaller.fit(images(model, 8) / 255, np.arange(8) % 3, verbose=0)
    after = [layer.kernel.numpy() for layer in smaller.layers if hasattr(layer, "kernel")]
    assert all((old != new).any() for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3", "resnet8"])
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    """MobileNetV3 too, whose original cannot be saved without code: its arithmetic has become layers."""
    model = randomized(FAMILIES[name]())
    structure = channels.follow(model)
    smaller = channels.remove(structure, random_plan(structure))
    _keras.save_model(smaller, tmp_path / "model")
    loaded = _keras.load_model(tmp_path / "model")
    pixels = images(model)
    np.testing.assert_array_equal(loaded(pixels, training=False), smaller(pixels, training=False))
    if name == "mobilenet_v3":
        with pytest.raises(ModelError, match=r'class "TFOpLambda", which is code'):
            _keras.save_model(model, tmp_path / "original")


def with_statistics(model: Any, pictures: NDArray[np.uint8]) -> Any:
    """Statistics of the images, so that the logits vary and INT8 has something to hold."""
    for _ in range(20):
        model(np.float32(pictures), training=True)
    return model


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3", "ds_cnn"])
def test_int8_file_is_smaller_and_agrees(name: str) -> None:
    model = FAMILIES[name]()
    pictures = np.random.default_rng(0).integers(0, 256, (16, *model.input_shape[1:]), dtype=np.uint8)
    model = with_statistics(model, pictures)
    structure = channels.follow(model)
    smaller = channels.remove(structure, channels.by_scores(structure, channels.l1(structure), keep_macs=0.5))
    files = [tflite.convert(tflite.freeze(one), "int8", pictures) for one in (model, smaller)]
    assert len(files[1]) < 0.8 * len(files[0])
    expected = tf_keras.activations.softmax(smaller(np.float32(pictures), training=False)).numpy()
    np.testing.assert_allclose(predict_probs(files[1], pictures), expected, atol=0.05)


def test_third_party_network_to_int8(shared_data: Path) -> None:
    model = tf_keras.models.load_model(shared_data / "thirdparty_models" / "pretrainedResnet.h5", compile=False)
    structure = channels.follow(model)
    smaller = channels.remove(structure, channels.by_scores(structure, channels.l1(structure), keep_macs=0.5))
    pictures = smooth_images(16, 32)
    for one in (model, smaller):  # the conversion puts a softmax of its own behind the logits
        one.get_layer("dense").activation = tf_keras.activations.linear
    files = [tflite.convert(tflite.freeze(one), "int8", pictures) for one in (model, smaller)]
    assert len(files[1]) < 0.8 * len(files[0])


def test_seconds_for_mobilenet_v2() -> None:
    """Processor time, as the machine may be busy with other things."""
    model = student("mobilenet_v2", 1.0)
    start = time.process_time()
    structure = channels.follow(model)
    channels.remove(structure, channels.by_scores(structure, channels.l1(structure), keep_macs=0.5))
    assert time.process_time() - start < 15


def test_a_layer_that_cannot_be_made_again() -> None:
    def own(x: Any) -> Any:
        return x * 2

    x = channel_models.image()
    made = channel_models.layers.Activation(own, name="mine")(channel_models.conv(x, 8, "a"))
    structure = channels.follow(channel_models.head(x, made))
    with pytest.raises(ModelError, match=r'^layer "mine" \(Activation\) cannot be made from its settings: '):
        channels.remove(structure, channels.Plan({"a": (0,)}))
