"""A student of another package, installed as pip would: found by its entry point, trained, and counted in the cache."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_images

from edgekd import _keras, pipeline, recipe
from edgekd.cache import Cache, plugin_digest
from edgekd.errors import ModelError
from edgekd.losses import LOSSES
from edgekd.models import STUDENTS, build_student

NETS = """
import tf_keras


def tiny(image_size, num_classes, width_multiplier, head="logits", classes=None):
    layers = tf_keras.layers
    pixels = tf_keras.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 255, name="scale")(pixels)
    x = layers.Conv2D(round(16 * width_multiplier), 3, strides=4, use_bias=False, name="conv")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(x)))
    return tf_keras.Model(pixels, layers.Dense(classes or num_classes, name=head)(x), name="tiny")


def nameless(image_size, num_classes, width_multiplier):
    return tiny(image_size, num_classes, width_multiplier, head="dense")


def binary(image_size, num_classes, width_multiplier):
    return tiny(image_size, num_classes, width_multiplier, classes=1)


def no_model(image_size, num_classes, width_multiplier):
    return {}
"""

POINTS = """[edgekd.students]
tiny_net = foreign_nets:tiny
nameless_net = foreign_nets:nameless
binary_net = foreign_nets:binary
no_net = foreign_nets:no_model
lost_net = foreign_nets:lost
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with the distribution ``foreign-nets`` in it."""
    folder = tmp_path / "site"
    info = folder / "foreign_nets-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-nets\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (folder / "foreign_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "foreign_nets", raising=False)
    importlib.invalidate_caches()
    _keras.reset(0)
    return folder


@pytest.mark.usefixtures("site")
def test_a_student_is_found_and_built_as_one_of_ours() -> None:
    assert "tiny_net" in STUDENTS.names()
    model = build_student("tiny_net", image_size=32, num_classes=3, width_multiplier=0.5)
    assert model.get_layer("conv").kernel.shape == (3, 3, 3, 8)
    assert model.get_layer("bn").momentum == 0.9
    with pytest.raises(ModelError, match=r'unknown student "tiny_nets"; did you mean "tiny_net"\?'):
        build_student("tiny_nets", image_size=32, num_classes=3, width_multiplier=0.5)


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nameless_net", r'ends in the layer "dense"; wanted: .* by a last layer "logits"'),
        ("binary_net", r"goes from \(None, 32, 32, 3\) to \(None, 1\) .* to logits \(None, 3\)"),
        ("no_net", r'student "no_net" is a builtins\.dict; wanted: tf_keras\.Model'),
        (
            "lost_net",
            r'student "lost_net" comes from foreign-nets \(foreign_nets:lost\), which cannot be loaded: .*lost',
        ),
    ],
)
def test_what_is_no_student_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_student(name, image_size=32, num_classes=3, width_multiplier=1)


@pytest.mark.usefixtures("site")
def test_a_file_of_its_backbone_starts_it(tmp_path: Path) -> None:
    trained = build_student("tiny_net", image_size=32, num_classes=5, width_multiplier=1)
    _keras.tf_keras.Model(trained.input, trained.get_layer("pool").output).save_weights(tmp_path / "tiny.h5")
    _keras.reset(1)
    started = build_student(
        "tiny_net", image_size=32, num_classes=3, width_multiplier=1, weights=str(tmp_path / "tiny.h5")
    )
    np.testing.assert_array_equal(started.get_layer("conv").kernel, trained.get_layer("conv").kernel)


def images(tmp_path: Path) -> Path:
    arrays: dict[str, np.ndarray] = {}
    for seed, (split, count) in enumerate({"train": 48, "val": 16, "test": 20}.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make_images(count, seed)
    np.savez(tmp_path / "halves.npz", **arrays)
    return tmp_path / "halves.npz"


def test_its_code_counts_in_the_cache(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_keras, "set_determinism", lambda num_threads: None)
    made = recipe.load(
        "default",
        {
            **{"data.path": str(images(tmp_path)), "data.image_size": 32, "distill.student": "tiny_net"},
            **{"distill.hard_loss_weight": 1.0, "distill.loss": {}, "distill.training.epochs": 1},
            **{"teacher.training.epochs": 1, "distill.mode": "self"},
        },
    )
    cache = Cache(tmp_path / "cache")
    pipeline.artifacts(made, cache=cache, until="distill")
    assert pipeline.plan(made, cache=cache, until="distill").stages[-1] == ("distill", True)
    (site / "foreign_nets.py").write_text(NETS.replace("strides=4", "strides=2"))
    plan = dict(pipeline.plan(made, cache=cache, until="distill").stages)
    assert (plan["data"], plan["student_alone"]) == (True, None)


def test_our_own_functions_are_no_plugins() -> None:
    assert plugin_digest(STUDENTS["ds_cnn"]) is None
    assert plugin_digest(LOSSES["kd"]) is None


def test_the_command_line_finds_it_too(site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekd", "build", "--data", str(images(tmp_path)), "--dry-run", "--no-measure"]
    command += ["--cache-dir", str(tmp_path / "cache"), "--set", "data.image_size=32", "--set"]
    path = os.pathsep.join([str(site), str(Path(recipe.__file__).parents[1])])
    environment, outcomes = {**os.environ, "PYTHONPATH": path}, {}
    for name in ("tiny_net", "lost_net"):
        arguments = [*command, f"distill.student={name}"]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False, env=environment)
        outcomes[name] = (done.returncode, done.stderr)
    assert outcomes["tiny_net"][0] == 0, outcomes["tiny_net"][1]
    assert outcomes["lost_net"][0] == 2
    assert "which cannot be loaded" in outcomes["lost_net"][1]
    assert "Traceback" not in outcomes["lost_net"][1]
