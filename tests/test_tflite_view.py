"""The read-only view, and what is counted in it."""

from __future__ import annotations

import functools
import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_models import NUM_CLASSES, SIDE, smooth_images, tiny_cnn, tiny_file, tiny_frozen

from edgekd import _keras, tflite
from edgekd.config.quantize import VARIANTS
from edgekd.errors import ConversionError, ModelError

# tiny_cnn by hand: 16x16x3, convolution 3x3 stride 2 to 8x8x16, depthwise 3x3, 1x1 to 64, mean, dense to 3.
TINY_MACS = 8 * 8 * 16 * (3 * 3 * 3) + 8 * 8 * 16 * (3 * 3) + 8 * 8 * 64 * 16 + 64 * NUM_CLASSES
# Batch normalization is folded: its four vectors become one bias.
TINY_PARAMS = (3 * 3 * 3 * 16 + 16) + (3 * 3 * 16 + 16) + (16 * 64 + 64) + (64 * NUM_CLASSES + NUM_CLASSES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_macs_and_parameters_by_hand(variant: str) -> None:
    view = tflite.open_view(tiny_file(variant))
    assert tflite.macs(view) == TINY_MACS
    assert tflite.num_params(view) == TINY_PARAMS


def test_operators_and_quantization() -> None:
    view = tflite.open_view(tiny_file("int8"))
    counts = view.operator_counts
    assert (counts["CONV_2D"], counts["DEPTHWISE_CONV_2D"], counts["FULLY_CONNECTED"]) == (2, 1, 1)
    assert (counts["QUANTIZE"], counts["DEQUANTIZE"], counts["SOFTMAX"]) == (1, 1, 1)
    dense = next(operator for operator in view.operators if operator.name == "FULLY_CONNECTED")
    kernel, bias = view.tensors[dense.inputs[1]], view.tensors[dense.inputs[2]]
    assert (kernel.dtype, kernel.shape, bias.dtype, bias.shape) == ("int8", (NUM_CLASSES, 64), "int32", (NUM_CLASSES,))
    assert len(kernel.scale) == NUM_CLASSES
    largest = np.abs(tiny_cnn().get_layer("logits").get_weights()[0]).max(axis=0)
    np.testing.assert_allclose(kernel.scale, largest / 127, rtol=1e-6)  # symmetric, one a channel


def _randomise_vectors(model: Any) -> None:
    """Biases and the like start equal, and the converter merges equal constants."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1, value.shape) if value.ndim == 1 else value for value in model.get_weights()])


def test_mobilenet_v2_has_the_published_figures() -> None:
    """300 M multiply-adds (Sandler et al. 2018, table 4), and exactly what its table 2 gives."""
    _keras.reset(0)
    model = _keras.tf_keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    _randomise_vectors(model)
    view = tflite.open_view(tflite.convert(tflite.freeze(model), "fp32"))
    expected = 112 * 112 * 32 * 27
    side, channels = 112, 32
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, out, repeats, first_stride in table:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            inner = expansion * channels
            expected += side * side * channels * inner if expansion > 1 else 0
            side //= stride
            expected += side * side * inner * (9 + out)
            channels = out
    expected += 7 * 7 * 320 * 1280 + 1280 * 1000
    assert tflite.macs(view) == expected
    assert round(expected / 1e6, -1) == 300
    # 3,538,984 parameters in Keras, of which each normalized channel has 4; folding leaves one bias a channel.
    normalized = 34_112 // 2
    assert tflite.num_params(view) == 3_538_984 - 4 * normalized + normalized


def _single_layer(layer: Any, shape: tuple[int, ...]) -> tflite.View:
    _keras.reset(0)
    model = _keras.tf_keras.Sequential([_keras.tf_keras.Input(shape), layer])
    _randomise_vectors(model)
    return tflite.open_view(tflite.convert(tflite.freeze(model), "fp32"))


def test_transposed_convolution_by_hand() -> None:
    layer = _keras.tf_keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same")
    view = _single_layer(layer, (8, 8, 5))
    assert tflite.macs(view) == 8 * 8 * 5 * (3 * 3 * 4)
    assert tflite.num_params(view) == 3 * 3 * 5 * 4 + 4


def test_grouped_convolution_by_hand() -> None:
    view = _single_layer(_keras.tf_keras.layers.Conv2D(8, 3, groups=2, padding="valid"), (10, 10, 4))
    assert tflite.macs(view) == 8 * 8 * 8 * (3 * 3 * 2)


@pytest.mark.parametrize("swapped", [False, True])
def test_batched_matrix_product_by_hand(swapped: bool) -> None:
    tensors = [(1, 7, 5, 11) if swapped else (1, 7, 11, 5), (1, 7, 5, 3), (1, 7, 11, 3)]
    view = tflite.View(
        tensors=tuple(tflite.Tensor(str(index), shape, "float32") for index, shape in enumerate(tensors)),
        operators=(tflite.Operator("BATCH_MATMUL", (0, 1), (2,)), tflite.Operator("RESHAPE", (2,), (2,))),
        input_indices=(0,),
        output_indices=(2,),
        num_subgraphs=1,
        metadata={},
        associated_files={},
    )
    assert tflite.macs(view) == 7 * 11 * 5 * 3


@functools.cache
def _sparse_file(variant: str) -> bytes:
    return tflite.convert(tflite.freeze(tiny_cnn(sparsity=0.75)), variant, smooth_images(16))


def _expected_sparsity(*, depthwise: bool) -> float:
    names = ["stem", "pointwise", "logits", *(["depthwise"] if depthwise else [])]
    kernels = [tiny_cnn(sparsity=0.75).get_layer(name).get_weights()[0] for name in names]
    return sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)


@pytest.mark.parametrize("depthwise", [False, True])
def test_zeros_survive_conversion(depthwise: bool) -> None:
    expected = _expected_sparsity(depthwise=depthwise)
    assert expected == pytest.approx(0.75 if not depthwise else 0.75 * 1648 / 1792, abs=1e-3)
    for variant in ("fp32", "fp16"):
        view = tflite.open_view(_sparse_file(variant))
        assert tflite.measured_sparsity(view, depthwise=depthwise) == pytest.approx(expected, abs=1e-9)
    for variant in ("dynamic", "int8"):  # rounding to INT8 makes a few more
        found = tflite.measured_sparsity(tflite.open_view(_sparse_file(variant)), depthwise=depthwise)
        assert expected <= found + 1e-9 <= expected + 0.02


def test_model_without_weights_has_no_sparsity() -> None:
    view = _single_layer(_keras.tf_keras.layers.GlobalAveragePooling2D(), (8, 8, 5))
    with pytest.raises(ModelError, match="no convolution"):
        tflite.measured_sparsity(view)
    assert (tflite.macs(view), tflite.num_params(view)) == (0, 0)


@pytest.mark.parametrize(
    ("stored", "flowing", "kind"),
    [
        ("float32", "float32", "fp32"),
        ("float16", "float32", "fp16"),
        ("int8", "float32", "dynamic"),
        ("int8", "int8", "int8"),
        ("int8", "int16", "int16x8"),
        ("uint8", "uint8", "mixed"),
        ("int4", "float32", "mixed"),
    ],
)
def test_dtype_of_a_layer(stored: str, flowing: str, kind: str) -> None:
    view = tflite.View(
        tensors=(
            tflite.Tensor("in", (1, 4), flowing),
            tflite.Tensor("kernel", (2, 4), stored, values=np.ones(8, np.uint8)),
            tflite.Tensor("out", (1, 2), flowing),
        ),
        operators=(tflite.Operator("FULLY_CONNECTED", (0, 1, -1), (2,)),),
        input_indices=(0,),
        output_indices=(2,),
        num_subgraphs=1,
        metadata={},
        associated_files={},
    )
    assert tflite.dtype(view) == kind


def test_describe(tmp_path: Path) -> None:
    path = tmp_path / "student_int8.tflite"
    path.write_bytes(tiny_file("int8"))
    entry = tflite.describe(path, id="student_int8", role="student", steps=["distilled", "ptq"], shipped=True)
    sparsity = entry.pop("measured_sparsity")
    assert 0 <= sparsity < 0.05
    assert entry == {
        "id": "student_int8",
        "role": "student",
        "shipped": True,
        "steps": ["distilled", "ptq"],
        "dtype": "int8",
        "input_type": "uint8",
        "output_type": "float32",
        "file": "student_int8.tflite",
        "sha256": hashlib.sha256(tiny_file("int8")).hexdigest(),
        "tflite_bytes": len(tiny_file("int8")),
        "gzip_bytes": len(gzip.compress(tiny_file("int8"), 9, mtime=0)),
        "num_params": TINY_PARAMS,
        "macs": TINY_MACS,
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_describe_holds_the_id_against_the_file(variant: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_file(variant))
    for other in VARIANTS:
        arguments: dict[str, Any] = {"id": f"student_{other}", "role": "student", "steps": [], "shipped": False}
        if other == variant:
            tflite.describe(path, **arguments)
        else:
            with pytest.raises(ConversionError, match=f"^student_{other}: the file is "):
                tflite.describe(path, **arguments)


def test_describe_of_a_stranger_promises_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_file("dynamic"))
    assert tflite.describe(path, id="model", role="student", steps=[], shipped=False)["dtype"] == "dynamic"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a TensorFlow Lite file"),
        (b"<html>not found</html>", "not a Tensor"),
        (b"\xff\0\0\0TFL3", "is damaged"),
    ],
)
def test_what_is_no_model(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f'^model "model.tflite".*{message}'):
        tflite.open_view(path)
    with pytest.raises(ModelError, match=message):
        tflite.open_view(content)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'^model "absent.tflite" cannot be read: No such file'):
        tflite.open_view(tmp_path / "absent.tflite")


def test_damaged_bytes_give_a_view_or_a_model_error() -> None:
    rng = np.random.default_rng(0)
    content = np.frombuffer(
        tflite.add_metadata(tiny_file("int8"), labels=["a", "b", "c"], name="n", description="d"), np.uint8
    )
    refused = 0
    for attempt in range(300):
        damaged = content.copy()
        if attempt % 3 == 0:
            damaged = damaged[: rng.integers(8, len(content))]
        else:
            places = rng.integers(8, len(content), 1 + attempt % 40)
            damaged[places] = rng.integers(0, 256, len(places))
        try:
            view = tflite.open_view(damaged.tobytes())
            tflite.read_metadata(view)
        except ModelError:
            refused += 1
    assert refused > 30


def test_freezing_keeps_the_input_shape() -> None:
    assert tiny_frozen().input_shape == (1, SIDE, SIDE, 3)
