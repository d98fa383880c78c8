"""Weights that share few values: in the stripped student, in the file, and in the bytes after compression."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_prune_channels import SMALL, KillAt, Killed
from test_qat import LESSON, ON_LABELS, tiny_student

from edgekd import _keras, kernels, pipeline, recipe, tflite
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.config.prune import Prune
from edgekd.errors import RecipeError
from edgekd.progress import Progress
from edgekd.stages.cluster_weights import cluster_weights
from edgekd.tflite import cost

CLUSTER = Prune(method="cluster", num_clusters=8, training=LESSON)


@pytest.fixture
def run(tmp_path: Path, tiny_data: Artifact) -> Callable[..., Artifact]:
    """Cluster the tiny student on its labels; ``name`` tells the folders of several runs apart."""

    def cluster(name: str = "run", progress: Progress | None = None, **changes: Any) -> Artifact:
        folder, out = tmp_path / "student", tmp_path / f"{name}_out"
        _keras.save_model(tiny_student(), folder / "model")
        out.mkdir(exist_ok=True)
        options = {"distillation": ON_LABELS, "seed": 3, "work": tmp_path / name, "progress": progress or Progress()}
        return cluster_weights(
            tiny_data, None, Artifact.seal(folder, {}), dataclasses.replace(CLUSTER, **changes), out, **options
        )

    return cluster


def test_a_kernel_has_as_many_values_as_asked_for(run: Callable[..., Artifact]) -> None:
    made = run()
    before, after = tiny_student(), _keras.load_model(made.path / "model")
    assert [type(layer) for layer in after.layers] == [type(layer) for layer in before.layers]
    counts = {name: len(np.unique(after.get_layer(name).kernel.numpy())) for name in ("conv0", "conv1", "logits")}
    assert made.facts["distinct_values"] == counts
    assert counts["conv0"] == counts["conv1"] == 8
    assert counts["logits"] <= 8 < before.get_layer("logits").kernel.shape.num_elements()
    # It has been trained on, statistics included, and is not just rounded.
    assert not np.array_equal(after.get_layer("bn0").gamma, before.get_layer("bn0").gamma)
    assert not np.array_equal(after.get_layer("bn0").moving_mean, before.get_layer("bn0").moving_mean)
    assert [row["epoch"] for row in made.facts["history"]] == [0, 1]


def test_a_protected_layer_keeps_its_values_free(run: Callable[..., Artifact]) -> None:
    made = run(protected_layers=("conv0",))
    trained = _keras.load_model(made.path / "model")
    assert len(np.unique(trained.get_layer("conv0").kernel.numpy())) > 400
    assert made.facts["distinct_values"].keys() == {"conv1", "logits"}
    with pytest.raises(RecipeError, match='protected layer "cnv0" is not in the model; did you mean "conv0"'):
        run("wrong", protected_layers=("cnv0",))


def test_what_it_brought_is_said_in_bytes(run: Callable[..., Artifact]) -> None:
    facts = run().facts
    before, after = facts["int8"]["before"], facts["int8"]["after"]
    assert after["gzip_bytes"] < before["gzip_bytes"]
    # Names of tensors may differ in length, and nothing else.
    assert after["tflite_bytes"] == pytest.approx(before["tflite_bytes"], abs=256)
    packed, raw = (after[name] / before[name] for name in ("gzip_bytes", "tflite_bytes"))
    assert f"the INT8 file after gzip has {packed:.0%} of its bytes; raw it has {raw:.0%}" in facts["summary"]


def test_killed_and_resumed_ends_as_unbroken(run: Callable[..., Artifact]) -> None:
    with pytest.raises(Killed):
        run("broken", progress=KillAt(4))
    assert run("broken").digest == run("whole").digest


def test_kernels_by_name() -> None:
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((8, 8, 3), name="pixels")
    x = layers.DepthwiseConv2D(3, name="depthwise")(layers.Conv2D(4, 1, name="conv")(pixels))
    model = _keras.tf_keras.Model(pixels, layers.Dense(2, name="dense")(layers.Flatten(name="flat")(x)))
    assert list(kernels.prunable(model)) == ["conv", "dense"]
    # 12 and 288 weights, of which 3 and 69 + 78 = 147 become 0 in what follows: half of 300 and no depthwise one.
    conv, dense = (model.get_layer(name).kernel for name in ("conv", "dense"))
    conv.assign(np.float32(np.arange(12) // 3).reshape(conv.shape))
    dense.assign(np.where(np.arange(288) < 147, 0, 1).reshape(dense.shape))
    assert kernels.sparsity(model) == 0.5
    assert kernels.distinct_values(model, ["conv", "dense"]) == {"conv": 4, "dense": 2}


def test_the_values_of_a_channel_are_as_few_in_the_file_before_and_after_training_as_int8(
    make_npz: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    settings: dict[str, Any] = {
        **{**SMALL, "data.name": "", "data.path": str(make_npz())},
        **{"prune.method": "cluster", "prune.num_clusters": 4},
        **{"quantize.training.epochs": 1, "quantize.training.batch_size": 8},
    }
    for method in ("ptq", "qat"):
        loaded = recipe.load("quickstart", {**settings, "quantize.method": method})
        made = pipeline.artifacts(loaded, cache=Cache(tmp_path / "cache"), until="quantize")[0]
        (row,) = made["quantize"].facts["models"]
        assert row["steps"] == ["distilled", "clustered", method]
        view = tflite.open_view(made["quantize"].path / row["file"])
        channels = [channel for _, kernel in cost.weights(view) for channel in kernel.values.reshape(kernel.shape)]
        # Each channel has a scale of its own, and so its own few whole numbers.
        assert channels
        assert max(len(np.unique(channel)) for channel in channels) <= 4
