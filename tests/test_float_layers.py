"""Layers of the float file inside the INT8 file: names, number types, and what is computed."""

from __future__ import annotations

import numpy as np
import pytest
from badly_scaled import BAD_LAYER, READER, badly_scaled_files, colours
from tflite_models import keras_logits, smooth_images, softmax, tiny_cnn, tiny_file

from edgekd import _keras, _litert, tflite
from edgekd.errors import ConversionError, RecipeError
from edgekd.models.students import build_student
from edgekd.tflite.float_layers import keep_float

KINDS = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "FULLY_CONNECTED": "Dense"}


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet8"])
def test_operators_are_named_after_keras_layers(name: str) -> None:
    _keras.reset(0)
    model = build_student(name, image_size=32, num_classes=2, width_multiplier=0.25)
    found = tflite.layers_of(tflite.open_view(tflite.convert(tflite.freeze(model), "fp32")))
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    assert set(found) <= set(kinds)
    assert {layer: kinds[layer] for layer in found if found[layer][0].name in KINDS} == {
        layer: kind for layer, kind in kinds.items() if kind in KINDS.values()
    }
    for layer, steps in found.items():
        assert len(steps) == 1
        assert KINDS.get(steps[0].name, kinds[layer]) == kinds[layer]


def test_both_files_name_the_same_layers() -> None:
    names = [list(tflite.layers_of(tflite.open_view(tiny_file(variant)))) for variant in ("fp32", "int8", "int8_io")]
    assert names[0] == ["normalise", "stem", "depthwise", "pointwise", "pool", "logits"]
    assert names[1] == names[2] == names[0]


@pytest.mark.parametrize("layers", [["normalise"], ["stem"], ["stem", "depthwise"], ["pool"], ["logits"]])
def test_named_layers_are_float_and_the_rest_is_not(layers: list[str]) -> None:
    content = keep_float(tiny_file("int8"), tiny_file("fp32"), layers)
    view = tflite.open_view(content)
    assert tflite.dtype(view) == "mixed"
    assert (view.inputs[0].dtype, view.inputs[0].scale, view.outputs[0].dtype) == ("uint8", (1.0,), "float32")
    for name, steps in tflite.layers_of(view).items():
        for step in steps:
            assert view.tensors[step.outputs[0]].dtype == ("float32" if name in layers else "int8"), name
    images = smooth_images(60, seed=2)
    expected = softmax(keras_logits(tiny_cnn(), images))
    for kernel in _litert.KERNELS:
        np.testing.assert_allclose(_litert.predict_probs(content, images, kernel), expected, atol=5e-2)


def test_with_all_but_the_input_arithmetic_in_float_keras_is_met_closely() -> None:
    """What is left in INT8 is the sum and product that bring pixels to -1..1: one step of 1/127.5 at most."""
    layers = ["depthwise", "pointwise", "pool", "logits"]
    images = smooth_images(60, seed=2)
    expected = softmax(keras_logits(tiny_cnn(), images))
    error = [
        np.abs(_litert.predict_probs(content, images) - expected).mean()
        for content in (tiny_file("int8"), keep_float(tiny_file("int8"), tiny_file("fp32"), layers))
    ]
    assert error[1] < error[0]


def test_between_two_float_layers_nothing_is_quantized() -> None:
    content = keep_float(tiny_file("int8"), tiny_file("fp32"), ["depthwise", "pointwise"])
    names = [step.name for step in tflite.open_view(content).operators]
    first = names.index("DEPTHWISE_CONV_2D")
    assert names[first - 1 : first + 3] == ["DEQUANTIZE", "DEPTHWISE_CONV_2D", "CONV_2D", "QUANTIZE"]


def test_the_last_layer_in_float_goes_straight_into_the_head() -> None:
    content = keep_float(tiny_file("int8"), tiny_file("fp32"), ["logits"])
    names = [step.name for step in tflite.open_view(content).operators]
    assert names[-3:] == ["DEQUANTIZE", "FULLY_CONNECTED", "SOFTMAX"]


def test_weights_of_replaced_layers_leave_the_file() -> None:
    """The pointwise layer has 16 x 64 weights and 64 biases: three bytes each more for the weights, none for biases."""
    content = keep_float(tiny_file("int8"), tiny_file("fp32"), ["pointwise"])
    view = tflite.open_view(content)
    constants = [tensor for tensor in view.tensors if tensor.values is not None and tensor.size == 16 * 64]
    assert [tensor.dtype for tensor in constants] == ["float32"]
    assert 0 < len(content) - len(keep_float(tiny_file("int8"), tiny_file("fp32"), [])) < 3 * 16 * 64 + 600


def test_metadata_goes_into_a_mixed_file_too() -> None:
    content = keep_float(tiny_file("int8"), tiny_file("fp32"), ["stem"])
    content = tflite.add_metadata(content, labels=["a", "b", "c"], name="n", description="d")
    assert tflite.read_metadata(tflite.open_view(content)).labels == ("a", "b", "c")
    assert tflite.dtype(tflite.open_view(content)) == "mixed"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["depthwis"], r'quantize\.float_layers: the model has no layer "depthwis"; did you mean "depthwise"\?'),
        (["stem_bn"], r'"stem_bn" is computed within "stem"; name that layer'),
        (["stem", "depthwise", "pointwise", "logits"], "no layer with weights would be left in INT8"),
    ],
)
def test_names_that_would_do_nothing_are_refused(layers: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        keep_float(tiny_file("int8"), tiny_file("fp32"), layers)


def test_files_of_two_models_are_refused() -> None:
    with pytest.raises(ConversionError, match="the float file does not compute"):
        keep_float(tiny_file("int8"), badly_scaled_files()[0], ["stem"])


def test_what_one_scale_for_all_channels_lost_comes_back() -> None:
    fp32, int8 = badly_scaled_files()
    images = smooth_images(400, seed=3)
    right = [
        np.mean(_litert.predict_probs(content, images).argmax(axis=1) == colours(images))
        for content in (fp32, int8, keep_float(int8, fp32, [BAD_LAYER, READER]))
    ]
    assert right[0] >= 0.75
    assert right[1] < right[0] - 0.2
    assert right[2] > right[0] - 0.015
