"""The networks: published parameter counts, one input convention, names, and weights from strangers' files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import _keras, tflite
from edgekd._keras import tf_keras
from edgekd._litert import open_interpreter, predict_probs
from edgekd.errors import ModelError, RecipeError
from edgekd.models import STUDENTS, TEACHERS, build_student, build_teacher


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def student(width: float = 0.35, size: int = 32, classes: int = 3) -> Any:
    return build_student("mobilenet_v2", image_size=size, num_classes=classes, width_multiplier=width)


def other_student(name: str, width: float = 0.5) -> Any:
    return build_student(name, image_size=32, num_classes=3, width_multiplier=width)


def teacher(name: str = "resnet_small", size: int = 32, classes: int = 3, weights: str = "none") -> Any:
    return build_teacher(name, image_size=size, num_classes=classes, weights=weights)


MODELS: dict[str, Callable[[], Any]] = {
    "mobilenet_v2": student,
    **{
        name: functools.partial(other_student, name)
        for name in ("mobilenet_v1", "mobilenet_v3_small", "efficientnet_lite0", "resnet8", "ds_cnn")
    },
    "resnet_small": teacher,
    "resnet50": lambda: teacher("resnet50"),
}


@functools.cache
def built(name: str) -> Any:
    """Built once for the tests that only look at it."""
    return MODELS[name]()


def batch_norms(model: Any) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, tf_keras.layers.BatchNormalization)]


def count(*layers: Any) -> int:
    return sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.weights)


@pytest.mark.parametrize("name", MODELS)
def test_pixels_in_logits_out_and_flat(name: str) -> None:
    model = built(name)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 3)
    assert model.output_names == ["logits"]
    head = model.get_layer("logits")
    assert isinstance(head, tf_keras.layers.Dense)
    assert head.activation is tf_keras.activations.linear  # logits: the softmax comes with the conversion
    assert not any(isinstance(layer, tf_keras.Model) for layer in model.layers)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    logits = model(pixels, training=False).numpy()
    assert logits.shape == (2, 3)
    assert np.isfinite(logits).all()


# Normalized tensors by the papers: MobileNetV2 (Sandler et al. 2018, table 2) has a stem, 17 blocks of 3 of which the
# first has no expansion, and a last convolution; ResNet-50 (He et al. 2016, table 1) a stem, 16 blocks of 3 and 4
# shortcuts; resnet_small a stem, 6 blocks of 2 and 2 shortcuts.
@pytest.mark.parametrize(
    ("name", "norms"),
    [("mobilenet_v2", 1 + 17 * 3 - 1 + 1), ("resnet50", 1 + 16 * 3 + 4), ("resnet_small", 1 + 6 * 2 + 2)],
)
def test_moving_averages_arrive_in_a_short_training(name: str, norms: int) -> None:
    """Keras applications use 0.999; after 1,000 steps 0.999**1000 = 37 % of an average is still its first value."""
    momenta = [layer.momentum for layer in batch_norms(built(name))]
    assert momenta == [0.9] * norms


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet_small"])
def test_a_model_does_not_depend_on_what_was_built_before(name: str) -> None:
    """In the cache a model counts by its architecture and its weights; both repeat, names of layers included."""
    first = MODELS[name]()
    architecture, weights = first.to_json(), first.get_weights()
    _keras.reset(1)
    assert not np.array_equal(weights[0], MODELS[name]().get_weights()[0])  # and leaves layer names behind
    _keras.reset(0)
    again = MODELS[name]()
    assert again.to_json() == architecture
    assert all(np.array_equal(one, other) for one, other in zip(weights, again.get_weights(), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_pixels_are_normalised(name: str) -> None:
    """Teachers see x / 127.5 - 1. Students see (x - 128) / 128, which INT8 holds exactly."""
    model, pixels = built(name), np.array([0.0, 127.5, 128.0, 255.0], np.float32)
    if name in STUDENTS:
        found, expected = model.get_layer("normalise")(model.get_layer("centre")(pixels)), (pixels - 128) / 128
    else:
        found, expected = model.get_layer("normalise")(pixels), pixels / 127.5 - 1
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_int8_student_sees_every_grey_level() -> None:
    """The first operator after the input type is exact: scale 1, so that 256 levels are 256 whole numbers."""
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    interpreter = open_interpreter(tflite.convert(tflite.freeze(built("mobilenet_v2")), "int8", images))
    tensors = {row["index"]: row for row in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    outputs = {row["op_name"]: tensors[row["outputs"][0]]["quantization"] for row in operators[:2]}
    assert outputs == {"QUANTIZE": (1.0, -128), "ADD": (1.0, 0)}
    assert operators[2]["op_name"] == "CONV_2D"


# Students


def test_mobilenet_v2_has_the_published_parameters() -> None:
    """2,257,984 without the head: the Keras documentation's 3,538,984 less 1280 * 1000 + 1000 of its ImageNet head."""
    model = student(1.0, 224, 7)
    assert count(*model.layers) - count(model.get_layer("logits")) == 2_257_984
    assert count(model.get_layer("logits")) == 1280 * 7 + 7


# Millions of parameters by the table in the Keras documentation of MobileNetV2 (its checkpoints at 224 pixels), which
# counts kernels and the head's bias, and no batch normalization.
@pytest.mark.parametrize(
    ("width", "millions"), [(0.35, 1.66), (0.5, 1.95), (0.75, 2.61), (1.0, 3.47), (1.3, 5.34), (1.4, 6.06)]
)
def test_widths_have_the_published_parameters(width: float, millions: float) -> None:
    model = student(width, 32, 1000)
    assert round((count(*model.layers) - count(*batch_norms(model))) / 1e6, 2) == millions


def test_a_width_between_the_published_ones() -> None:
    """Channels are multiples of 8, and at most 10 % fewer than asked for: 32 * 0.2 = 6.4 gives 8, 1280 stays."""
    model = student(0.2)
    assert model.get_layer("Conv1").output_shape[-1] == 8
    assert model.get_layer("logits").input_shape[-1] == 1280


@pytest.mark.parametrize(("size", "side"), [(32, 1), (96, 3)])
def test_the_image_is_halved_five_times(size: int, side: int) -> None:
    assert student(size=size).get_layer("out_relu").output_shape == (None, side, side, 1280)


def test_unknown_student_names_the_nearest() -> None:
    assert list(STUDENTS) == [
        "blocks",
        "ds_cnn",
        "efficientnet_lite0",
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "resnet8",
    ]
    with pytest.raises(ModelError, match=r'^unknown student "mobilenetv2"; did you mean "mobilenet_v2"\?$'):
        build_student("mobilenetv2", image_size=32, num_classes=2, width_multiplier=1)


# Teachers


def test_resnet50_has_the_published_parameters() -> None:
    """23,587,712 without the head (Keras documentation)."""
    model = teacher("resnet50", 32, 5)
    assert count(*model.layers) - count(model.get_layer("logits")) == 23_587_712
    assert count(model.get_layer("logits")) == 2048 * 5 + 5


@pytest.mark.parametrize("size", [16, 31])
def test_resnet50_refuses_what_is_too_small(size: int) -> None:
    with pytest.raises(RecipeError, match=rf"at least 32 pixels, not {size}; set teacher\.image_size = 32, which"):
        teacher("resnet50", size)


def test_resnet_small_by_hand() -> None:
    """Fourteen layers with weights, shortcuts aside: a stem, three stages of two blocks of two, the head."""
    stage0 = 4 * 9 * 32 * 32
    stage1 = 9 * 32 * 64 + 3 * 9 * 64 * 64 + 32 * 64
    stage2 = 9 * 64 * 128 + 3 * 9 * 128 * 128 + 64 * 128
    norms = 4 * (32 + 4 * 32 + 5 * 64 + 5 * 128)
    model = teacher(classes=10)
    assert count(*model.layers) == 9 * 3 * 32 + stage0 + stage1 + stage2 + norms + 128 * 10 + 10
    kinds = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
    weighty = [layer for layer in model.layers if isinstance(layer, kinds) and "shortcut" not in layer.name]
    assert len(weighty) == 14


@pytest.mark.parametrize(("size", "side"), [(16, 4), (32, 8), (40, 10), (41, 6), (64, 8)])
def test_resnet_small_keeps_small_images_large(size: int, side: int) -> None:
    """Two of its stages halve; above 40 pixels the stem does too."""
    assert teacher(size=size).get_layer("pool").input_shape == (None, side, side, 128)


def test_unknown_teacher_names_the_nearest() -> None:
    assert {"resnet50", "resnet_small", "mobilenet_v2", "densenet121"} <= set(TEACHERS)
    with pytest.raises(ModelError, match=r'^unknown teacher "resnet-50"; did you mean "resnet50"\?$'):
        teacher("resnet-50")


# Weights from files


@pytest.fixture(scope="module")
def resnet50_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of ``tf_keras.applications.ResNet50(include_top=False)``, as its published file has them."""
    _keras.reset(7)
    backbone = tf_keras.applications.ResNet50(include_top=False, weights=None)
    path = tmp_path_factory.mktemp("weights") / "backbone.h5"
    backbone.save_weights(path)
    return path


def test_weights_of_a_file_and_their_input_convention(resnet50_file: Path) -> None:
    """The backbone computes what Keras's own backbone and Keras's own preprocessing compute."""
    model = teacher("resnet50", weights=str(resnet50_file))
    _keras.reset(7)
    backbone = tf_keras.applications.ResNet50(include_top=False, weights=None, pooling="avg")
    backbone.load_weights(resnet50_file)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    features = backbone(tf_keras.applications.resnet50.preprocess_input(pixels.copy()), training=False)
    expected = model.get_layer("logits")(features).numpy()
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(model(pixels, training=False), expected, rtol=1e-3, atol=1e-4)
    assert not model.get_layer("imagenet_input").trainable
    assert {layer.momentum for layer in batch_norms(model)} == {0.9}


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_weights_that_are_not_there(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(ModelError) as caught:
        teacher("resnet50", weights=str(path))
    assert str(caught.value) == f'teacher.weights = "{path}": no such file; allowed: none, imagenet, or a path'


WANTED = r"the file must hold the weights of tf_keras\.applications\.ResNet50\(include_top=False\) \("


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    student().save_weights(path)
    with pytest.raises(ModelError, match=WANTED) as caught:
        teacher("resnet50", weights=str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "content"), [("h5", b""), ("h5", b"\x89HDF\r\n\x1a\n" + bytes(100)), ("keras", b"PK\3\4 and no more")]
)
def test_what_holds_no_weights(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=WANTED) as caught:
        teacher("resnet50", weights=str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_code_in_a_weights_file_is_never_run(tmp_path: Path) -> None:
    """A whole model as ``.h5`` carries the byte code of its Lambda; Keras runs it on loading, safe_mode or not."""
    marker, path = tmp_path / "executed", tmp_path / "trap.h5"
    code = f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]"
    trap = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Lambda(eval(code)), tf_keras.layers.Dense(1)])
    trap.save(path)
    marker.unlink()
    tf_keras.models.load_model(path, compile=False)
    assert marker.exists()  # the trap is a trap
    marker.unlink()
    with pytest.raises(ModelError, match=WANTED):
        teacher("resnet50", weights=str(path))
    assert not marker.exists()


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    make = tf_keras.applications.ResNet50

    def offline(*arguments: Any, weights: str | None, **options: Any) -> Any:
        if weights == "imagenet":
            raise OSError("URL fetch failure on a_notop.h5: no route to host\nmore of it")
        return make(*arguments, weights=weights, **options)

    monkeypatch.setattr(tf_keras.applications, "ResNet50", offline)
    with pytest.raises(ModelError, match=r"the download failed; fetch that file elsewhere and set teacher") as caught:
        teacher("resnet50", weights="imagenet")
    assert str(caught.value).endswith("(URL fetch failure on a_notop.h5: no route to host)")


def test_resnet_small_has_no_weights_to_load() -> None:
    with pytest.raises(ModelError, match=r'weights = "imagenet": resnet_small has none to load; allowed: none'):
        teacher(weights="imagenet")


# By hand, batch normalisation 4 a channel, head 3 classes. ResNet-8: stem 432 + 64; block 0 twice 2,304 + 64; block 1
# 4,608 + 9,216 + 2 * 128 + shortcut 544; block 2 18,432 + 36,864 + 2 * 256 + shortcut 2,112; head 195. DS-CNN: stem
# 1,728 + 256; four times 576 + 256 + 4,096 + 256; head 195. MobileNet: 3,228,864 (Keras, without top) and 3,075.
@pytest.mark.parametrize(("name", "count"), [("resnet8", 77_971), ("ds_cnn", 22_915), ("mobilenet_v1", 3_231_939)])
def test_small_students_have_the_parameters_of_their_papers(name: str, count: int) -> None:
    assert other_student(name, width=1.0).count_params() == count


def test_efficientnet_lite0_has_the_published_parameters() -> None:
    """4.65 million with the ImageNet head (Liu 2020 gives 4.7), batch statistics aside.

    Kernel, expansion, channels in and out, repeats after table 1 of Tan and Le (2019). A block is a widening, a
    filter and a narrowing convolution, each with a scale and a shift a channel.
    """
    stages = [(3, 1, 32, 16, 1), (3, 6, 16, 24, 2), (5, 6, 24, 40, 2), (3, 6, 40, 80, 3), (5, 6, 80, 112, 3)]
    stages += [(5, 6, 112, 192, 4), (3, 6, 192, 320, 1)]
    expected = 27 * 32 + 2 * 32 + 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    for kernel, factor, first, channels, repeats in stages:
        for before in [first, *[channels] * (repeats - 1)]:
            wide = factor * before
            expected += (before * wide + 2 * wide) * (factor > 1) + kernel**2 * wide + 2 * wide
            expected += wide * channels + 2 * channels
    model = build_student("efficientnet_lite0", image_size=64, num_classes=1000, width_multiplier=1.0)
    assert expected == 4_652_008
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == expected
    # Strides 2, 1, 2, 2, 2, 1, 2, 1 leave 64 / 32 positions a side; 9 of 16 blocks keep shape and have a shortcut.
    assert model.get_layer("last_relu").output.shape[1:] == (2, 2, 1280)
    assert sum(isinstance(layer, tf_keras.layers.Add) for layer in model.layers) == 9


def test_efficientnet_lite0_keeps_stem_and_last_convolution_at_any_width() -> None:
    model = other_student("efficientnet_lite0", width=0.35)
    assert [model.get_layer(name).output.shape[-1] for name in ("stem_relu", "last_relu")] == [32, 1280]
    # 0.35 of 16, 24, 40, 80, 112, 192, 320 is 5.6, 8.4, 14, 28, 39.2, 67.2, 112: to eights, and no more than 10 % down.
    found = [model.get_layer(f"stage{stage}_block0_project_bn").output.shape[-1] for stage in range(7)]
    assert found == [8, 8, 16, 32, 40, 64, 112]


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn"])
def test_width_gives_channels_in_eights(name: str) -> None:
    layers = [layer for layer in other_student(name, width=0.35).layers if isinstance(layer, tf_keras.layers.Conv2D)]
    assert all(layer.output.shape[-1] % 8 == 0 for layer in layers)
    assert min(layer.output.shape[-1] for layer in layers) == {"resnet8": 8, "ds_cnn": 24}[name]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3_small", "efficientnet_lite0", "resnet8", "ds_cnn"])
def test_every_student_converts_to_int8_and_agrees_with_its_float_form(name: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    model = other_student(name)
    for _ in range(20):  # statistics of the images, so that the logits vary
        model(np.float32(images), training=True)
    frozen = tflite.freeze(model)
    found = predict_probs(tflite.convert(frozen, "int8", images), images)
    expected = predict_probs(tflite.convert(frozen, "fp32"), images)
    np.testing.assert_allclose(found, expected, atol=0.05)
