"""Training with the rounding of INT8: where ranges start, what the file makes of them, what stays, what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_prune_channels import SMALL, KillAt, Killed
from tflite_models import SIDE, keras_logits, smooth_images, tiny_cnn

from edgekd import _keras, _litert, fake_quant, kernels, pipeline, recipe, tflite
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.config.distill import Distill
from edgekd.config.training import Training, Views
from edgekd.data import Dataset
from edgekd.errors import ConversionError, ModelError
from edgekd.models import STUDENTS, build_student
from edgekd.progress import Progress
from edgekd.stages.qat import is_better, qat
from edgekd.tasks import MULTI_CLASS
from edgekd.tflite import cost
from edgekd.tflite.layers import layers_of

FAMILIES = {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35, "mobilenet_v3_small": 0.35, "resnet8": 1.0}
LESSON = Training(epochs=2, batch_size=16, learning_rate=0.01, warmup_epochs=0.0)
ON_LABELS = Distill(hard_loss_weight=1.0, views=Views(max_shift=0.1))


def with_extremes(images: np.ndarray) -> np.ndarray:
    """All-0 and all-255 images belong to every calibration."""
    extremes = [np.full(images.shape[1:], value, np.uint8) for value in (0, 255)]
    return np.float32(np.concatenate([images, np.stack(extremes)]))


def test_a_range_is_what_a_layer_gives_for_the_calibration_images_and_two_more() -> None:
    """By hand: the mean grey levels of the images are 0, 64 and 255; less 128 they are -128, -64 and 127."""
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((4, 4, 3), name="pixels")
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Rescaling(1.0, offset=-128.0, name="centre")(pixels))
    model = _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x))
    model.get_layer("logits").set_weights([np.float32([[1, 2], [0, 0], [0, 0]]), np.float32([0, 300])])
    ranges = fake_quant.calibrate(model, np.full((1, 4, 4, 3), 64, np.uint8))
    # Logits: -128 and 300 - 256 = 44; -64 and 172; 127 and 554.
    assert ranges == {"centre": (-128, 127), "pool": (-128, 127), "logits": (-128, 554)}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_range_starts_at_the_extremes_of_the_calibration(name: str) -> None:
    _keras.reset(0)
    model = build_student(name, image_size=32, num_classes=2, width_multiplier=FAMILIES[name])
    images = smooth_images(8, 32)
    for _ in range(5):
        model(np.float32(images), training=True)
    wrapped = fake_quant.wrap(model, fake_quant.calibrate(model, images))
    found = fake_quant.read_ranges(wrapped)
    assert found
    outputs = [model.get_layer(layer).output for layer in found]
    answers = _keras.tf_keras.Model(model.input, outputs)(with_extremes(images), training=False)
    for (layer, ends), answer in zip(found.items(), answers, strict=True):
        expected = min(0.0, answer.numpy().min()), max(0.0, answer.numpy().max())
        np.testing.assert_allclose(ends, expected, rtol=1e-4, atol=1e-5, err_msg=layer)
    # None but these is left at tfmot's own start, and pixels have theirs.
    ends = [weight for weight in wrapped.weights if weight.name.rpartition("/")[2][-6:] in ("_min:0", "_max:0")]
    assert len(ends) == 2 * len(found) + 2
    assert [float(weight) for weight in ends if "quantize_layer_" in weight.name] == [0.0, 255.0]
    # It is the same student: without rounding the weights are its own, and so is what it computes.
    rebuilt = _keras.tf_keras.models.clone_model(model)
    fake_quant.unwrap(wrapped, rebuilt)
    for expected, weight in zip(model.get_weights(), rebuilt.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    view = tflite.open_view(tflite.convert(tflite.freeze(model, found), "int8"))
    calibrated = tflite.open_view(tflite.convert(tflite.freeze(model), "int8", images))
    assert view.operator_counts == calibrated.operator_counts
    assert list(layers_of(view)) == list(layers_of(calibrated))
    assert (view.inputs[0].name, view.inputs[0].scale, view.inputs[0].zero_point) == ("pixels", (1.0,), (0,))


def rounded(model: Any, images: np.ndarray) -> tuple[np.ndarray, dict[str, tuple[float, float]]]:
    """Logits in the wrapper, and the ranges that it rounds within."""
    wrapped = fake_quant.wrap(model, fake_quant.calibrate(model, images))
    return keras_logits(wrapped, images), fake_quant.read_ranges(wrapped)


def test_the_file_computes_what_the_training_saw() -> None:
    """Up to two of the 256 steps of the logits: a bias is rounded in the file, and halves round otherwise."""
    images = smooth_images(64, seed=1)
    model = tiny_cnn()
    expected, ranges = rounded(model, images)
    content = tflite.convert(tflite.freeze(model, ranges), "int8_io")
    interpreter = _litert.open_interpreter(content)
    scale, zero_point = interpreter.get_output_details()[0]["quantization"]
    logits = scale * (_litert.run(interpreter, images).astype(np.float64) - zero_point)
    step = (ranges["logits"][1] - ranges["logits"][0]) / 255
    assert scale == pytest.approx(step, rel=1e-5)
    np.testing.assert_allclose(logits, expected, atol=2.01 * step)
    assert np.abs(logits - keras_logits(model, images)).max() > 0, "a file that rounds nothing proves nothing"


def test_weights_are_rounded_as_the_converter_rounds_them_after_training() -> None:
    """One scale for each output channel of every kernel, that of the depthwise and of the dense one included."""
    model, images = tiny_cnn(), smooth_images(16, seed=1)
    ranges = fake_quant.calibrate(model, images)
    wrapped = fake_quant.wrap(model, ranges)
    for name, attribute, axes in (
        ("stem", "kernel", (0, 1, 2)),
        ("depthwise", "depthwise_kernel", (0, 1, 3)),
        ("pointwise", "kernel", (0, 1, 2)),
        ("logits", "kernel", (0,)),
    ):
        kernel = getattr(model.get_layer(name), attribute).numpy()
        scale = np.abs(kernel).max(axis=axes, keepdims=True) / 127
        wrapper = wrapped.get_layer(f"quant_{name}")
        wrapper(np.zeros((1, *wrapper.input_shape[1:]), np.float32), training=False)
        np.testing.assert_allclose(
            getattr(wrapper.layer, attribute), np.round(kernel / scale) * scale, rtol=1e-4, atol=1e-6
        )
    files = [
        tflite.open_view(content)
        for content in (
            tflite.convert(tflite.freeze(model, fake_quant.read_ranges(wrapped)), "int8"),
            tflite.convert(tflite.freeze(model), "int8", images),
        )
    ]
    ours, theirs = ([kernel.values for _, kernel in cost.weights(view)] for view in files)
    assert len(ours) == 4
    for own, other in zip(ours, theirs, strict=True):
        assert np.abs(own.astype(int) - other.astype(int)).max() <= 1
        assert np.mean(own == other) > 0.99


def tiny_student(seed: int = 0) -> Any:
    """As a trained one: its statistics have arrived, and its logits are as wide as those of a sure network."""
    _keras.reset(seed)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((SIDE, SIDE, 3), name="pixels")
    x = layers.Rescaling(1 / 128, name="normalise")(layers.Rescaling(1.0, offset=-128.0, name="centre")(pixels))
    for index in range(2):
        x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(layers.BatchNormalization(momentum=0.9, name=f"bn{index}")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x), name="tiny")
    for _ in range(50):
        model(np.float32(smooth_images(48, seed=seed)), training=True)
    return model


def widened(model: Any, factor: float) -> Any:
    model.get_layer("logits").set_weights([factor * weight for weight in model.get_layer("logits").get_weights()])
    return model


@pytest.fixture
def run(tmp_path: Path, tiny_data: Artifact) -> Callable[..., Artifact]:
    """Train a student on as INT8, on its labels; ``name`` tells the folders of several runs apart."""

    def train(
        model: Any, name: str = "run", training: Training = LESSON, progress: Progress | None = None, **options: Any
    ) -> Artifact:
        folder, out = tmp_path / f"{name}_student", tmp_path / f"{name}_out"
        _keras.save_model(model, folder / "model")
        out.mkdir(exist_ok=True)
        common = {"preserve": "nothing", "distillation": ON_LABELS, "seed": 3, "work": tmp_path / name}
        inputs = (tiny_data, None, Artifact.seal(folder, {}), training, out)
        return qat(*inputs, **{**common, "progress": progress or Progress(), **options})

    return train


def int8_of(made: Artifact) -> tflite.View:
    ranges = {name: tuple(ends) for name, ends in made.facts["ranges"].items()}
    return tflite.open_view(tflite.convert(tflite.freeze(_keras.load_model(made.path / "model"), ranges), "int8"))


def test_wide_logits_are_not_cut(run: Callable[..., Artifact], tiny_data: Artifact) -> None:
    """A range that starts at -6 and 6 would let through half of these."""
    model = widened(tiny_student(), 60.0)
    images = Dataset.open(tiny_data).calibration_images
    answers = model(with_extremes(images), training=False).numpy()
    low, high = min(0.0, float(answers.min())), max(0.0, float(answers.max()))
    assert high - low > 24
    made = run(model, training=dataclasses.replace(LESSON, epochs=1, learning_rate=1e-5))
    assert made.facts["ranges_at_start"]["logits"] == pytest.approx([low, high], rel=1e-4)
    # Three steps at 0.999 move an end by 0.3 % of the way to the batch's.
    assert made.facts["ranges"]["logits"] == pytest.approx([low, high], abs=0.003 * (high - low))
    view = int8_of(made)
    fully_connected = next(operator for operator in view.operators if operator.name == "FULLY_CONNECTED")
    logits = view.tensors[fully_connected.outputs[0]]
    assert logits.scale[0] == pytest.approx((high - low) / 255, rel=0.004)


def test_training_moves_weights_and_statistics_and_leaves_the_pixels_alone(run: Callable[..., Artifact]) -> None:
    model = tiny_student()
    made = run(model)
    trained = _keras.load_model(made.path / "model")
    assert [layer.name for layer in trained.layers] == [layer.name for layer in model.layers]
    changed = {
        name
        for name in ("conv0", "bn0", "conv1", "bn1", "logits")
        if not any(
            np.array_equal(old, new)
            for old, new in zip(model.get_layer(name).get_weights(), trained.get_layer(name).get_weights(), strict=True)
        )
    }
    assert changed == {"conv0", "bn0", "conv1", "bn1", "logits"}
    assert [row["epoch"] for row in made.facts["history"]] == [0, 1]
    assert made.facts["ranges"].keys() == {"centre", "relu0", "relu1", "pool", "logits"}
    view = int8_of(made)
    assert (view.inputs[0].dtype, view.inputs[0].scale, view.inputs[0].zero_point) == ("uint8", (1.0,), (0,))
    assert tflite.float_islands(view) == []
    assert made.facts["val"].keys() == {"float", "ptq", "qat"}


def test_zeros_stay_zeros_in_the_file(run: Callable[..., Artifact]) -> None:
    model = tiny_student()
    kernel = model.get_layer("conv1").kernel
    zeros = np.abs(kernel.numpy()) < np.median(np.abs(kernel.numpy()))
    kernel.assign(np.where(zeros, 0, kernel.numpy()))
    made = run(model, preserve="zeros")
    (found,) = [
        tensor.values.reshape(16, 3, 3, 16)
        for operator, tensor in cost.weights(int8_of(made))
        if tensor.shape == (16, 3, 3, 16)
    ]
    assert np.all(found.transpose(1, 2, 3, 0)[zeros] == 0)
    everywhere = 3 * 3 * 3 * 16 + 3 * 3 * 16 * 16 + 16 * 2
    assert made.facts["measured_sparsity"] == pytest.approx(zeros.sum() / everywhere)
    # Without it they are lost, so that this is no accident.
    assert run(model, "lost").facts["measured_sparsity"] < 0.01


def test_equal_weights_stay_equal(run: Callable[..., Artifact]) -> None:
    model = tiny_student()
    kernel = model.get_layer("conv1").kernel
    steps = np.round(kernel.numpy() / 0.05)
    kernel.assign(0.05 * steps)
    made = run(model, preserve="values")
    trained = _keras.load_model(made.path / "model").get_layer("conv1").kernel.numpy()
    assert not np.array_equal(trained, kernel.numpy())
    assert all(len(np.unique(trained[steps == step])) == 1 for step in np.unique(steps))


def test_the_mean_of_equal_weights_takes_their_place() -> None:
    """By hand: (1 + 3) / 2 = 2 and (5 + 9 + 10) / 3 = 8."""
    kernel = _keras.tf.Variable([[7.0, 7.0, -1.0], [-1.0, -1.0, 0.0]])
    keep = kernels.keeper([kernel], "values")
    kernel.assign([[1.0, 3.0, 5.0], [9.0, 10.0, 4.0]])
    keep()
    np.testing.assert_array_equal(kernel.numpy(), [[2, 2, 8], [8, 8, 4]])


@pytest.mark.parametrize("step", [2, 4])
def test_killed_and_resumed_ends_as_unbroken(step: int, run: Callable[..., Artifact]) -> None:
    """Three steps an epoch; the checkpoint of the first is gone on with, ranges and all."""
    model = tiny_student()
    with pytest.raises(Killed):
        run(model, "broken", progress=KillAt(step))
    assert run(model, "broken").digest == run(model, "whole").digest


def obstacles() -> dict[str, tuple[Callable[[Any], Any], str]]:
    layers = _keras.tf_keras.layers
    conv = layers.Conv2D(3, 1, name="twice")
    return {
        "hard swish": (
            lambda x: layers.Multiply(name="swish")([x, layers.ReLU(6.0, name="gate")(x)]),
            'layer "swish" is of class Multiply, which has no form with ranges; use Activation, Add',
        ),
        "a statistic of the network": (layers.Normalization(name="norm", mean=0.0, variance=1.0), 'layer "norm" is of'),
        "nested": (
            _keras.tf_keras.Sequential([layers.Conv2D(3, 1)], name="inner"),
            'layer "inner" is a model within the model; build the student of layers alone',
        ),
        "twice": (lambda x: conv(conv(x)), 'layer "twice" is used twice'),
        "normalised alone": (
            layers.BatchNormalization(name="bn"),
            'layer "bn" does not follow a convolution or dense layer, alone; put it behind one',
        ),
        "tanh": (layers.Conv2D(3, 1, activation="tanh", name="odd"), 'layer "odd" has the activation "tanh"; use relu'),
        "slope": (layers.ReLU(negative_slope=0.1, name="leaky"), 'layer "leaky" is a ReLU with a slope'),
        "channels": (layers.Rescaling([1.0, 2.0, 3.0], name="scaled"), 'layer "scaled" scales each channel in its own'),
    }


@pytest.mark.parametrize("name", obstacles())
def test_a_layer_that_cannot_be_trained_so_is_named(name: str) -> None:
    layers = _keras.tf_keras.layers
    layer, message = obstacles()[name]
    pixels = _keras.tf_keras.Input((SIDE, SIDE, 3), name="pixels")
    x = layers.GlobalAveragePooling2D(name="pool")(layer(pixels))
    model = _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x))
    with pytest.raises(ModelError) as caught:
        fake_quant.check(model)
    assert message in str(caught.value)
    assert str(caught.value).startswith('quantize.method = "qat": ')
    assert str(caught.value).endswith('; or set quantize.method = "ptq"')


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_every_student_of_the_package_can_be_trained_so(name: str) -> None:
    student = build_student(name, image_size=32, num_classes=2, width_multiplier=1.0)
    assert fake_quant.check(student) is None  # what cannot be trained so raises


def test_every_layer_that_is_let_through_is_integer_in_the_file() -> None:
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((SIDE, SIDE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="both")(pixels)
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(layers.ZeroPadding2D(1, name="pad")(x))
    y = layers.BatchNormalization(name="bn")(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = layers.Concatenate(name="joined")([layers.Activation("relu", name="act")(y), layers.Add(name="sum")([x, y])])
    x = layers.AveragePooling2D(name="average")(layers.MaxPooling2D(name="largest")(x))
    x = layers.Dropout(0.5, name="dropped")(layers.Reshape((16, 16), name="reshaped")(x))
    x = layers.ReLU(6.0, name="relu")(layers.Dense(8, name="dense")(layers.Flatten(name="flat")(x)))
    model = _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x))
    images = smooth_images(16)
    expected, ranges = rounded(model, images)
    content = tflite.convert(tflite.freeze(model, ranges), "int8_io")
    assert not any(tensor.dtype.startswith("float") for tensor in tflite.open_view(content).tensors)
    interpreter = _litert.open_interpreter(content)
    scale, zero_point = interpreter.get_output_details()[0]["quantization"]
    logits = scale * (_litert.run(interpreter, images).astype(np.float64) - zero_point)
    np.testing.assert_allclose(logits, expected, atol=4 * scale)


def test_a_float_file_of_a_graph_with_ranges_is_refused() -> None:
    frozen = dataclasses.replace(tflite.freeze(tiny_student()), has_ranges=True)
    with pytest.raises(ConversionError, match="fp32 is made of a graph without ranges"):
        tflite.convert(frozen, "fp32")


@pytest.mark.parametrize(
    ("qat_", "ptq", "better"),
    [((0.9, 0.8), (0.9, 0.8), False), ((0.91, 0.7), (0.9, 0.8), True), ((0.9, 0.81), (0.9, 0.8), True)],
)
def test_better_is_a_higher_auc_or_the_same_and_more_right(qat_: Any, ptq: Any, better: bool) -> None:
    figures = {of: {"auc": auc, "top1": top1} for of, (auc, top1) in (("qat", qat_), ("ptq", ptq))}
    assert is_better(figures, MULTI_CLASS) == better


@pytest.fixture
def build(
    make_npz: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Artifact]]:
    """The chain up to quantize, within this process, whose thread count is left alone."""
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    training = {"quantize.training.epochs": 1, "quantize.training.batch_size": 8}
    settings = {**SMALL, **training, "data.name": "", "data.path": str(make_npz())}

    def artifacts(**changes: Any) -> dict[str, Artifact]:
        loaded = recipe.load("quickstart", {**settings, **changes})
        return pipeline.artifacts(loaded, cache=Cache(tmp_path / "cache"), until="quantize")[0]

    return artifacts


def test_pruned_and_trained_as_int8(build: Callable[..., dict[str, Artifact]]) -> None:
    made = build(
        **{"prune.method": "weight", "prune.final_sparsity": 0.5, "prune.frequency": 1},
        **{"quantize.method": "qat", "quantize.variants": ["fp32", "dynamic", "int8", "int8_io"]},
    )
    rows = {row["id"]: row for row in made["quantize"].facts["models"]}
    assert {name: row["steps"] for name, row in rows.items()} == {
        "student_fp32": ["distilled", "pruned", "qat"],
        "student_dynamic": ["distilled", "pruned", "qat", "ptq"],
        "student_int8": ["distilled", "pruned", "qat"],
        "student_int8_io": ["distilled", "pruned", "qat"],
    }
    assert (rows["student_int8"]["dtype"], rows["student_int8"]["input_type"]) == ("int8", "uint8")
    assert rows["student_int8"]["measured_sparsity"] >= made["prune"].facts["measured_sparsity"] - 0.005
    # The temperature is inside: the range of the logits is divided as they are.
    view = tflite.open_view(made["quantize"].path / "student_int8_io.tflite")
    low, high = made["qat"].facts["ranges"]["logits"]
    temperature = made["quantize"].facts["temperature"]
    assert temperature != 1.0
    assert view.outputs[0].scale[0] == pytest.approx((high - low) / 255 / temperature, rel=1e-3)
    assert "of the student in floating point" in made["qat"].facts["summary"]


def test_a_student_that_cannot_be_trained_so_ends_the_build_before_anything_is_made(
    build: Callable[..., dict[str, Artifact]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekd.fake_quant.obstacles._known", lambda: ())
    with pytest.raises(ModelError, match=r'quantize\.method = "qat": layer "pixels" is of class InputLayer'):
        build(**{"quantize.method": "qat", "prune.method": "none"})
    assert not list((tmp_path / "cache").rglob("facts.json"))
