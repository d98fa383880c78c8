"""Opening a .tflite and running images through it: types, values by hand, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tflite_models import NUM_CLASSES, SIDE, smooth_images, softmax, tiny_file

from edgekd import _litert
from edgekd.config.quantize import VARIANTS
from edgekd.errors import ModelError
from edgekd.tflite import edit

IMAGES = smooth_images(24, seed=4)


def raw_outputs(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """The interpreter's own interface, one image after the other."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    rows = []
    for image in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].copy())
    return np.stack(rows)


def interpreter_taking(dtype: Any, count: int = 1) -> Any:
    details = {"shape": np.array([1, 2, 2, 3], np.int32), "dtype": dtype, "index": 0}
    return SimpleNamespace(get_input_details=lambda: [details] * count)


@pytest.mark.parametrize(("variant", "dtype"), [("int8", np.uint8), ("int8_io", np.int8), ("fp32", np.float32)])
def test_input_takes_the_type_of_the_model(variant: str, dtype: Any) -> None:
    found = _litert.as_input(_litert.open_interpreter(tiny_file(variant)), IMAGES)
    assert (found.dtype, found.shape) == (dtype, IMAGES.shape)
    offset = 128 if variant == "int8_io" else 0
    np.testing.assert_array_equal(found.astype(np.int64), IMAGES.astype(np.int64) - offset)


def test_every_pixel_value_becomes_itself_less_128() -> None:
    pixels = np.zeros((64, 2, 2, 3), np.uint8)
    pixels.reshape(-1)[:256] = np.arange(256)
    found = _litert.as_input(interpreter_taking(np.int8), pixels)
    assert found.dtype == np.int8
    assert found.reshape(-1)[:256].tolist() == list(range(-128, 128))


def test_input_of_another_type_is_refused() -> None:
    with pytest.raises(ModelError, match="the model takes int16; uint8, int8 and float32 are known"):
        _litert.as_input(interpreter_taking(np.int16), np.zeros((1, 2, 2, 3), np.uint8))


def test_more_inputs_than_one_are_refused() -> None:
    with pytest.raises(ModelError, match="the model takes 2 inputs"):
        _litert.as_input(interpreter_taking(np.uint8, count=2), np.zeros((1, 2, 2, 3), np.uint8))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, SIDE, SIDE + 1, 3), np.uint8),
        np.zeros((2, SIDE, SIDE, 1), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((2, SIDE, SIDE, 3), np.float32),
    ],
)
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_images_that_do_not_fit_are_refused(variant: str, images: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"takes uint8 images of shape \(16, 16, 3\), one at a time, not .*preprocess"):
        _litert.predict_probs(tiny_file(variant), images)


def test_unknown_kernel_names_the_nearest() -> None:
    with pytest.raises(ModelError, match='unknown kernel "xnpack"; did you mean "xnnpack"'):
        _litert.open_interpreter(tiny_file("fp32"), kernel="xnpack")
    with pytest.raises(ModelError, match='unknown kernel "gpu"; known: builtin, reference, xnnpack'):
        _litert.predict_probs(tiny_file("fp32"), IMAGES, kernel="gpu")


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\0\0\0TFL2" + bytes(100), b"<html>not found</html>"])
def test_what_is_no_model_is_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "page.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r'^model "page\.tflite": not a TensorFlow Lite file; give a \.tflite$'):
        _litert.open_interpreter(path)
    with pytest.raises(ModelError, match=r"^model these bytes: not a TensorFlow Lite file; give a \.tflite$"):
        _litert.open_interpreter(content)


@pytest.mark.parametrize("keep", [8, 100, 0.5, 0.99])
def test_truncated_model_is_an_error_and_no_crash(keep: float, tmp_path: Path) -> None:
    content = tiny_file("fp32")
    path = tmp_path / "half.tflite"
    path.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(ModelError, match=r'^model "half\.tflite" cannot be opened with the xnnpack kernels: .+'):
        _litert.open_interpreter(path)


def test_folder_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f'^model "{tmp_path.name}" cannot be read: '):
        _litert.open_interpreter(tmp_path)
    with pytest.raises(ModelError, match=r'^model "absent\.tflite" cannot be read: No such file'):
        _litert.open_interpreter(str(tmp_path / "absent.tflite"))


def test_operator_that_the_kernels_lack_is_named() -> None:
    model = edit.unpack(tiny_file("fp32"))
    for code in model.operatorCodes:
        code.version = 99
    with pytest.raises(ModelError, match=r"^model these bytes cannot be opened with the builtin kernels: .*version"):
        _litert.open_interpreter(edit.pack(model), kernel="builtin")


def test_opening_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    _litert.open_interpreter(tiny_file("int8"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_float_output_is_handed_on_as_it_is(variant: str) -> None:
    inputs = IMAGES.astype(np.float32) if variant == "fp32" else IMAGES
    found = _litert.predict_probs(tiny_file(variant), IMAGES)
    assert (found.dtype, found.shape) == (np.float32, (len(IMAGES), NUM_CLASSES))
    np.testing.assert_array_equal(found, raw_outputs(tiny_file(variant), inputs))
    assert len(np.unique(found[:, 0])) > 5, "a constant network proves nothing"


def test_raw_outputs_stay_in_the_type_of_the_model() -> None:
    inputs = (IMAGES.astype(np.int16) - 128).astype(np.int8)
    found = _litert.run(_litert.open_interpreter(tiny_file("int8_io")), IMAGES)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, raw_outputs(tiny_file("int8_io"), inputs))


def test_int8_logits_are_dequantized_before_the_softmax() -> None:
    """real = scale * (q - zero_point), both read from the file's own schema; then the textbook softmax."""
    content = tiny_file("int8_io")
    model = edit.unpack(content)
    quantization = model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].quantization
    scale, zero_point = float(quantization.scale[0]), int(quantization.zeroPoint[0])
    assert scale != 1
    assert zero_point != 0
    inputs = (IMAGES.astype(np.int16) - 128).astype(np.int8)
    expected = softmax(scale * (raw_outputs(content, inputs).astype(np.float64) - zero_point))
    found = _litert.predict_probs(content, IMAGES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_softmax_of_int8_logits_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits 0.5 * (q + 10): of -10, -8, -6 these are 0, 1, 2."""
    output = {"shape": np.array([1, 3]), "dtype": np.int8, "index": 1, "quantization": (0.5, -10)}
    interpreter = SimpleNamespace(
        get_input_details=interpreter_taking(np.uint8).get_input_details,
        get_output_details=lambda: [output],
        set_tensor=lambda index, value: None,
        invoke=lambda: None,
        get_tensor=lambda index: np.array([[-10, -8, -6]], np.int8),
    )
    monkeypatch.setattr(_litert, "open_interpreter", lambda *_: interpreter)
    total = 1 + np.e + np.e**2
    found = _litert.predict_probs(b"", np.zeros((1, 2, 2, 3), np.uint8))
    np.testing.assert_allclose(found, [[1 / total, np.e / total, np.e**2 / total]], rtol=1e-6)


def test_output_of_another_type_is_refused(shared_data: Path) -> None:
    path = shared_data / "thirdparty_models" / "mobilenet_v1_0.25_128_quant.tflite"
    with pytest.raises(ModelError, match="the model gives uint8; float32 probabilities and int8 logits are known"):
        _litert.predict_probs(path, np.zeros((1, 128, 128, 3), np.uint8))


def test_more_outputs_than_one_are_refused() -> None:
    model = edit.unpack(tiny_file("fp32"))
    graph = model.subgraphs[0]
    graph.outputs = [graph.outputs[0], graph.operators[-1].inputs[0]]
    with pytest.raises(ModelError, match="the model has 2 outputs; a classifier has one"):
        _litert.predict_probs(edit.pack(model), IMAGES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_probabilities_sum_to_one_on_every_kernel(variant: str) -> None:
    probs = {kernel: _litert.predict_probs(tiny_file(variant), IMAGES, kernel) for kernel in _litert.KERNELS}
    for found in probs.values():
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
        assert (found >= 0).all()
        np.testing.assert_allclose(found, probs["reference"], atol=0.05)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_file_bytes_and_threads_give_the_same(variant: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_file(variant))
    expected = _litert.predict_probs(tiny_file(variant), IMAGES)
    np.testing.assert_array_equal(_litert.predict_probs(path, IMAGES), expected)
    np.testing.assert_array_equal(_litert.predict_probs(str(path), IMAGES, num_threads=2), expected)


def test_images_do_not_depend_on_those_before() -> None:
    expected = _litert.predict_probs(tiny_file("int8"), IMAGES)
    np.testing.assert_array_equal(_litert.predict_probs(tiny_file("int8"), IMAGES[::-1])[::-1], expected)


def test_no_images_give_no_rows() -> None:
    assert _litert.predict_probs(tiny_file("fp32"), IMAGES[:0]).shape == (0, NUM_CLASSES)


def test_schema_is_that_of_tensorflow_lite() -> None:
    """Numbers of the public schema.fbs."""
    types = _litert.schema().TensorType
    assert (types.FLOAT32, types.UINT8, types.INT8) == (0, 3, 9)
