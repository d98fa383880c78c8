"""Conversion: types, values, reproducibility, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tflite_models import SIDE, keras_logits, smooth_images, softmax, tiny_cnn, tiny_file, tiny_frozen

from edgekd import _keras, _litert, tflite
from edgekd.config.quantize import VARIANTS
from edgekd.errors import ConversionError
from edgekd.models.students import build_student
from edgekd.tflite import edit

TYPES = {
    "fp32": ("fp32", "float32", "float32"),
    "fp16": ("fp16", "float32", "float32"),
    "dynamic": ("dynamic", "float32", "float32"),
    "int8": ("int8", "uint8", "float32"),
    "int8_io": ("int8", "int8", "int8"),
    "int16x8": ("int16x8", "float32", "float32"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_file_is_of_the_type_its_name_says(variant: str) -> None:
    view = tflite.open_view(tiny_file(variant))
    assert (tflite.dtype(view), view.inputs[0].dtype, view.outputs[0].dtype) == TYPES[variant]
    assert view.inputs[0].shape == (1, SIDE, SIDE, 3)
    assert view.outputs[0].shape == (1, 3)
    assert (view.inputs[0].name, view.outputs[0].name) == ("pixels", "logits" if variant == "int8_io" else "probs")


@pytest.mark.parametrize(
    ("variant", "tolerance"), [("fp32", 1e-6), ("fp16", 2e-3), ("dynamic", 2e-2), ("int8", 5e-2), ("int16x8", 2e-2)]
)
def test_probs_are_those_of_keras(variant: str, tolerance: float) -> None:
    images = smooth_images(100, seed=2)
    expected = softmax(keras_logits(tiny_cnn(), images))
    assert len(set(expected.argmax(axis=1))) > 1, "a constant network proves nothing"
    np.testing.assert_allclose(_litert.predict_probs(tiny_file(variant), images), expected, atol=tolerance)


@pytest.mark.parametrize("kernel", _litert.KERNELS)
def test_both_integer_files_compute_the_same(kernel: str) -> None:
    images = smooth_images(50, seed=3)
    shipped, io = (_litert.predict_probs(tiny_file(variant), images, kernel) for variant in ("int8", "int8_io"))
    np.testing.assert_allclose(shipped, io, atol=1e-6)


def test_shipped_model_is_integer_up_to_the_softmax() -> None:
    view = tflite.open_view(tiny_file("int8"))
    assert [operator.name for operator in view.operators[-2:]] == ["DEQUANTIZE", "SOFTMAX"]
    assert {tensor.name for tensor in view.tensors if tensor.dtype == "float32"} == {"dequantized_logits", "probs"}
    assert (view.inputs[0].scale, view.inputs[0].zero_point) == ((1.0,), (0,))


def test_int8_io_takes_pixels_minus_128() -> None:
    view = tflite.open_view(tiny_file("int8_io"))
    assert (view.inputs[0].scale, view.inputs[0].zero_point) == ((1.0,), (-128,))
    assert not any(tensor.dtype.startswith("float") for tensor in view.tensors)


def test_dark_calibration_images_leave_the_input_scale_at_one() -> None:
    view = tflite.open_view(tflite.convert(tiny_frozen(), "int8", smooth_images(8, largest=217)))
    assert (view.inputs[0].scale, view.inputs[0].zero_point) == ((1.0,), (0,))


def test_mobilenet_converts_in_every_variant() -> None:
    _keras.reset(0)
    model = build_student("mobilenet_v2", image_size=32, num_classes=2, width_multiplier=0.35)
    images = smooth_images(32, 32)
    for _ in range(20):
        model(np.float32(images), training=True)
    frozen = tflite.freeze(model)
    expected = softmax(keras_logits(model, images))
    files = {variant: tflite.convert(frozen, variant, images) for variant in VARIANTS}
    np.testing.assert_allclose(_litert.predict_probs(files["fp32"], images), expected, atol=1e-4)
    assert {variant: tflite.dtype(tflite.open_view(content)) for variant, content in files.items()} == {
        variant: kinds[0] for variant, kinds in TYPES.items()
    }
    assert len(files["int8"]) < 0.4 * len(files["fp32"])


def test_conversion_does_not_depend_on_what_ran_before() -> None:
    tiny_cnn(sparsity=0.5)  # leaves other layers and functions behind
    again = tflite.convert(tflite.freeze(tiny_cnn()), "int8", smooth_images(64, seed=1))
    assert again == tiny_file("int8")


def test_other_processes_write_the_same_bytes() -> None:
    code = (
        "import hashlib, tflite_models as m\n"
        "from edgekd.config.quantize import VARIANTS\n"
        "for variant in reversed(VARIANTS): print(variant, hashlib.sha256(m.tiny_file(variant)).hexdigest())"
    )
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert dict(line.split() for line in done.stdout.splitlines()) == {
        variant: hashlib.sha256(tiny_file(variant)).hexdigest() for variant in VARIANTS
    }
    assert done.stderr == ""


@pytest.mark.parametrize("variant", VARIANTS)
def test_converter_is_quiet(variant: str, capfd: pytest.CaptureFixture[str]) -> None:
    tflite.convert(tiny_frozen(), variant, smooth_images(4))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("variant", VARIANTS)
def test_constants_are_aligned_to_16_bytes(variant: str) -> None:
    content = tflite.add_metadata(tiny_file(variant), labels=["a", "b", "c"], name="n", description="d")
    model = _litert.schema().Model.GetRootAs(content, 0)
    starts = []
    for index in range(model.BuffersLength()):
        table = model.Buffers(index)._tab
        field = table.Offset(4)
        if field:
            starts.append(table.Vector(field))
    assert len(starts) > 5
    assert [start % 16 for start in starts] == [0] * len(starts)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_sigmoid_gives_each_label_its_own_probability(variant: str) -> None:
    images = smooth_images(8, seed=1)
    plain = tflite.convert(tiny_frozen(), variant, smooth_images(8))
    content = tflite.convert(tiny_frozen(), variant, smooth_images(8), "sigmoid")
    assert [operator.name for operator in tflite.open_view(content).operators][-1] == "LOGISTIC"
    tflite.check(tflite.open_view(content), variant)
    probs, shares = _litert.predict_probs(content, images), _litert.predict_probs(plain, images)
    # Odds of the sigmoids are exp(logit), which are the softmax's shares up to a factor of the image.
    odds = probs / (1 - probs)
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), shares, rtol=1e-4, atol=1e-6)
    assert np.ptp(probs.sum(axis=1)) > 1e-3
    with pytest.raises(ConversionError, match="ends in a sigmoid already"):
        edit.append_head(content, "softmax", "again")


def test_int8_logits_go_through_the_head_that_is_named() -> None:
    content, images = tiny_file("int8_io"), smooth_images(8, seed=1)
    logits = np.log(_litert.predict_probs(content, images).astype(np.float64))
    sigmoids = _litert.predict_probs(content, images, head="sigmoid").astype(np.float64)
    found = np.log(sigmoids / (1 - sigmoids))
    np.testing.assert_allclose(found - found[:, :1], logits - logits[:, :1], atol=1e-3)


def test_softmax_twice_is_refused() -> None:
    with pytest.raises(ConversionError, match="ends in a softmax already"):
        tflite.convert(tflite.freeze(tiny_cnn(softmax=True)), "fp32")


def test_softmax_behind_another_type_is_refused() -> None:
    model = edit.unpack(tiny_file("int8_io"))
    model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].type = _litert.schema().TensorType.INT16
    with pytest.raises(ConversionError, match="schema type 7"):
        edit.append_head(edit.pack(model), "softmax", "probs")


def test_layer_without_int8_form_is_named() -> None:
    with pytest.raises(ConversionError, match=r"int8 has floating point inside, at ELU; replace"):
        tflite.convert(tflite.freeze(tiny_cnn(activation="elu")), "int8", smooth_images(4))


def test_layer_without_any_form_is_named() -> None:
    with pytest.raises(ConversionError, match=r"^the converter cannot make fp32: TensorFlow Lite lacks Erf$"):
        tflite.convert(tflite.freeze(tiny_cnn(activation=_keras.tf.math.erf)), "fp32")


def test_float_island_names_its_operators() -> None:
    view = tflite.open_view(tiny_file("int8_io"))
    operators = list(view.operators)
    place = next(index for index, operator in enumerate(operators) if operator.name == "DEPTHWISE_CONV_2D")
    tensors = list(view.tensors)
    tensors[operators[place].outputs[0]] = dataclasses.replace(tensors[operators[place].outputs[0]], dtype="float32")
    with pytest.raises(ConversionError, match="floating point inside, at DEPTHWISE_CONV_2D, CONV_2D;"):
        tflite.check(dataclasses.replace(view, tensors=tuple(tensors)), "int8_io")


@pytest.mark.parametrize(
    ("content", "claimed", "message"),
    [
        ("fp32", "int8", "floating point inside, at .*CONV_2D"),
        ("fp32", "fp16", "fp16 was asked for and the converter gave fp32"),
        ("fp16", "dynamic", "dynamic was asked for and the converter gave fp16"),
        ("dynamic", "fp32", "fp32 was asked for and the converter gave dynamic"),
        ("int8_io", "int8", "takes uint8 and gives float32; the file has int8 and int8"),
        ("int8", "int8_io", "takes int8 and gives int8; the file has uint8 and float32"),
    ],
)
def test_file_under_a_wrong_name_is_refused(content: str, claimed: str, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        tflite.check(tflite.open_view(tiny_file(content)), claimed)


def test_input_quantization_other_than_one_is_refused() -> None:
    view = tflite.open_view(tiny_file("int8"))
    tensors = list(view.tensors)
    tensors[view.input_indices[0]] = dataclasses.replace(view.inputs[0], scale=(0.851,))
    with pytest.raises(ConversionError, match=r"0\.851"):
        tflite.check(dataclasses.replace(view, tensors=tuple(tensors)), "int8")


def test_requantization_that_crashes_xnnpack_is_refused() -> None:
    def quantized(name: str, scale: float, **more: object) -> tflite.Tensor:
        return tflite.Tensor(name, (1, 1), "int8", (scale,), (-128 if name == "pixels" else 0,), **more)  # type: ignore[arg-type]

    kernel = quantized("kernel", 256.0, values=np.ones(1, np.int8))
    view = tflite.View(
        tensors=(quantized("pixels", 1.0), kernel, quantized("logits", 1.0)),
        operators=(tflite.Operator("FULLY_CONNECTED", (0, 1, -1), (2,)),),
        input_indices=(0,),
        output_indices=(2,),
        num_subgraphs=1,
        metadata={},
        associated_files={},
    )
    with pytest.raises(ConversionError, match="requantization factor 256"):
        tflite.check(view, "int8_io")
    kernel = dataclasses.replace(kernel, scale=(255.0,))
    tflite.check(dataclasses.replace(view, tensors=(view.tensors[0], kernel, view.tensors[2])), "int8_io")


@pytest.mark.parametrize(
    "images",
    [None, np.zeros((0, SIDE, SIDE, 3), np.uint8), np.zeros((2, SIDE, SIDE, 3)), np.zeros((2, 8, 8, 3), np.uint8)],
)
def test_calibration_images_must_fit(images: np.ndarray | None) -> None:
    with pytest.raises(ConversionError, match=r"uint8 images of shape \(n, 16, 16, 3\), not"):
        tflite.convert(tiny_frozen(), "int8", images)


def test_unknown_variant() -> None:
    with pytest.raises(ConversionError, match='unknown variant "int4"; known: fp32'):
        tflite.convert(tiny_frozen(), "int4")
