"""Teachers that come as files: what they take is read or stated, what they can do is looked at, strangers run apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_images

from edgekd import _keras, data, ensemble, recipe, tflite
from edgekd._keras import tf, tf_keras
from edgekd.artifact import Artifact, read_json, sha256_file
from edgekd.config.data import Data
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher, TeacherFile
from edgekd.config.training import Training, Views
from edgekd.data import Dataset
from edgekd.errors import DataError, ModelError, RecipeError
from edgekd.logits_store import LogitsStore
from edgekd.models import check_teacher, check_use, open_teacher
from edgekd.models.foreign import open_foreign
from edgekd.models.given import as_logits, input_of, output_kind
from edgekd.progress import Progress
from edgekd.stages.given import given, mixed
from edgekd.stages.teacher import teacher as teacher_stage
from edgekd.stages.teacher_logits import teacher_logits

SIDE = 16
KINDS = ("onnx", "tflite", "int8", "saved_model", "keras3", "h5", "keras2")


def weights(channels: int = 3) -> np.ndarray:
    """Kernel ``(h * w * c, 2)`` of a classifier of bright halves: ten times the mean of each half, for x in 0..1."""
    kernel = np.zeros((SIDE, SIDE, channels, 2), np.float32)
    for label, half in enumerate((slice(0, SIDE // 2), slice(SIDE // 2, SIDE))):
        kernel[:, half, :, label] = 10 / (SIDE * SIDE // 2 * channels)
    return kernel.reshape(-1, 2)


def expected_logits(images: np.ndarray) -> np.ndarray:
    """The same by hand, from pixels in 0..255."""
    halves = images[..., : SIDE // 2, :], images[..., SIDE // 2 :, :]
    return np.stack([10 * half.mean(axis=(1, 2, 3)) / 255 for half in halves], axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def keras_model(keras: Any, activation: str | None = None) -> Any:
    model = keras.Sequential(
        [keras.layers.Input((SIDE, SIDE, 3)), keras.layers.Flatten(), keras.layers.Dense(2, activation=activation)]
    )
    model.layers[-1].set_weights([weights(), np.zeros(2, np.float32)])
    return model


def write_onnx(
    path: Path, kernel: np.ndarray, shape: tuple[Any, ...] = ("n", 1, SIDE, SIDE), last: str | None = None
) -> Path:
    import onnx

    nodes = [
        onnx.helper.make_node("Flatten", ["images"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "kernel"], ["product"]),
        onnx.helper.make_node(last or "Identity", ["product"], ["logits"]),
    ]
    rows = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides)
        for name, sides in (("images", shape), ("logits", (shape[0], kernel.shape[1])))
    ]
    constant = onnx.numpy_helper.from_array(kernel, "kernel")
    graph = onnx.helper.make_graph(nodes, "halves", [rows[0]], [rows[1]], [constant])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 10
    path.write_bytes(model.SerializeToString())
    return path


def write(kind: str, folder: Path) -> tuple[Path, TeacherFile]:
    """The classifier of halves in one form, and how it takes images."""
    _keras.reset(0)
    if kind == "onnx":
        return write_onnx(folder / "halves.onnx", weights(1)), TeacherFile()
    if kind in ("tflite", "int8"):
        pixels = tf_keras.Input((SIDE, SIDE, 3))
        flat = tf_keras.layers.Flatten()(tf_keras.layers.Rescaling(1 / 255)(pixels))
        head = tf_keras.layers.Dense(2)
        model = tf_keras.Model(pixels, head(flat))
        head.set_weights([weights(), np.zeros(2, np.float32)])
        images = np.repeat(make_images(32, 5, SIDE)[0][..., None], 3, axis=-1)
        content = tflite.convert(tflite.freeze(model), "int8" if kind == "int8" else "fp32", images)
        (folder / "halves.tflite").write_bytes(content)
        return folder / "halves.tflite", TeacherFile() if kind == "int8" else TeacherFile(range=(0.0, 255.0))
    if kind == "saved_model":
        module, kernel = tf.Module(), tf.constant(weights())
        module.f = tf.function(
            lambda images: {"probs": tf.nn.softmax(tf.reshape(images, (-1, SIDE * SIDE * 3)) @ kernel)},
            input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32)],
        )
        tf.saved_model.save(module, folder / "halves", signatures={"serving_default": module.f})
        return folder / "halves", TeacherFile()
    if kind == "keras3":
        import keras

        keras_model(keras, "softmax").save(folder / "halves.keras")
        return folder / "halves.keras", TeacherFile()
    path = folder / ("halves.h5" if kind == "h5" else "halves.keras")
    keras_model(tf_keras, "softmax").save(path)
    return path, TeacherFile()


def take(data: Artifact, path: Path, out_dir: Path, **changes: Any) -> Artifact:
    out_dir.mkdir()
    return given(data, Teacher(model=str(path), **changes), out_dir)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # Keras 3, saving
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_answers_as_it_does_by_hand(kind: str, tiny_data: Artifact, tmp_path: Path) -> None:
    path, file = write(kind, tmp_path)
    made = take(tiny_data, path, tmp_path / "out", file=file)
    dataset = Dataset.open(tiny_data)
    expected = softmax(expected_logits(np.asarray(dataset.test.images, np.float64)))
    with open_teacher(made.path) as answers:
        logits = answers.predict(dataset.test.images.astype(np.float32), "test", np.arange(20))
    np.testing.assert_allclose(softmax(logits), expected, atol=0.02 if kind == "int8" else 1e-5)
    assert made.facts["given"]["sha256"] == (made.facts["given"]["sha256"] if path.is_dir() else sha256_file(path))
    top1 = float(np.mean(expected.argmax(axis=1) == dataset.test.labels))
    assert made.facts["test"] == {"top1": pytest.approx(top1), "auc": pytest.approx(1.0), "n": 20}
    assert (answers.model is not None) == (kind in ("h5", "keras2"))
    assert [entry["id"] for entry in made.facts["models"]] == {
        **{"tflite": ["teacher_tflite"], "int8": ["teacher_tflite"]},
        **{"h5": ["teacher_fp32"], "keras2": ["teacher_fp32"]},
    }.get(kind, [])


def test_the_onnx_teacher_of_pneumoniamnist(shared_data: Path, tmp_path: Path) -> None:
    """A network trained in PyTorch, NCHW in 0..1: the test accuracy that its makers measured is 0.8462."""
    from edgekd import data

    folder = tmp_path / "data"
    folder.mkdir()
    images = data.prepare(Data(path=str(shared_data / "pneumoniamnist.npz"), image_size=28), folder)
    made = take(images, shared_data / "pneumonia_resnet_torch.onnx", tmp_path / "out")
    assert made.facts["test"]["top1"] == pytest.approx(0.8462, abs=0.002)
    assert "0.846 on test (n = 624)" in made.facts["summary"]
    assert made.facts["warnings"] == []


def everything(stored: Artifact) -> np.ndarray:
    """All logits of a store, shape ``(num_views, num_train, K)``."""
    store = LogitsStore.open(stored.path)
    return np.stack([store[view, np.arange(store.layout.num_samples)] for view in range(len(store))])


def test_stored_logits_are_found_by_the_sample(tiny_data: Artifact, tmp_path: Path) -> None:
    dataset = Dataset.open(tiny_data)
    arrays: dict[str, np.ndarray] = {}
    for name in ("train", "val", "test"):
        images = np.asarray(getattr(dataset, name).images, np.float64)
        order = np.random.default_rng(1).permutation(len(images))
        arrays |= {f"{name}_ids": order, f"{name}_logits": expected_logits(images)[order]}
    np.savez(tmp_path / "logits.npz", **arrays)
    made = take(tiny_data, tmp_path / "logits.npz", tmp_path / "out")
    (tmp_path / "stored").mkdir()
    stored = teacher_logits(
        tiny_data, made, Views(), tmp_path / "stored", num_views=2, seed=0, work=tmp_path, progress=Progress()
    )
    logits = everything(stored)
    expected = expected_logits(np.asarray(dataset.train.images, np.float64))
    np.testing.assert_allclose(logits, [expected, expected], atol=0.01)  # float16
    twice = {**arrays, "val_ids": np.r_[arrays["val_ids"][1], arrays["val_ids"][1:]]}
    np.savez(tmp_path / "twice.npz", **twice)
    with pytest.raises(DataError, match=r"val_ids has 16 entries; wanted is each row of val, 0 to 15, once; 1 are"):
        take(tiny_data, tmp_path / "twice.npz", tmp_path / "twice")
    del arrays["test_logits"]
    np.savez(tmp_path / "half.npz", **arrays)
    with pytest.raises(DataError, match=r'stored logits "half\.npz" lack test_logits; there are train_ids'):
        take(tiny_data, tmp_path / "half.npz", tmp_path / "half")


def test_views_are_shown_to_a_file_as_to_a_network(tiny_data: Artifact, tmp_path: Path) -> None:
    """Mirrored images swap the halves, and so the answers."""
    path, file = write("onnx", tmp_path)
    made = take(tiny_data, path, tmp_path / "out", file=file)
    (tmp_path / "stored").mkdir()
    views = Views(horizontal_flip=True)
    stored = teacher_logits(
        tiny_data, made, views, tmp_path / "stored", num_views=4, seed=3, work=tmp_path, progress=Progress()
    )
    logits = everything(stored)
    expected = expected_logits(np.asarray(Dataset.open(tiny_data).train.images, np.float64))
    plain, mirrored = (np.abs(logits - rows[None]).max(axis=2) < 0.02 for rows in (expected, expected[:, ::-1]))
    assert np.all(plain | mirrored)
    assert 0.2 < np.mean(mirrored & ~plain) < 0.8


def test_an_ensemble_of_a_file_and_a_network(tiny_data: Artifact, tmp_path: Path) -> None:
    path, file = write("onnx", tmp_path)
    (tmp_path / "b").mkdir()
    config = Teacher(training=Training(epochs=1, batch_size=8), width_multiplier=0.5)
    members = [
        take(tiny_data, path, tmp_path / "a", file=file),
        teacher_stage(tiny_data, config, tmp_path / "b", seed=0, work=tmp_path / "w", progress=Progress()),
    ]
    (tmp_path / "out").mkdir()
    made = mixed(tiny_data, members, ["file", "network"], tmp_path / "out")
    pixels = Dataset.open(tiny_data).test.images.astype(np.float32)
    expected = (expected_logits(pixels) + _keras.load_model(members[1].path / "model")(pixels).numpy()) / 2
    with open_teacher(made.path) as answers:
        np.testing.assert_allclose(answers.predict(pixels, "test", np.arange(20)), expected, atol=1e-4)
    assert made.facts["answers"]["id"] == "teacher_ensemble"


# Keras 2 files


def test_models_within_a_keras_model_are_laid_flat(tiny_data: Artifact, tmp_path: Path) -> None:
    """The usual shape of transfer learning: a backbone as one layer of a Sequential."""
    inside = tf_keras.Sequential(
        [tf_keras.Input((8, 8, 3)), tf_keras.layers.Conv2D(4, 3, name="deep")], name="backbone"
    )
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 3)),
            inside,
            tf_keras.layers.GlobalAveragePooling2D(),
            tf_keras.layers.Dense(2),
            tf_keras.layers.Activation("softmax"),
        ]
    )
    model.save(tmp_path / "nested.keras")
    made = take(tiny_data, tmp_path / "nested.keras", tmp_path / "out", file=TeacherFile(accept_weak=True))
    with open_teacher(made.path) as answers:
        assert "given_backbone_deep" in [layer.name for layer in answers.model.layers]
        pixels = Dataset.open(tiny_data).test.images.astype(np.float32)
        seen = tf.image.resize(pixels / 255, (8, 8))
        np.testing.assert_allclose(
            tf.nn.softmax(answers.predict(pixels, "test", np.arange(20))), model(seen), atol=1e-5
        )


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_code_in_a_model_file_is_never_run(suffix: str, tiny_data: Artifact, tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / f"trap.{suffix}"
    code = f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]"
    model = tf_keras.Sequential(
        [tf_keras.Input((16, 16, 3)), tf_keras.layers.Lambda(eval(code)), tf_keras.layers.Flatten()]
    )
    model.save(path)
    marker.unlink()
    with pytest.raises(ModelError, match=r'has a layer of class "(Lambda|__lambda__)", which is code and not data'):
        take(tiny_data, path, tmp_path / "out")
    assert not marker.exists()


def test_a_class_of_another_package_is_no_layer_of_keras(tmp_path: Path) -> None:
    """By its name alone it would be ``Dense``; Keras would import the module that the file names."""
    import zipfile

    keras_model(tf_keras).save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(
        b'"module": "keras.layers", "class_name": "Dense"', b'"module": "elsewhere", "class_name": "Dense"'
    )
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert _keras.load_file(tmp_path / "a.keras").output_shape == (None, 2)
    with pytest.raises(ModelError, match='class "Dense", which is code'):
        _keras.load_file(tmp_path / "b.keras")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_weights_alone_are_no_model(tiny_data: Artifact, tmp_path: Path) -> None:
    keras_model(tf_keras).save_weights(tmp_path / "w.h5")
    with pytest.raises(ModelError, match=r"holds weights alone; save the whole model, or name teacher\.weights"):
        take(tiny_data, tmp_path / "w.h5", tmp_path / "out")


def test_another_end_than_a_softmax(tiny_data: Artifact, tmp_path: Path) -> None:
    keras_model(tf_keras, "sigmoid").save(tmp_path / "s.keras")
    with pytest.raises(ModelError, match=r'ends with the activation "sigmoid"; a softmax or none is known'):
        take(tiny_data, tmp_path / "s.keras", tmp_path / "out")


# What a model takes


def inputs(shape: list[int | None], dtype: str = "float32", seen_size: int = 0, **file: Any) -> Any:
    return input_of(shape, dtype, TeacherFile(**file), seen_size=seen_size, image_size=4, title="it")


def test_what_a_shape_says() -> None:
    found = inputs([None, 1, 28, 20])
    assert (found.layout, found.size, len(found.offset)) == ("nchw", (28, 20), 1)
    found = inputs([1, 32, 32, 3])
    assert (found.layout, found.size, len(found.offset)) == ("nhwc", (32, 32), 3)
    assert inputs([None, None, None, 3]).size == (4, 4)
    assert inputs([None, None, None, 3], seen_size=64).size == (64, 64)


PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "file", "by_hand"),
    [
        ([None, 4, 4, 3], {}, lambda x: x / 255),
        ([None, 4, 4, 3], {"range": (-1.0, 1.0)}, lambda x: x / 127.5 - 1),
        ([None, 3, 4, 4], {"channels": "bgr"}, lambda x: x[..., ::-1].transpose(0, 3, 1, 2) / 255),
        (
            [None, 4, 4, 3],
            {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
            lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        ),
        (
            [None, 1, 4, 4],
            {"mean": (0.5,), "std": (0.25,)},
            lambda x: (x @ [0.299, 0.587, 0.114] / 255 - 0.5)[:, None] * 4,
        ),
    ],
)
def test_pixels_in_the_model_s_form(shape: list[int | None], file: Any, by_hand: Callable[[Any], Any]) -> None:
    found = inputs(shape, **file).of(PIXELS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(np.float64(PIXELS)), atol=1e-5)


def test_whole_numbers_are_grey_levels() -> None:
    grey = np.round(PIXELS)
    np.testing.assert_array_equal(inputs([1, 4, 4, 3], "uint8").of(grey), grey.astype(np.uint8))
    np.testing.assert_array_equal(inputs([1, 4, 4, 3], "int8").of(grey), (grey - 128).astype(np.int8))


@pytest.mark.parametrize(
    ("shape", "dtype", "file", "message"),
    [
        (
            [None, 3, 4, 3],
            "float32",
            {},
            r"it takes \(n, 3, 4, 3\), which may be nhwc or nchw; state teacher\.file\.layout",
        ),
        ([None, None, None, None], "float32", {}, "which may be nhwc or nchw"),
        ([None, 1, 4, 4], "float32", {"layout": "nhwc"}, r'layout = "nhwc": it takes .*; did you mean "nchw"\?'),
        ([None, 3, 4, 4], "float32", {"channels": "grey"}, r'channels = "grey": it takes \(n, 3, 4, 4\), 3 channel'),
        (
            [None, None, None, None],
            "float32",
            {"layout": "nhwc"},
            r"any number of channels; state teacher\.file\.channels",
        ),
        ([None, 4, 4, 3], "uint8", {"std": (2.0,)}, "takes uint8, which is the grey level; leave out range, mean, std"),
        ([None, 4, 4, 1], "float32", {"mean": (0.1, 0.2, 0.3)}, r"mean = \[0\.1, 0\.2, 0\.3\]: it takes 1 channel"),
        ([None, 16], "float32", {}, r"it takes an input of shape \(n, 16\); images have 4 dimensions"),
        ([None, 4, 4, 3], "int64", {}, "it takes int64; float32, uint8 and int8 are known"),
    ],
)
def test_what_is_not_said_must_be_stated(shape: Any, dtype: str, file: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        inputs(shape, dtype, **file)


def test_logits_of_what_a_model_answers() -> None:
    probs = np.array([[0.2, 0.8], [1.0, 0.0]], np.float32)
    np.testing.assert_allclose(softmax(as_logits(probs, "probabilities", 2, "it")), probs, atol=1e-6)
    np.testing.assert_array_equal(as_logits(probs, "logits", 2, "it"), probs)
    one = np.array([[0.25], [0.9]], np.float32)  # the probability of class 1
    np.testing.assert_allclose(softmax(as_logits(one, "probabilities", 2, "it"))[:, 1], [0.25, 0.9], atol=1e-6)
    sigmoid = 1 / (1 + np.exp(-one[:, 0].astype(np.float64)))
    np.testing.assert_allclose(softmax(as_logits(one, "logits", 2, "it"))[:, 1], sigmoid, atol=1e-6)
    with pytest.raises(ModelError, match="it has 2 outputs, the data 3 classes"):
        as_logits(probs, "logits", 3, "it")


def test_logits_of_independent_labels() -> None:
    probs = np.array([[0.2, 0.9], [1.0, 0.0]], np.float32)
    found = as_logits(probs, "probabilities", 2, "it", "sigmoid")
    np.testing.assert_allclose(1 / (1 + np.exp(-found.astype(np.float64))), probs, atol=1e-6)
    assert output_kind(probs, "auto", "it", "sigmoid") == "probabilities"  # their rows need not sum to 1
    assert output_kind(probs - 0.5, "auto", "it", "sigmoid") == "logits"


@pytest.fixture(scope="module")
def lit_halves(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Each half of an image is dark or bright, whatever the other is; a label says which are bright."""
    folder = tmp_path_factory.mktemp("halves")
    arrays = {}
    for split, count in {"train": 24, "val": 16, "test": 20}.items():
        labels = (np.arange(count)[:, None] >> np.arange(2)) % 2
        arrays[f"{split}_labels"] = labels
        arrays[f"{split}_images"] = np.repeat((40 + 160 * labels).astype(np.uint8), SIDE // 2, axis=1)[:, None].repeat(
            SIDE, axis=1
        )
    np.savez(folder / "halves.npz", **arrays)
    (folder / "data").mkdir()
    return data.prepare(Data(path=str(folder / "halves.npz"), image_size=SIDE, max_duplicates=1.0), folder / "data")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("kind", ["onnx", "h5"])
def test_a_teacher_of_several_labels(kind: str, lit_halves: Artifact, tmp_path: Path) -> None:
    """Without an offset the ONNX file finds both halves bright in every image, and still ranks the images."""
    path = tmp_path / f"halves.{kind}"
    if kind == "onnx":
        write_onnx(path, weights(1), last="Sigmoid")
    else:
        model = keras_model(tf_keras, "sigmoid")
        model.layers[-1].set_weights([weights(), np.full(2, -5, np.float32)])
        model.save(path)
    made = take(lit_halves, path, tmp_path / "out")
    assert made.facts["val"] == {"label_accuracy": 0.5 if kind == "onnx" else 1.0, "auc": 1.0, "n": 16}
    assert "label accuracy" in made.facts["summary"]
    with open_teacher(made.path) as answers:
        images = np.asarray(Dataset.open(lit_halves).test.images, np.float32)
        found = answers.predict(images, "test", np.arange(20))
    expected = expected_logits(images.astype(np.float64)) - (5 if kind == "h5" else 0)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_several_labels_ranked_by_chance(lit_halves: Artifact, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", np.ascontiguousarray(weights(1)[:, ::-1]))
    with pytest.raises(ModelError, match=r"AUC 0\.500 on val, no better than chance \(0\.5\); look at teacher\.file"):
        take(lit_halves, path, tmp_path / "out")


def test_probabilities_are_told_from_logits() -> None:
    probs = np.array([[0.2, 0.8], [1.0, 0.0]], np.float32)
    assert output_kind(probs, "auto", "it") == "probabilities"
    assert output_kind(probs * 0.9, "auto", "it") == "logits"  # they do not sum to 1
    assert output_kind(probs, "logits", "it") == "logits"
    with pytest.raises(RecipeError, match=r"one number, between 0 and 1 for every image of val; state teacher\.file"):
        output_kind(probs[:, :1], "auto", "it")
    with pytest.raises(RecipeError, match=r'"probabilities": it answers with -3 to 0\.8 on val; did you mean "logits"'):
        output_kind(np.array([[-3.0, 0.8]], np.float32), "probabilities", "it")


# What it can do


def test_a_wrong_range_is_told(tiny_data: Artifact, tmp_path: Path) -> None:
    """The sine of twice a half's mean rises as long as x lies in 0..1, and says nothing of x in 0..255."""
    path = write_onnx(tmp_path / "halves.onnx", weights(1) / 5, last="Sin")
    made = take(tiny_data, path, tmp_path / "out", file=TeacherFile(range=(0.0, 255.0), accept_weak=True))
    val = Dataset.open(tiny_data).val
    sines = np.sin(255 * expected_logits(np.asarray(val.images, np.float64)) / 5)
    top1 = float(np.mean(sines.argmax(axis=1) == val.labels))
    assert made.facts["val"]["top1"] == pytest.approx(top1)
    assert made.facts["warnings"] == [
        f'teacher "halves.onnx": top-1 on val is {top1:.3f} with teacher.file.range = [0.0, 255.0], and would be 1.000 '
        "with [0.0, 1.0]; is that what it was trained on?"
    ]
    assert top1 <= 0.5  # no better than one class, so that without leave it is refused, with the same hint
    with pytest.raises(ModelError, match=r"no better than always naming .* would be 1\.000 with \[0\.0, 1\.0\]"):
        take(tiny_data, path, tmp_path / "refused", file=TeacherFile(range=(0.0, 255.0)))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (
            weights(1)[:, ::-1],
            r"top-1 0\.000 on val, no better than always naming the largest class \(0\.500\); look at",
        ),
        (weights(1) * 0, "gives the same answer to every image of val; look at teacher.file: layout"),
        (weights(1) * np.float32(np.nan), "gives numbers that are not finite on val"),
        (np.repeat(weights(1), 2, axis=1), "has 4 outputs, the data 2 classes"),
    ],
)
def test_a_teacher_that_knows_nothing(kernel: np.ndarray, message: str, tiny_data: Artifact, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", np.ascontiguousarray(kernel))
    with pytest.raises(ModelError, match=message):
        take(tiny_data, path, tmp_path / "out")


def test_a_weak_teacher_may_be_meant(tiny_data: Artifact, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", np.ascontiguousarray(weights(1)[:, ::-1]))
    assert take(tiny_data, path, tmp_path / "out", file=TeacherFile(accept_weak=True)).facts["val"]["top1"] == 0


def test_a_fixed_batch_is_filled_up(tiny_data: Artifact, tmp_path: Path) -> None:
    """16 val and 20 test images in batches of 7."""
    path = write_onnx(tmp_path / "seven.onnx", weights(1), (7, 1, SIDE, SIDE))
    assert take(tiny_data, path, tmp_path / "out").facts["test"]["top1"] == 1


# Strangers


def test_a_damaged_file(tiny_data: Artifact, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r'^teacher "bad\.onnx" cannot be opened: ') as caught:
        take(tiny_data, tmp_path / "bad.onnx", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_crash_and_a_time_out_are_named(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", weights(1))
    with open_foreign("onnx", path, "it") as model:
        images = np.zeros((2, 1, SIDE, SIDE), np.float32)
        np.testing.assert_array_equal(model.run(images), np.zeros((2, 2)))
        with pytest.raises(ModelError, match=r"^it cannot be run: "):
            model.run(np.zeros((2, 1, 3, 3), np.float32))
        assert model.run(images).shape == (2, 2)  # and lives on
        model._process.kill()
        with pytest.raises(ModelError, match=r"^it crashed \(SIGKILL\)"):
            model.run(images)
    with (
        pytest.raises(ModelError, match=r"^it did not answer within 0\.01 seconds and was stopped$"),
        open_foreign("onnx", path, "it", seconds=0.01),
    ):
        pass


# Recipes


def table(**teacher: Any) -> dict[str, Any]:
    return {"name": "x", "data": {"path": "x.npz"}, "teacher": teacher}


def test_paths_are_told_from_names() -> None:
    files = ("a.onnx", "a.onx", "models/a", "models\\a", "a.h5", "a.keras", "./a.npz", "a.tflite")
    assert [Teacher(model=name).is_file for name in files] == [True] * len(files)
    assert not any(Teacher(model=name).is_file for name in ("resnet50", "ensemble", "efficientnet_v2_b0"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "no.onnx"}, r'teacher\.model = "no\.onnx": no such file; give a path, or the name of a network'),
        ({"model": "sub/"}, "a folder without saved_model.pb; a SavedModel has one"),
        ({"model": "./a.txt"}, r"known are \.h5, .*\.npz, \.keras and the folder of a SavedModel"),
        ({"model": "a.keras"}, r'"a\.keras": not a \.keras file'),
        ({"model": "a.onnx", "file": {"range": [1]}}, r"teacher\.file\.range = \[1\.0\]: two numbers"),
        ({"model": "a.onnx", "file": {"std": [0]}}, r"teacher\.file\.std = \[0\.0\]: above 0"),
        ({"file": {"layout": "nchw"}}, r'teacher\.file: "resnet_small" is the name of a network and no file; leave it'),
    ],
)
def test_what_a_file_cannot_be(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "a.keras", "a.onnx"):
        (tmp_path / name).write_text("x")
    with pytest.raises((ModelError, RecipeError), match=message):
        check_teacher(recipe.from_table(table(**changes)).teacher, "teacher")


@pytest.mark.parametrize(
    ("distill", "features", "message"),
    [
        (Distill(mode="live"), [], r'mode = "live" runs the teacher within the training step, .* an ONNX model'),
        (Distill(mode="mutual"), [], r'set distill\.mode = "stored", or give the teacher as a Keras 2 model'),
        (Distill(), ["attention"], r'"attention" compares feature maps, .* choose losses on logits \(kd, '),
    ],
)
def test_what_only_a_network_can_do(distill: Distill, features: list[str], message: str, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", weights(1))
    with pytest.raises(RecipeError, match=message):
        check_use(Teacher(model=str(path)), "teacher", distill, features)
    check_use(Teacher(model=str(path)), "teacher", Distill(), [])


def test_stored_logits_are_of_images_as_they_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(1))
    config = Teacher(model=str(tmp_path / "a.npz"))
    with pytest.raises(RecipeError, match=r"distill\.views changes the images, .* stored logits"):
        check_use(config, "teacher", Distill(views=Views(horizontal_flip=True)), [])
    check_use(config, "teacher", Distill(), [])


def test_what_is_said_of_networks_is_not_meant_for_a_file(tiny_data: Artifact, tmp_path: Path) -> None:
    """As where one key of a recipe is replaced: its teacher, by a file."""
    path, _ = write("onnx", tmp_path)
    made = take(tiny_data, path, tmp_path / "out", weights="imagenet", copies=2, image_size=64)
    assert made.facts["warnings"] == [
        "teacher.weights, teacher.copies, teacher.image_size: not used, as halves.onnx is taken as it is"
    ]
    assert list(ensemble.networks(Teacher(model=str(path), copies=2), 0)) == [""]


def test_a_file_among_the_members_takes_nothing_from_the_ensemble() -> None:
    found = recipe.from_table(
        table(model="ensemble", weights="imagenet", members={"a": {"model": "a.onnx"}, "b": {"model": "mobilenet"}})
    ).teacher
    assert (found.members["a"].weights, found.members["b"].weights) == ("none", "imagenet")


@pytest.mark.slow
def test_a_build_with_an_onnx_teacher(make_npz: Any, tmp_path: Path) -> None:
    """From the command line to the report: what the teacher can do is shown first, and claims are made against it."""
    path = write_onnx(tmp_path / "halves.onnx", weights(1))
    settings = {
        "data.image_size": SIDE,
        "data.num_calibration_samples": 8,
        "num_threads": 1,
        "teacher.model": str(path),
        "distill.student": "ds_cnn",
        "distill.num_views": 1,
        "distill.training.epochs": 1,
        "distill.training.batch_size": 8,
        "distill.views": {},
        "prune.method": "none",
        "quantize.variants": ["fp32", "int8"],
        "benchmark.num_processes": 1,
        "benchmark.num_runs": 10,
        "gates": {},
    }
    command = [sys.executable, "-m", "edgekd", "build", "default", "--data", str(make_npz()), "--out", "out"]
    command += ["--cache-dir", "cache", *(f"--set={key}={json.dumps(value)}" for key, value in settings.items())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    shown = next(
        index for index, line in enumerate(lines) if "teacher halves.onnx (an ONNX model): top-1 1.000" in line
    )
    assert shown < next(index for index, line in enumerate(lines) if "distill:" in line)
    report = read_json(tmp_path / "out" / "report.json")
    assert report["given_teacher"]["sha256"] == sha256_file(path)
    assert {row["role"] for row in report["models"]} == {"student"}
    claims = {claim["id"]: claim for claim in report["claims"]}
    assert claims["accuracy_vs_teacher_onnx"]["n"] == 10
    assert "size_vs_teacher_onnx" not in claims
    assert any("halves.onnx is no .tflite" in text for text in report["not_measured"])
    weights_of = read_json(tmp_path / "out" / "bundle" / "edgekd_manifest.json")["weights"]
    assert (weights_of["teacher"], weights_of["teacher_start"]) == ("halves.onnx", "file")
    assert weights_of["sha256"] == sha256_file(path)
