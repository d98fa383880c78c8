"""The stage that sets weights to zero: schedules, patterns and layers, measured in the Keras model and in the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import _keras, lesson, sparsity_choice, tflite
from edgekd import zeros as zeros_of
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.prune import Prune
from edgekd.config.quantize import Quantize
from edgekd.config.training import Training, Views
from edgekd.data import Dataset
from edgekd.errors import RecipeError, TrainingError
from edgekd.progress import Progress
from edgekd.stages.prune_weights import check, prune_weights
from edgekd.stages.quantize import quantize
from edgekd.tflite import cost

PRUNE = Prune(
    method="weight",
    final_sparsity=0.75,
    frequency=1,
    training=Training(epochs=2, batch_size=16, learning_rate=0.02, warmup_epochs=0.0),
)
ON_LABELS = Distill(hard_loss_weight=1.0, views=Views(max_shift=0.1))


def tiny_student() -> Any:
    """Kernels (3, 3, 3, 16), depthwise (3, 3, 16, 1), (1, 1, 16, 24) and (24, 2): all of other shapes."""
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(momentum=0.9, name="stem_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(name="pointwise_relu")(layers.Conv2D(24, 1, name="pointwise")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x), name="tiny")


Run = Callable[..., Artifact]


@pytest.fixture
def run(tmp_path: Path, tiny_data: Artifact) -> Run:
    def prune(**changes: Any) -> Artifact:
        _keras.save_model(tiny_student(), tmp_path / "student" / "model")
        student = Artifact.seal(tmp_path / "student", {})
        (tmp_path / "out").mkdir()
        more = {"distillation": ON_LABELS, "seed": 0, "work": tmp_path / "work", "progress": Progress()}
        return prune_weights(tiny_data, None, student, dataclasses.replace(PRUNE, **changes), tmp_path / "out", **more)

    return prune


@pytest.fixture
def int8_kernels(tmp_path: Path, tiny_data: Artifact) -> Callable[[Artifact], dict[str, Any]]:
    """Weights as they lie in the shipped file, ``(out, h, w, in)`` or ``(out, in)``, by the layer that they are of."""

    def kernels(pruned: Artifact) -> dict[str, Any]:
        folder = tmp_path / "quantized"
        folder.mkdir()
        made = quantize(
            tiny_data,
            pruned,
            Quantize(variants=("int8",)),
            folder,
            seed=0,
            steps=["distilled", "pruned"],
            description="d",
        )
        (entry,) = made.facts["models"]
        view = tflite.open_view(made.path / entry["file"])
        by_shape = {tensor.shape: tensor.values.reshape(tensor.shape) for _, tensor in cost.weights(view)}
        shapes = {"stem": (16, 3, 3, 3), "depthwise": (1, 3, 3, 16), "pointwise": (24, 1, 1, 16), "logits": (2, 24)}
        return {name: by_shape[shape] for name, shape in shapes.items()}

    return kernels


def zeros(kernel: Any) -> float:
    return float(np.mean(kernel == 0))


def test_zeros_are_in_the_file_layer_by_layer(run: Run, int8_kernels: Callable[[Artifact], dict[str, Any]]) -> None:
    made = run(layer_sparsities={"stem": 0.0, "logits": 0.25})
    assert {name: layer["target"] for name, layer in made.facts["layers"].items()} == {
        "stem": 0.0,
        "pointwise": 0.75,
        "logits": 0.25,
    }
    kernels = int8_kernels(made)
    # 288 of 384 and 12 of 48; rounding to INT8 makes a few more.
    assert 288 <= np.sum(kernels["pointwise"] == 0) <= 292
    assert 12 <= np.sum(kernels["logits"] == 0) <= 14
    assert max(zeros(kernels["stem"]), zeros(kernels["depthwise"])) < 0.05
    assert made.facts["layers"]["pointwise"]["measured"] == 0.75
    assert made.facts["measured_sparsity"] == (288 + 12) / (432 + 384 + 48)


def test_two_of_four_are_zero_in_the_file(run: Run, int8_kernels: Callable[[Artifact], dict[str, Any]]) -> None:
    """Along the input channels, the last axis of the file; the stem has three of these and stays dense."""
    made = run(pattern="2:4", final_sparsity=0.5)
    kernels = int8_kernels(made)
    for name in ("pointwise", "logits"):
        groups = kernels[name].reshape(-1, 4)
        assert np.all(np.sum(groups == 0, axis=1) >= 2), name
        assert zeros(kernels[name]) < 0.55
    assert zeros(kernels["stem"]) < 0.05
    assert made.facts["layers"] == {
        "stem": {"target": 0.0, "measured": 0.0},
        "pointwise": {"target": 0.5, "measured": 0.5},
        "logits": {"target": 0.5, "measured": 0.5},
    }


@pytest.mark.parametrize(
    ("changes", "after_first"),
    [
        ({"schedule": "constant"}, 0.75),
        # 0.75 * (1 - (1 - 1 / 10) ** 3) = 0.203
        ({"schedule": "polynomial"}, 0.203),
        # 0.25 + 0.5 * 0.271: from the initial sparsity on
        ({"schedule": "polynomial", "initial_sparsity": 0.25}, 0.3855),
        ({"pattern": "2:4", "final_sparsity": 0.5}, 0.5),
    ],
)
def test_sparsity_after_the_first_of_ten_steps(
    changes: dict[str, Any], after_first: float, tiny_data: Artifact
) -> None:
    from edgekd.stages.prune_weights import _pruning_hooks

    config = dataclasses.replace(PRUNE, **changes)
    model = tiny_student()
    model = zeros_of.wrap(model, sparsity_choice.layer_sparsities(model, config), config, end_step=10)
    hooks = _pruning_hooks(model)
    hooks.on_start(None)
    step = _keras.tf.function(lambda pixels: model(pixels, training=True))
    step(np.float32(Dataset.open(tiny_data).train.images[:4]))
    hooks.before_evaluation()
    stripped = _keras.tfmot().sparsity.keras.strip_pruning(model)
    assert zeros_of.measured(stripped, ["pointwise"])["pointwise"] == pytest.approx(after_first, abs=0.5 / 384 + 1e-6)


def test_with_a_constant_schedule_every_epoch_may_be_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    fit = lesson.fit
    monkeypatch.setattr(
        lesson, "fit", lambda *args, **more: kept.append(more["first_epoch_kept"]) or fit(*args, **more)
    )
    made = run(schedule="constant")
    assert kept == [0]
    assert made.facts["layers"]["stem"]["measured"] == 0.75


def test_no_zeros_asked_for_is_training_on(run: Run) -> None:
    made = run(final_sparsity=0.0)
    assert made.facts["measured_sparsity"] == 0.0
    assert len(made.facts["history"]) == 2


def test_masks_that_are_updated_too_rarely_are_told(run: Run) -> None:
    """Six steps, of which 0.6 are four: with updates every three the last is at step 3 of 4."""
    with pytest.raises(TrainingError, match=r'layer "\w+", where 0\.75 was asked for; raise prune\.training'):
        run(frequency=3, initial_sparsity=0.0)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"layer_sparsities": {"pointwize": 0.5}},
            RecipeError,
            r'prune\.layer_sparsities\."pointwize": no such layer; did you mean "pointwise"\?',
        ),
        (
            {"layer_sparsities": {"depthwise": 0.5}},
            RecipeError,
            r'prune\.layer_sparsities\."depthwise": a DepthwiseConv2D is not pruned',
        ),
        (
            {"layer_sparsities": {"stem": 0.5}, "pattern": "2:4", "final_sparsity": 0.5},
            RecipeError,
            r'"stem": prune\.pattern = "2:4" wants a multiple of 4 input channels, and the layer has 3',
        ),
        (
            {"layer_sparsities": {"stem": 0.5}, "protected_layers": ("stem",)},
            RecipeError,
            r'"stem": stands in prune\.protected_layers too',
        ),
    ],
)
def test_what_cannot_be_is_said_of_the_untrained_student(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check(tiny_student(), dataclasses.replace(PRUNE, **changes))
    check(tiny_student(), PRUNE)


def test_a_student_without_weights_to_prune_is_refused() -> None:
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3))
    model = _keras.tf_keras.Model(pixels, layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3)(pixels)))
    with pytest.raises(RecipeError, match="no convolution or dense layer is left to prune"):
        check(model, PRUNE)


def test_a_student_too_small_for_a_dynamic_file_goes_without(tmp_path: Path, tiny_data: Artifact) -> None:
    """Its largest kernel has 3 * 3 * 3 * 16 = 432 weights, and the converter leaves those below 1,024 in float."""
    _keras.save_model(tiny_student(), tmp_path / "student" / "model")
    student, out = Artifact.seal(tmp_path / "student", {}), tmp_path / "out"
    out.mkdir()
    config = Quantize(variants=("fp32", "dynamic", "int8"))
    made = quantize(tiny_data, student, config, out, seed=0, steps=["distilled"], description="d")
    assert [row["id"] for row in made.facts["models"]] == ["student_fp32", "student_int8"]
    assert made.facts["left_out"]["variants"] == ["dynamic"]
    assert made.facts["summary"].startswith("left out: dynamic: no layer has the 1,024 weights")
