"""Networks of ``tf_keras.applications`` as teachers, ensembles of teachers, and a head that learns first."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import _keras, ablate, ensemble, pipeline, recipe, tflite
from edgekd._keras import tf, tf_keras
from edgekd._litert import predict_probs
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.config.teacher import Teacher
from edgekd.config.training import Training
from edgekd.errors import ModelError, RecipeError
from edgekd.models import APPLICATIONS, build_ensemble, build_teacher, check_teacher
from edgekd.models.applications import _SCALINGS
from edgekd.models.graft import graft
from edgekd.progress import Progress
from edgekd.stages.teacher import teacher as teacher_stage

PIXELS = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def build(name: str = "resnet_small", **options: Any) -> Any:
    return build_teacher(name, **{"image_size": 32, "num_classes": 3, "weights": "none", **options})


def arrive(model: Any, images: np.ndarray) -> None:
    """Let the moving averages be the statistics of the images, so that a fresh network's answers vary."""
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


# Keras's networks


@pytest.mark.parametrize("name", APPLICATIONS)
def test_pixels_are_scaled_as_keras_does_for_each_network(name: str) -> None:
    application = APPLICATIONS[name]
    module = sys.modules[getattr(tf_keras.applications, application.constructor).__module__]
    inputs = tf_keras.Input((32, 32, 3))
    found = tf_keras.Model(inputs, _SCALINGS[application.scaling](inputs))(PIXELS).numpy()
    np.testing.assert_allclose(found, module.preprocess_input(PIXELS.copy()), rtol=1e-5, atol=1e-4)


def test_mobilenet_with_imagenet_weights_sees_the_view_resized(shared_data: Path) -> None:
    """At 64 of 32 pixels: Keras's own network on Keras's own preprocessing of the view that TensorFlow resized."""
    weights = str(shared_data / "weights" / "mobilenet_1_0.25_224_imagenet_no_top.h5")
    model = build("mobilenet", weights=weights, width_multiplier=0.25, seen_size=64)
    assert model.input_shape == (None, 32, 32, 3)
    backbone = tf_keras.applications.MobileNet(
        alpha=0.25, include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg"
    )
    backbone.load_weights(weights)
    seen = tf_keras.applications.mobilenet.preprocess_input(tf.image.resize(PIXELS, (64, 64)).numpy())
    expected = model.get_layer("logits")(backbone(seen, training=False)).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(model(PIXELS, training=False), expected, atol=1e-4)


def test_a_width_that_the_file_does_not_have(shared_data: Path) -> None:
    weights = str(shared_data / "weights" / "mobilenet_1_0.25_224_imagenet_no_top.h5")
    with pytest.raises(ModelError, match=r"MobileNet\(include_top=False\) of teacher\.width_multiplier \("):
        build("mobilenet", weights=weights, width_multiplier=0.5)


def test_functions_within_mobilenet_v3_become_layers(tmp_path: Path) -> None:
    """Its hard sigmoid is written as ``relu6(x + 3) * (1 / 6)``, which Keras keeps as calls of functions by name."""
    backbone = tf_keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(32, 32, 3), include_preprocessing=False
    )
    assert any(type(layer).__name__ == "TFOpLambda" for layer in backbone.layers)
    arrive(backbone, PIXELS / 128 - 1)
    inputs = tf_keras.Input((32, 32, 3))
    grafted = tf_keras.Model(inputs, graft(backbone, inputs))
    _keras.save_model(grafted, tmp_path)
    expected = backbone(PIXELS / 128 - 1, training=False).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(_keras.load_model(tmp_path)(PIXELS / 128 - 1, training=False), expected, atol=1e-4)


def test_another_function_is_refused() -> None:
    inputs = tf_keras.Input((32, 32, 3))
    model = tf_keras.Model(inputs, tf.math.exp(inputs))
    with pytest.raises(ModelError, match=r"calls the function math\.exp; use built-in Keras layers"):
        graft(model, inputs)


def test_efficientnet_standardizes_by_imagenet(tmp_path: Path) -> None:
    """Keras's file holds no variance but its root, and Keras mends that for its own download alone: we state it."""
    backbone = tf_keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    backbone.save_weights(tmp_path / "b0.h5")
    _keras.save_model(build("efficientnet_b0", weights=str(tmp_path / "b0.h5")), tmp_path / "model")

    def stem(model: Any, pixels: np.ndarray) -> np.ndarray:
        return tf_keras.Model(model.input, model.get_layer("stem_activation").output)(pixels, training=False).numpy()

    # Fresh from Keras its own Normalization does nothing, so that its stem sees the input over 255.
    standard = (PIXELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = stem(backbone, np.float32(255 * standard))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(stem(_keras.load_model(tmp_path / "model"), PIXELS), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "mobilnet"}, r'unknown teacher "mobilnet"; did you mean "mobilenet"\?'),
        (
            {"model": "resnet50", "width_multiplier": 0.5},
            r"a\.width_multiplier = 0\.5: resnet50 has one width; allowed: 1",
        ),
        (
            {"model": "mobilenet", "weights": "imagenet", "width_multiplier": 0.3},
            r"ImageNet weights of mobilenet exist for 0\.25, 0\.5, 0\.75, 1$",
        ),
        ({"model": "mobilenet", "weights": "no.h5"}, r'a\.weights = "no\.h5": no such file; allowed: none, imagenet'),
        ({"model": "resnet_small", "weights": "imagenet"}, r"resnet_small has none to load"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_built(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ModelError, RecipeError), match=message):
        check_teacher(Teacher(**changes), "a")


def test_too_small_for_a_network_is_refused_before_anything_is_trained(make_npz: Any, tmp_path: Path) -> None:
    table = {"data.path": str(make_npz()), "data.image_size": 32, "teacher.model": "inception_v3"}
    with pytest.raises(RecipeError, match=r"at least 75 pixels, not 32; set teacher\.image_size = 75"):
        pipeline.plan(recipe.load("default", table), cache=Cache(tmp_path))


def test_width_of_resnet_small() -> None:
    assert build(width_multiplier=0.5).get_layer("stage2_block0_1_conv").output.shape[-1] == 64


# Ensembles


def test_an_ensemble_gives_the_mean_of_the_logits(tmp_path: Path) -> None:
    members = {"wide": build(), "narrow": build(width_multiplier=0.5, seen_size=48)}
    for model in members.values():
        model(PIXELS, training=True)
    together = build_ensemble(members)
    expected = np.mean([model(PIXELS, training=False).numpy() for model in members.values()], axis=0)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(together(PIXELS, training=False), expected, atol=1e-5)
    assert not any(isinstance(layer, tf_keras.Model) for layer in together.layers)  # flat: its features can be had
    assert {"wide_stage0_block0_add", "narrow_stage0_block0_add"} <= {layer.name for layer in together.layers}
    _keras.save_model(together, tmp_path)
    np.testing.assert_allclose(_keras.load_model(tmp_path)(PIXELS, training=False), expected, atol=1e-5)
    images = PIXELS.astype(np.uint8)
    logits = together(np.float32(images), training=False).numpy()
    probs = predict_probs(tflite.convert(tflite.freeze(together), "fp32"), images)
    np.testing.assert_allclose(probs, tf.nn.softmax(logits), atol=1e-5)


MEMBERS = {"a": {"model": "mobilenet", "copies": 2}, "b": {"model": "resnet_small", "seed": 9}}


def ensemble_of(members: dict[str, Any], **changes: Any) -> Teacher:
    table = {"data": {"path": "x.npz"}, "name": "x"}
    return recipe.from_table({**table, "teacher": {"model": "ensemble", "members": members, **changes}}).teacher


def test_networks_and_their_seeds() -> None:
    found = ensemble.networks(ensemble_of(MEMBERS), 3)
    assert {name: (config.model, config.seed) for name, config in found.items()} == {
        "a_1": ("mobilenet", 3),
        "a_2": ("mobilenet", 4),
        "b": ("resnet_small", 9),
    }
    assert {config.copies for config in found.values()} == {1}
    assert ensemble.networks(ensemble_of(MEMBERS, seed=5), 3)["a_1"].seed == 5
    assert ensemble.networks(Teacher(), 3) == {"": Teacher(seed=3)}
    assert list(ensemble.networks(Teacher(copies=2), 3)) == ["resnet_small_1", "resnet_small_2"]


def test_a_teacher_in_words() -> None:
    assert ensemble.title(ensemble_of(MEMBERS)) == "ensemble of 2 x mobilenet, resnet_small"
    assert ensemble.title(Teacher()) == "resnet_small"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "teacher.members: 0 for an ensemble, at least 2"),
        ({"a": {}}, "teacher.members: 1 for an ensemble, at least 2"),
        ({"a": {}, "b": {}}, r"teacher\.members\.b: b is the same as a; give one another name, or a seed of its own"),
        ({"a": {"copies": 2}, "a_1": {"seed": 7}}, "there are two of the name a_1"),
        ({"a b": {}, "c": {}}, r'teacher\.members\."a b": a letter, and then'),
        ({"a": {"model": "ensemble"}, "c": {}}, r"teacher\.members\.a: an ensemble within an ensemble"),
    ],
)
def test_ensembles_that_are_none(members: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        ensemble.networks(ensemble_of(members), 0)


def test_members_without_an_ensemble() -> None:
    with pytest.raises(RecipeError, match=r'teacher\.members: "mobilenet" has none; set teacher\.model = "ensemble"'):
        ensemble.networks(ensemble_of({"a": {}}, model="mobilenet"), 0)


def test_a_member_takes_from_the_ensemble_what_it_leaves_out() -> None:
    member = {"model": "mobilenet", "training": {"epochs": 7}}
    teacher = ensemble_of(
        {"a": member, "b": {}},
        image_size=64,
        training={"epochs": 5, "learning_rate": 0.01},
        views={"horizontal_flip": True},
    )
    a, b = teacher.members["a"], teacher.members["b"]
    assert (a.model, a.image_size, a.training.epochs, a.training.learning_rate) == ("mobilenet", 64, 7, 0.01)
    assert (b.model, b.training.epochs, b.views.horizontal_flip) == ("resnet_small", 5, True)


def test_a_recipe_with_members_is_read_back_as_it_was(tmp_path: Path) -> None:
    table = {"data": {"path": "x.npz"}, "name": "x", "teacher": {"model": "ensemble", "members": MEMBERS}}
    sized = recipe.sized_to(recipe.from_table(table), num_train=100, median_side=32, num_threads=1)
    assert {member.training.epochs for member in sized.teacher.members.values()} == {100}
    (tmp_path / "x.toml").write_text(recipe.to_toml(sized))
    assert recipe.load(str(tmp_path / "x.toml")) == sized


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a": {"modle": "x"}}, r'unknown key "teacher\.members\."a"\.modle"; did you mean "model"\?'),
        ({"a": "mobilenet"}, r'"teacher\.members\."a"" is a table of keys'),
        (["mobilenet"], r"teacher\.members = \['mobilenet'\]: a table of names and tables is wanted"),
    ],
)
def test_members_that_cannot_be_read(members: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        ensemble_of(members)


def test_all_cells_of_an_ablation_share_an_ensemble() -> None:
    table = {"data": {"path": "x.npz"}, "name": "x", "seed": 7, "teacher": {"model": "ensemble", "members": MEMBERS}}
    whole = recipe.from_table(table)
    cells = [ablate.variant(whole, "kd", seed) for seed in (1, 2)]
    assert [ensemble.networks(cell.teacher, cell.seed) for cell in cells] == 2 * [ensemble.networks(whole.teacher, 7)]


def test_each_member_is_cached_alone(make_npz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member changed is a member trained again; the others, and one under another name, are there already."""
    monkeypatch.setattr(_keras, "set_determinism", lambda num_threads: None)  # other tests have computed before
    overrides = {
        "data.path": str(make_npz()),
        "data.image_size": 16,
        "data.num_calibration_samples": 4,
        "num_threads": 1,
        "teacher.model": "ensemble",
        "teacher.training": {"epochs": 1, "batch_size": 8},
        "teacher.members": {"a": {"width_multiplier": 0.5}, "b": {"seed": 5}},
    }
    cache = Cache(tmp_path / "cache")

    def run(**members: Any) -> tuple[dict[str, Artifact], dict[str, bool]]:
        changed = recipe.load("default", {**overrides, **({"teacher.members": members} if members else {})})
        artifacts, records = pipeline.artifacts(changed, cache=cache, until="teacher")
        return artifacts, {record.name: record.cached for record in records}

    artifacts, cached = run()
    assert cached == {"data": False, "teacher.a": False, "teacher.b": False, "teacher": False}
    assert artifacts["teacher"].facts["members"] == {
        name: artifacts[f"teacher.{name}"].facts["val"] for name in ("a", "b")
    }
    assert [entry["id"] for entry in artifacts["teacher"].facts["models"]] == ["teacher_fp32"]
    _, cached = run(other={"width_multiplier": 0.5}, b={"seed": 6})
    assert cached == {"data": True, "teacher.other": True, "teacher.b": False, "teacher": False}
    stages = pipeline.plan(recipe.load("default", overrides), cache=cache, until="teacher").stages
    assert stages == (("data", True), ("teacher.a", True), ("teacher.b", True), ("teacher", True))


# A frozen backbone


def test_the_head_alone_learns_first(tiny_data: Artifact, tmp_path: Path) -> None:
    """With no epochs after the frozen ones, all but the head is as it was built, moving averages included."""
    config = Teacher(frozen_epochs=1, training=Training(epochs=0, batch_size=8), width_multiplier=0.5)
    (tmp_path / "out").mkdir()
    made = teacher_stage(tiny_data, config, tmp_path / "out", seed=4, work=tmp_path, progress=Progress())
    assert [row["epoch"] for row in made.facts["history"]] == [0]
    trained = _keras.load_model(made.path / "model")
    _keras.reset(4)
    fresh = build(image_size=16, num_classes=2, width_multiplier=0.5)
    for one, other in zip(trained.layers, fresh.layers, strict=True):
        same = all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
        assert same == (one.name != "logits"), one.name


def test_then_everything_learns(tiny_data: Artifact, tmp_path: Path) -> None:
    config = Teacher(frozen_epochs=1, training=Training(epochs=2, batch_size=8), width_multiplier=0.5)
    (tmp_path / "out").mkdir()
    made = teacher_stage(tiny_data, config, tmp_path / "out", seed=4, work=tmp_path, progress=Progress())
    assert [row["epoch"] for row in made.facts["history"]] == [0, 0, 1]
    best = max(row["val_auc"] for row in made.facts["history"])
    assert made.facts["val"]["auc"] == pytest.approx(best)  # the best of both phases is kept
    without = dataclasses.replace(config, frozen_epochs=0)
    (tmp_path / "plain").mkdir()
    plain = teacher_stage(tiny_data, without, tmp_path / "plain", seed=4, work=tmp_path / "p", progress=Progress())
    assert len(plain.facts["history"]) == 2
