"""Ranges of activations: the clips against NumPy, and the scales that a file ends up with."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from tflite_models import keras_logits, smooth_images, softmax, tiny_cnn, tiny_file, tiny_frozen

from edgekd import _keras, _litert, tflite
from edgekd.errors import ConversionError
from edgekd.tflite import calibration
from edgekd.tflite.calibration import Histogram


def histogram(values: np.ndarray, bins: int = 4096) -> Histogram:
    low, high = float(values.min()), float(values.max())
    return Histogram(low, high, np.histogram(values, bins, (low, high))[0])


def long_tailed(count: int = 50_000) -> np.ndarray:
    return np.random.default_rng(0).standard_t(3, count)


@pytest.mark.parametrize("percentile", [99.0, 99.9, 99.99, 100.0])
def test_percentiles_are_numpys_within_a_bin(percentile: float) -> None:
    values = np.random.default_rng(0).normal(size=500_000)
    expected = np.percentile(values, [100 - percentile, percentile])
    width = np.ptp(values) / 4096
    np.testing.assert_allclose(calibration.percentile_range(histogram(values), percentile), expected, atol=width)


def test_error_of_a_range_is_that_of_rounding_each_value() -> None:
    values = long_tailed(2000)
    low, high = -3.0, 4.0
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    rounded = scale * (np.clip(np.rint(values / scale) + zero_point, 0, 255) - zero_point)
    found = calibration.quantization_error(histogram(values, 200_000), low, high)
    assert found == pytest.approx(np.mean((values - rounded) ** 2), rel=1e-3)


def test_mse_clips_a_long_tail_and_no_other_pair_of_ends_is_much_better() -> None:
    values = long_tailed()
    counted = histogram(values, 1024)
    low, high = calibration.mse_range(counted)
    assert values.min() < low < 0 < high < values.max()
    found = calibration.quantization_error(counted, low, high)
    grid = [
        calibration.quantization_error(counted, values.min() * first, values.max() * second)
        for first in np.linspace(0.02, 1, 50)
        for second in np.linspace(0.02, 1, 50)
    ]
    assert found <= 1.02 * min(grid)
    assert found < 0.97 * calibration.quantization_error(counted, float(values.min()), float(values.max()))


def test_mse_leaves_evenly_spread_values_alone() -> None:
    values = np.random.default_rng(0).uniform(0, 1, 100_000)
    low, high = calibration.mse_range(histogram(values))
    assert low == 0
    assert high >= 0.99


def test_histograms_count_what_keras_computes() -> None:
    images = smooth_images(6, seed=4)
    model = tiny_cnn()
    counted = calibration.histograms(calibrated(), images)
    stem = _keras.tf_keras.Model(model.input, model.get_layer("stem_act").output)
    values = keras_logits(stem, images)
    name = next(name for name in counted if "/stem/Conv2D" in name)
    assert counted[name].counts.sum() == values.size
    assert (counted[name].low, counted[name].high) == pytest.approx((values.min(), values.max()), abs=1e-5)
    assert "pixels" not in counted


def calibrated() -> bytes:
    """The float model as the converter hands it from calibration to quantization."""
    tf = _keras.tf
    converter = tf.lite.TFLiteConverter.from_concrete_functions([tiny_frozen().function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.float32(image[None])] for image in smooth_images(4))
    converter._experimental_calibrate_only = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bytes(converter.convert())


@pytest.mark.parametrize("variant", ["int8", "int8_io"])
def test_scales_in_the_file_are_those_of_the_percentile(variant: str) -> None:
    """The range of the pointwise layer, from Keras's own activations by NumPy's percentile."""
    images = smooth_images(64, seed=1)
    content = tflite.convert(tiny_frozen(), variant, images, ranges="percentile", percentile=99.0)
    view = tflite.open_view(content)
    assert view.inputs[0].scale == (1.0,)
    model = tiny_cnn()
    extremes = np.stack([np.full_like(images[0], value) for value in (0, 255)])
    values = keras_logits(
        _keras.tf_keras.Model(model.input, model.get_layer("pointwise_act").output),
        np.concatenate([extremes, images]),
    )
    tensor = next(tensor for tensor in view.tensors if "/pointwise_act/Relu" in tensor.name and tensor.dtype == "int8")
    assert tensor.zero_point == (-128,)  # from 0
    assert tensor.scale[0] * 255 == pytest.approx(np.percentile(values, 99), abs=values.max() / 4096)
    plain = tflite.open_view(tiny_file(variant))
    whole = next(other for other in plain.tensors if other.name == tensor.name and other.dtype == "int8")
    assert tensor.scale[0] < 0.9 * whole.scale[0]


def test_clipped_models_still_answer_as_keras_does() -> None:
    images = smooth_images(100, seed=2)
    expected = softmax(keras_logits(tiny_cnn(), images))
    for ranges in ("percentile", "mse"):
        content = tflite.convert(tiny_frozen(), "int8", smooth_images(64, seed=1), ranges=ranges)
        np.testing.assert_allclose(_litert.predict_probs(content, images), expected, atol=5e-2)


def test_a_scale_that_was_not_asked_for_is_refused() -> None:
    view = tflite.open_view(tiny_file("int8"))
    tensor = next(
        tensor
        for tensor in view.tensors
        if tensor.dtype == "int8" and "/stem/" in tensor.name and tensor.zero_point == (-128,)
    )
    low, high = 0.0, 255 * tensor.scale[0]
    assert calibration.check_ranges(view, {tensor.name: (low, high)}) == ()
    with pytest.raises(ConversionError, match="calibration asked for"):
        calibration.check_ranges(view, {tensor.name: (low, high / 2)})


def test_a_scale_that_an_operator_ties_is_named() -> None:
    first = tflite.Tensor("first", (1, 4), "int8", (0.5,), (0,))
    second = tflite.Tensor("second", (1, 4), "int8", (0.5,), (0,))
    view = dataclasses.replace(
        tflite.open_view(tiny_file("int8")),
        tensors=(first, second),
        operators=(tflite.Operator("MAX_POOL_2D", (0,), (1,)),),
    )
    asked = {"first": (-64.0, 63.5), "second": (-10.0, 10.0)}
    assert calibration.check_ranges(view, asked) == ("second",)
