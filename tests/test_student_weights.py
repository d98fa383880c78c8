"""Students that start from published weights or from a file: what they compute, and what is refused when."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_images

from edgekd import _keras, ablate, forms, pipeline, recipe, tflite
from edgekd._keras import tf_keras
from edgekd._litert import open_interpreter
from edgekd.cache import Cache
from edgekd.errors import ModelError
from edgekd.models import build_student

MOBILENET = "weights/mobilenet_1_0.25_224_imagenet_no_top.h5"
FAMILIES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small")
FIRST_NORM = {"mobilenet_v1": "conv1_bn", "mobilenet_v2": "bn_Conv1", "mobilenet_v3_small": "Conv/BatchNorm"}


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def student(name: str, weights: str, size: int = 32, width: float = 0.25) -> Any:
    return build_student(name, image_size=size, num_classes=3, width_multiplier=width, weights=weights)


def keras_network(name: str, size: int = 32, width: float = 0.25) -> Any:
    """The network of ``tf_keras.applications`` that a student is, without its top."""
    options = {"input_shape": (size, size, 3), "alpha": width, "include_top": False, "weights": None}
    if name == "mobilenet_v3_small":
        options |= {"minimalistic": True, "include_preprocessing": False}
    known = {"mobilenet_v1": "MobileNet", "mobilenet_v2": "MobileNetV2", "mobilenet_v3_small": "MobileNetV3Small"}
    return getattr(tf_keras.applications, known[name])(**options)


def pixels(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (4, size, size, 3)).astype(np.float32)


def at(model: Any, layer: str, images: np.ndarray) -> np.ndarray:
    return tf_keras.Model(model.input, model.get_layer(layer).output)(images, training=False).numpy()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each family with weights and statistics that are all different."""
    _keras.reset(7)
    draw, made = np.random.default_rng(7), {}
    for name in FAMILIES:
        network = keras_network(name)
        network.set_weights([draw.uniform(0.2, 1.0, part.shape).astype(np.float32) for part in network.get_weights()])
        made[name] = tmp_path_factory.mktemp("weights") / f"{name}.h5"
        network.save_weights(made[name])
    return made


def assert_same_but_for_the_padding(name: str, model: Any, reference: Any) -> None:
    """Away from the border the first layer computes what Keras's network computes from x / 127.5 - 1.

    At the border, where "same" pads the right and the bottom, the padding is grey 128 and not 127.5: off by 1 / 255
    times the kernel's weights there, times the scale of the normalisation.
    """
    norm = FIRST_NORM[name]
    found, expected = at(model, norm, pixels()), at(reference, norm, pixels() / 127.5 - 1)
    size = np.abs(expected).max()
    np.testing.assert_allclose(found[:, :-1, :-1], expected[:, :-1, :-1], atol=1e-5 * size)
    kernel = next(layer for layer in reference.layers if layer.weights).kernel.numpy()
    gamma, _, _, variance = reference.get_layer(norm).get_weights()
    factor = gamma / np.sqrt(variance + reference.get_layer(norm).epsilon) / 255
    right, bottom, corner = kernel[:, -1].sum((0, 1)), kernel[-1].sum((0, 1)), kernel[-1, -1].sum(0)
    off = found - expected
    np.testing.assert_allclose(
        off[:, :-1, -1], np.broadcast_to(factor * right, off[:, :-1, -1].shape), atol=1e-5 * size
    )
    np.testing.assert_allclose(
        off[:, -1, -1], np.broadcast_to(factor * (right + bottom - corner), off[:, -1, -1].shape), atol=1e-5 * size
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_of_keras_is_read_in_the_convention_of_keras(name: str, files: dict[str, Path]) -> None:
    reference = keras_network(name)
    reference.load_weights(files[name])
    _keras.reset(0)
    model = student(name, str(files[name]))
    _keras.reset(0)
    fresh = student(name, "none")
    assert_same_but_for_the_padding(name, model, reference)
    first = (next(layer for layer in reference.layers if layer.weights).name, FIRST_NORM[name])
    for layer in reference.layers:
        if layer.weights and layer.name not in first:
            for found, expected in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                np.testing.assert_array_equal(found, expected)
    assert [layer.name for layer in model.layers] == [layer.name for layer in fresh.layers]


def test_imagenet_mobilenet_of_a_quarter_width(shared_data: Path) -> None:
    """The embedding of an image lies within 0.5 % of that of Keras's network (0.1 to 0.3 % at 32 to 224 pixels)."""
    path = shared_data / MOBILENET
    model, reference = student("mobilenet_v1", str(path), 64), keras_network("mobilenet_v1", 64)
    reference.load_weights(path)
    images = np.load(shared_data / "pneumoniamnist.npz")["val_images"][:16].repeat(2, 1).repeat(2, 2)
    images = np.pad(images, ((0, 0), (4, 4), (4, 4)), mode="edge")[..., None].repeat(3, 3).astype(np.float32)
    found = at(model, "pool", images)
    expected = reference(images / 127.5 - 1, training=False).numpy().mean(axis=(1, 2))
    assert np.linalg.norm(found - expected) < 5e-3 * np.linalg.norm(expected)
    small = keras_network("mobilenet_v1")
    small.load_weights(path)
    assert_same_but_for_the_padding("mobilenet_v1", student("mobilenet_v1", str(path)), small)


def test_int8_still_sees_every_grey_level(files: dict[str, Path]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    model = student("mobilenet_v1", str(files["mobilenet_v1"]))
    interpreter = open_interpreter(tflite.convert(tflite.freeze(model), "int8", images))
    tensors = {row["index"]: row for row in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()[:3]
    assert [row["op_name"] for row in operators] == ["QUANTIZE", "ADD", "CONV_2D"]
    assert [tensors[row["outputs"][0]]["quantization"] for row in operators[:2]] == [(1.0, -128), (1.0, 0)]


@pytest.mark.parametrize("name", ["ds_cnn", "resnet8"])
def test_a_file_of_an_own_network_holds_all_but_its_last_layer(name: str, tmp_path: Path) -> None:
    trained = build_student(name, image_size=48, num_classes=5, width_multiplier=0.5)
    draw = np.random.default_rng(1)
    trained.set_weights([draw.normal(size=part.shape).astype(np.float32) for part in trained.get_weights()])
    path = tmp_path / "backbone.h5"
    tf_keras.Model(trained.input, trained.get_layer("pool").output).save_weights(path)
    model = student(name, str(path), width=0.5)
    for found, expected in zip(model.get_weights()[:-2], trained.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert model.get_layer("logits").get_weights()[0].shape[-1] == 3


@pytest.mark.parametrize(
    ("name", "width", "wanted"),
    [
        ("mobilenet_v1", 0.5, r"tf_keras\.applications\.MobileNet\(include_top=False, alpha=0\.5\) \("),
        ("mobilenet_v2", 0.25, r"tf_keras\.applications\.MobileNetV2\(include_top=False, alpha=0\.25\) \("),
        ("mobilenet_v3_small", 0.25, r"tf_keras\.applications\.MobileNetV3Small\(include_top=False, alpha=0\.25, mini"),
        ("ds_cnn", 0.5, r"ds_cnn of width 0\.5 without its last layer \("),
    ],
)
def test_a_file_of_another_network_or_width(name: str, width: float, wanted: str, files: dict[str, Path]) -> None:
    path = str(files["mobilenet_v1"])
    with pytest.raises(ModelError, match=f"the file must hold the weights of {wanted}") as caught:
        student(name, path, width=width)
    assert str(caught.value).startswith(f'distill.weights = "{path}": ')
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(
        ModelError, match=r'distill\.weights = "imagent": no such file; allowed: none, imagenet, or a pa'
    ):
        student("mobilenet_v2", "imagent")


@pytest.mark.parametrize(("name", "width"), [("mobilenet_v2", 0.4), ("ds_cnn", 1.0), ("mobilenet_v3_small", 0.75)])
def test_no_published_weights_is_an_error_that_names_those_there_are(name: str, width: float) -> None:
    """The widths of the tables in the Keras documentation."""
    with pytest.raises(ModelError) as caught:
        student(name, "imagenet", width=width)
    assert f"publishes none for {name} {width:g}; there are: mobilenet_v1 0.25, 0.5, 0.75, 1" in str(caught.value)
    assert "; mobilenet_v2 0.35, 0.5, 0.75, 1, 1.3, 1.4; mobilenet_v3_small 1. " in str(caught.value)


def test_published_weights_come_from_keras(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: dict[str, Path]
) -> None:
    make, asked = tf_keras.applications.MobileNet, []

    def download(**options: Any) -> Any:
        if options["weights"] == "imagenet":
            print("Downloading data from")
            asked.append(options["alpha"])
            options["weights"] = str(files["mobilenet_v1"])
        return make(**options)

    monkeypatch.setattr(tf_keras.applications, "MobileNet", download)
    model = student("mobilenet_v1", "imagenet")
    assert asked == [0.25]
    assert capsys.readouterr() == ("", "Downloading data from\n")  # results alone go to stdout
    from_file = student("mobilenet_v1", str(files["mobilenet_v1"]))
    np.testing.assert_array_equal(at(model, "pool", pixels()), at(from_file, "pool", pixels()))

    def offline(**options: Any) -> Any:
        if options["weights"] == "imagenet":
            raise OSError("URL fetch failure: no route to host\nmore of it")
        return make(**options)

    monkeypatch.setattr(tf_keras.applications, "MobileNet", offline)
    with pytest.raises(
        ModelError, match=r"the download failed; fetch the weights of .*MobileNet\(.* elsewhere"
    ) as caught:
        student("mobilenet_v1", "imagenet")
    assert str(caught.value).endswith("(URL fetch failure: no route to host)")


# In the chain


def halves(tmp_path: Path) -> Path:
    arrays: dict[str, np.ndarray] = {}
    for seed, (split, count) in enumerate({"train": 48, "val": 16, "test": 20}.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make_images(count, seed)
    np.savez(tmp_path / "halves.npz", **arrays)
    return tmp_path / "halves.npz"


@pytest.fixture
def any_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process computes already, so that the number of threads is given."""
    monkeypatch.setattr(_keras, "set_determinism", lambda num_threads: None)


def recipe_of(tmp_path: Path, weights: str, **changes: Any) -> recipe.Recipe:
    settings = {"data.path": str(halves(tmp_path)), "distill.student": "mobilenet_v1", "distill.width_multiplier": 0.25}
    return recipe.load("default", {**settings, "distill.weights": weights, "data.image_size": 32, **changes})


@pytest.mark.usefixtures("any_threads")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distill.weights": "imagenet", "distill.width_multiplier": 0.3}, "there are: mobilenet_v1 0.25"),
        ({"distill.weights": "lost.h5"}, "no such file"),
        ({"distill.width_multiplier": 0.5}, "the file must hold the weights of"),
    ],
)
def test_what_cannot_be_shows_before_anything_is_trained(
    changes: dict[str, Any], message: str, tmp_path: Path, files: dict[str, Path]
) -> None:
    made = recipe_of(tmp_path, str(files["mobilenet_v1"]), **changes)
    with pytest.raises(ModelError, match=message):
        pipeline.plan(made, cache=Cache(tmp_path / "cache"))


@pytest.mark.usefixtures("any_threads")
def test_weights_count_by_their_content(tmp_path: Path, files: dict[str, Path]) -> None:
    """A copy under another name is taken from the cache, another file is not."""
    cache = Cache(tmp_path / "cache")
    copy = tmp_path / "copy.h5"
    shutil.copyfile(files["mobilenet_v1"], copy)
    short = {"distill.training.epochs": 1, "distill.mode": "self", "teacher.training.epochs": 1, "distill.num_views": 1}
    first = recipe_of(tmp_path, str(files["mobilenet_v1"]), **short)
    _, records = pipeline.artifacts(first, cache=cache, until="distill")
    assert [record.cached for record in records] == [False] * 4
    again = recipe_of(tmp_path, str(copy), **short)
    stages = pipeline.plan(again, cache=cache, until="distill").stages
    assert stages == (("data", True), ("student_alone", True), ("teacher_logits", True), ("distill", True))
    network = keras_network("mobilenet_v1")
    network.save_weights(copy)
    stages = pipeline.plan(again, cache=cache, until="distill").stages
    assert stages == (("data", True), ("student_alone", None), ("teacher_logits", None), ("distill", None))


def test_the_student_alone_starts_from_the_same_weights(tmp_path: Path, files: dict[str, Path]) -> None:
    path = str(files["mobilenet_v1"])
    made = recipe_of(tmp_path, path)
    assert forms.alone(made.distill).weights == path
    assert ablate.variant(made, ablate.BASELINE, 1).distill.weights == path
