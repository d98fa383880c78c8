"""Zeros for each layer: shared out by hand, within a weight of the target; which layers get any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_prune_channels import ON_LABELS, PRUNE, tiny_student

from edgekd import _keras, recipe
from edgekd.artifact import Artifact
from edgekd.config.prune import Prune
from edgekd.curves import Curve
from edgekd.errors import RecipeError
from edgekd.progress import Progress
from edgekd.sparsity_choice import layer_sparsities, prunable, shared_out
from edgekd.stages.prune_weights import check, prune_weights


def curve(name: str, size: int, *values: tuple[int, float]) -> Curve:
    points = ({"removed": zeros, "fraction": zeros / size, "loss": loss, "auc": 1.0} for zeros, loss in values)
    return Curve(name, size, tuple(points))


def test_what_costs_nothing_goes_first() -> None:
    """Half of 400 is 200: all 90 that were tried of ``a``, and 110 of ``b``, which costs the same at every weight."""
    flat = curve("a", 100, (0, 0.5), (50, 0.5), (90, 0.5))
    steep = curve("b", 300, (0, 0.5), (150, 1.5), (270, 2.3))
    assert shared_out([flat, steep], 0.5) == {"a": 90 / 100, "b": 110 / 300}
    assert shared_out([flat, steep], 0.2) == {"a": 80 / 100, "b": 0.0}
    # The hull of b bends at 150, from 1 / 150 to 0.8 / 120: the same slope.
    assert shared_out([flat, steep], 0.9) == {"a": 0.9, "b": 0.9}


@pytest.mark.parametrize("sparsity", [0.0, 0.123, 0.5, 0.777, 0.9])
def test_the_target_is_met_within_a_weight(sparsity: float) -> None:
    rng = np.random.default_rng(0)
    sizes = {"a": 432, "b": 2_304, "c": 97}
    grid = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9)
    made = [
        curve(name, size, *((round(s * size), float(loss)) for s, loss in zip(grid, rng.random(6), strict=True)))
        for name, size in sizes.items()
    ]
    fractions = shared_out(made, sparsity)
    zeros = sum(round(fractions[name] * size) for name, size in sizes.items())
    assert abs(zeros - sparsity * sum(sizes.values())) <= 1
    assert all(0 <= fraction <= 0.9 + 1e-3 for fraction in fractions.values())


def test_all_layers_alike_without_an_analysis() -> None:
    model = tiny_student()
    assert prunable(model, ()) == ["stem", "body", "logits"]
    uniform = layer_sparsities(model, Prune(final_sparsity=0.5, protected_layers=("stem", "body_relu")))
    assert uniform == {"body": 0.5, "logits": 0.5}


@pytest.mark.parametrize(
    ("protected", "message"),
    [
        (("stemm",), r'^prune\.protected_layers: protected layer "stemm" is not in the model; did you mean "stem"\?$'),
        (("stem", "body", "logits"), r"^prune\.protected_layers: no convolution or dense layer is left to prune"),
    ],
)
def test_protected_layers_that_cannot_be(protected: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check(tiny_student(), Prune(protected_layers=protected))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prune.final_sparsity": 1.0}, r"prune\.final_sparsity = 1\.0: allowed: at least 0 and below 1"),
        ({"prune.final_sparsity": 0.95}, r"prune\.final_sparsity = 0\.95: no layer is pruned further than .* 0\.9;"),
        ({"sensitivity.sparsities": []}, r"sensitivity\.sparsities = \[\]: at least one fraction is wanted"),
        ({"sensitivity.sparsities": [0.5, 1.0]}, r"sensitivity\.sparsities = 1\.0: allowed: above 0 and below 1"),
        ({"sensitivity.channel_fractions": []}, r"sensitivity\.channel_fractions = \[\]: at least one"),
        ({"prune.allocation": "sensitive"}, r'prune\.allocation = "sensitive": allowed: uniform, sensitivity; did'),
    ],
)
def test_recipes_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.load("quickstart", {"prune.allocation": "sensitivity"} | settings)


def test_a_higher_target_goes_with_a_longer_grid() -> None:
    settings = {"prune.final_sparsity": 0.95, "sensitivity.sparsities": [0.5, 0.97]}
    assert recipe.load("quickstart", settings | {"prune.allocation": "sensitivity"}).prune.analysis == "weights"
    assert recipe.load("quickstart", {"prune.final_sparsity": 0.95}).prune.analysis == ""


@pytest.fixture
def pruned(tmp_path: Path, tiny_data: Artifact) -> Callable[..., Artifact]:
    def run(analysis: Artifact | None, **changes: Any) -> Artifact:
        _keras.save_model(tiny_student(), tmp_path / "student" / "model")
        student = Artifact.seal(tmp_path / "student", {})
        config = dataclasses.replace(PRUNE, method="weight", frequency=1, end_fraction=0.5, **changes)
        (tmp_path / "out").mkdir()
        options: dict[str, Any] = {"distillation": ON_LABELS, "seed": 3, "work": tmp_path / "work"}
        return prune_weights(
            tiny_data, None, student, config, tmp_path / "out", progress=Progress(), analysis=analysis, **options
        )

    return run


def test_each_layer_is_pruned_to_its_own_sparsity(pruned: Callable[..., Artifact]) -> None:
    """Of 432 + 2,304 = 2,736 weights half are 1,368: 389 of the flat stem, 979 of the body."""
    made = [
        curve("stem", 432, (0, 0.5), (389, 0.5)),
        curve("body", 2_304, (0, 0.5), (2_074, 0.9)),
    ]
    analysis = Artifact(Path(), "", {"layers": [row.table() for row in made]})
    artifact = pruned(analysis, allocation="sensitivity", final_sparsity=0.5, protected_layers=("logits",))
    model = _keras.load_model(artifact.path / "model")
    zeros = {name: int(np.sum(model.get_layer(name).kernel.numpy() == 0)) for name in ("stem", "body", "logits")}
    assert abs(zeros["stem"] - 389) <= 1
    assert abs(zeros["body"] - 979) <= 1
    assert zeros["logits"] == 0
    assert artifact.facts["measured_sparsity"] == pytest.approx(0.5, abs=2 / 2_736)
    assert artifact.facts["layer_sparsities"] == {"stem": 389 / 432, "body": 979 / 2_304}
