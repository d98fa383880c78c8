"""The analysis as a stage, in the chain, and as a command."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_prune_channels import ON_LABELS, PRUNE, SMALL, tiny_student

from edgekd import _keras, channels, cli, pipeline, recipe, sensitivity
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.config.sensitivity import Sensitivity
from edgekd.curves import Curve
from edgekd.errors import EdgekdError, ModelError, RecipeError, UserError
from edgekd.progress import Progress
from edgekd.sensitivity_table import markdown, table
from edgekd.stages import prune_channels as pruning
from edgekd.stages.prune_channels import prune_channels
from edgekd.stages.sensitivity import channel_sensitivity, weight_sensitivity


@pytest.fixture
def student(tmp_path: Path) -> Artifact:
    _keras.save_model(tiny_student(), tmp_path / "student" / "model")
    return Artifact.seal(tmp_path / "student", {})


def of_weights(data: Artifact, student: Artifact, out: Path, *protected: str) -> Artifact:
    out.mkdir()
    options: dict[str, Any] = {"subset_seed": 0, "progress": Progress()}
    return weight_sensitivity(data, student, Sensitivity(), out, protected_layers=protected, **options)


def of_channels(data: Artifact, student: Artifact, out: Path, *protected: str) -> Artifact:
    out.mkdir()
    options: dict[str, Any] = {
        **{"multiple": 4, "distillation": ON_LABELS, "training": PRUNE.training},
        **{"subset_seed": 0, "seed": 3, "progress": Progress()},
    }
    return channel_sensitivity(data, None, student, Sensitivity(), out, protected_layers=protected, **options)


def test_what_the_stage_leaves(tiny_data: Artifact, student: Artifact, tmp_path: Path) -> None:
    made = of_weights(tiny_data, student, tmp_path / "weights", "logits")
    assert made.facts["kind"] == "weights"
    assert (made.facts["num_images"], made.facts["val_indices"]) == (16, list(range(16)))
    assert [(row["layer"], row["size"]) for row in made.facts["layers"]] == [("stem", 432), ("body", 2_304)]
    for row in made.facts["layers"]:
        assert [point["fraction"] for point in row["points"]] == pytest.approx([0, 0.25, 0.5, 0.7, 0.8, 0.9], abs=2e-3)
        assert {name: row["points"][0][name] for name in ("loss", "top1", "auc")} == made.facts["baseline"]
    assert (
        "sensitivity to zeros, 2 layers pruned one at a time, on 16 images of val: most sensitive"
        in (made.facts["summary"])
    )
    again = of_weights(tiny_data, student, tmp_path / "again", "logits")
    assert again.digest == made.digest


def test_channels_are_tried_down_to_what_is_allowed(tiny_data: Artifact, student: Artifact, tmp_path: Path) -> None:
    made = of_channels(tiny_data, student, tmp_path / "channels", "stem")
    (row,) = made.facts["layers"]
    assert (row["layer"], row["size"]) == ("body", 16)
    assert [point["removed"] for point in row["points"]] == [0, 4, 8, 12]


@pytest.mark.parametrize("stage", [of_weights, of_channels])
def test_a_layer_that_is_not_there(
    stage: Callable[..., Artifact], tiny_data: Artifact, student: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r'protected layer "bodi" is not in the model; did you mean "body"\?'):
        stage(tiny_data, student, tmp_path / "out", "bodi")


def test_nothing_to_remove_is_said(tiny_data: Artifact, student: Artifact, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"no layer can lose channels; protect fewer layers, or lower .*multiple \(4\)"
    ):
        of_channels(tiny_data, student, tmp_path / "out", "stem", "body")
    with pytest.raises(RecipeError, match=r"prune\.protected_layers: no layer can lose channels"):
        pruning.check(tiny_student(), dataclasses.replace(PRUNE, keep_macs=1.0, channel_multiple=16))


# Removal by the analysis


def analysis(**losses: tuple[float, ...]) -> Artifact:
    """Of the tiny student's groups of 16 channels, of which 4, 8 and 12 are tried."""
    rows = [
        Curve(
            name,
            16,
            tuple(
                {"removed": 4 * place, "fraction": place / 4, "loss": loss, "auc": 1.0}
                for place, loss in enumerate(values)
            ),
        ).table()
        for name, values in losses.items()
    ]
    return Artifact(Path(), "", {"layers": rows, "val_indices": list(range(16)), "grid": [0.25, 0.5, 0.75]})


@pytest.fixture
def prune(tiny_data: Artifact, student: Artifact, tmp_path: Path) -> Callable[..., Artifact]:
    def run(found: Artifact, name: str = "pruned", **changes: Any) -> Artifact:
        out = tmp_path / name
        out.mkdir()
        config = dataclasses.replace(PRUNE, criterion="sensitivity", **changes)
        options: dict[str, Any] = {"distillation": ON_LABELS, "seed": 3, "work": tmp_path / f"{name}_work"}
        return prune_channels(tiny_data, None, student, config, out, progress=Progress(), analysis=found, **options)

    return run


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        # Half of 64,544 multiply-accumulates is 32,272; 8 of the stem leave 13,824 + 18,432 + 32 = 32,288.
        ({"stem": (0.5, 0.5, 0.5, 0.5), "body": (0.5, 0.7, 0.9, 1.1)}, (4, 16)),
        # 4 of the body leave 27,648 + 9,216 + 8 = 36,872; with 12 of the stem 20,736 + 6,912 + 8 = 27,656.
        ({"stem": (0.5, 0.7, 0.9, 1.1), "body": (0.5, 0.5, 0.5, 0.5)}, (12, 4)),
    ],
)
def test_channels_go_where_val_loses_least(
    losses: dict[str, tuple[float, ...]], kept: tuple[int, int], prune: Callable[..., Artifact]
) -> None:
    made = prune(analysis(**losses))
    model = _keras.load_model(made.path / "model")
    assert (model.get_layer("stem").filters, model.get_layer("body").filters) == kept
    assert made.facts["criterion"] == "sensitivity"


def test_later_rounds_measure_anew(prune: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    measure = pruning.curves.of_channels

    def watched(structure: channels.Structure, scores: Any, split: Any, *rest: Any) -> Any:
        seen.append(len(structure.groups["stem"]))
        assert len(split.labels) == 16
        return measure(structure, scores, split, *rest)

    monkeypatch.setattr(pruning.curves, "of_channels", watched)
    flat_stem = analysis(stem=(0.5, 0.5, 0.5, 0.5), body=(0.5, 0.7, 0.9, 1.1))
    made = prune(flat_stem, rounds=2, keep_macs=0.36, training=dataclasses.replace(PRUNE.training, epochs=3))
    # 0.6 of the multiply-accumulates are 38,726, and 8 of the stem leave 32,288.
    assert seen == [8]
    assert made.facts["rounds"][0]["macs"] == 32_288
    assert made.facts["macs"]["after"] <= 0.36 * 64_544


# Table


def facts(*rows: Curve, kind: str = "weights") -> dict[str, Any]:
    baseline = {"loss": 0.5, "auc": 0.75}
    return {"kind": kind, "num_images": 16, "baseline": baseline, "layers": [row.table() for row in rows]}


def two_points(name: str, size: int, removed: int, loss: float) -> Curve:
    start = {"removed": 0, "fraction": 0.0, "loss": 0.5, "auc": 0.75}
    return Curve(name, size, (start, {"removed": removed, "fraction": removed / size, "loss": loss, "auc": 0.5}))


def test_the_most_sensitive_stands_first() -> None:
    header, rows = table(facts(two_points("a", 1_000, 500, 0.6), two_points("b", 1_001, 501, 0.9)))
    assert header == ["layer", "weights", "mean rise", "50%"]
    # A triangle has half of its height in the mean.
    assert rows == [["b", "1,001", "+0.200", "0.900 (0.500)"], ["a", "1,000", "+0.050", "0.600 (0.500)"]]


def test_fractions_stand_with_the_figures_where_they_differ() -> None:
    analysed = facts(two_points("a", 16, 8, 0.6), two_points("b", 24, 16, 0.9), kind="channels")
    header, rows = table(analysed)
    assert header[3:] == ["point 1"]
    assert [row[3] for row in rows] == ["67% 0.900 (0.500)", "50% 0.600 (0.500)"]
    text = markdown(analysed, "cells")
    assert "| b | 24 | +0.200 | 67% 0.900 (0.500) |" in text
    assert "cells, n = 16 of val" in text
    assert "as it is: 0.500 (0.750)" in text


# The chain and the command


@pytest.fixture
def settings(make_npz: Callable[..., Path]) -> dict[str, Any]:
    return {**SMALL, "data.name": "", "data.path": str(make_npz()), "sensitivity.sparsities": [0.5, 0.9]}


@pytest.fixture
def load(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., recipe.Recipe]:
    """A small recipe; its thread count is left alone, as this process has one already."""
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    return lambda **changes: recipe.load("quickstart", settings | changes)


@pytest.mark.slow
def test_a_build_finds_the_analysis_of_the_command(
    settings: dict[str, Any], load: Callable[..., recipe.Recipe], tmp_path: Path
) -> None:
    """Training takes processes of its own, on one thread."""
    cache, out = Cache(tmp_path / "cache"), tmp_path / "out"
    protected = {"prune.protected_layers": ["stem_conv"]}

    def edgekd(command: str, folder: Path, *options: str, **changes: Any) -> str:
        keys = [f"--set={key}={json.dumps(value)}" for key, value in (settings | protected | changes).items()]
        words = [command, "quickstart", *keys, "--cache-dir", cache.root, "--out", folder, *options]
        done = subprocess.run([sys.executable, "-m", "edgekd", *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = edgekd("sensitivity", out)
    document = json.loads((out / "sensitivity.json").read_text())
    assert document["recipe"]["prune"]["allocation"] == "uniform"
    for kind in ("weights", "channels"):
        layers = document["analyses"][kind]["layers"]
        assert "stem_conv" not in [row["layer"] for row in layers]
        assert len(layers) >= 5
        first = max(layers, key=lambda row: float(row["mean_rise"]))["layer"]
        assert f"most sensitive: {first}, " in printed
        assert (out / f"{kind}.png").stat().st_size > 10_000
        assert f"![{kind}]({kind}.png)" in (out / "sensitivity.md").read_text()

    channel = {"prune.method": "channel", "prune.criterion": "sensitivity", "prune.keep_macs": 0.9}
    found, _ = pipeline.artifacts(load(**protected, **channel), cache=cache, until="sensitivity", dry=True)
    assert found["sensitivity"].facts == document["analyses"]["channels"]

    weight = {"prune.allocation": "sensitivity", "prune.final_sparsity": 0.7}
    found, _ = pipeline.artifacts(load(**protected, **weight), cache=cache, until="sensitivity", dry=True)
    assert found["sensitivity"].facts == document["analyses"]["weights"]
    edgekd("build", tmp_path / "run", "--until", "prune", **weight)
    found, _ = pipeline.artifacts(load(**protected, **weight), cache=cache, until="prune", dry=True)
    assert found["prune"].facts["measured_sparsity"] == pytest.approx(0.7, abs=0.002)
    assert len(set(found["prune"].facts["layer_sparsities"].values())) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune.protected_layers": ["stem_conv1"]}, 'protected layer "stem_conv1" is not in the model; did you mean'),
        ({"sensitivity.num_images": 9}, r"sensitivity\.num_images = 9: val has 8 images"),
    ],
)
@pytest.mark.parametrize("kind", sensitivity.KINDS)
def test_what_cannot_be_is_said_before_anything_is_trained(
    kind: str, changes: dict[str, Any], message: str, load: Callable[..., recipe.Recipe], tmp_path: Path
) -> None:
    with pytest.raises(EdgekdError, match=message):
        sensitivity.analyse(load(**changes), [kind], tmp_path / "out", cache=Cache(tmp_path / "cache"))
    made = [json.loads(path.read_text()) for path in (tmp_path / "cache").rglob("facts.json")]
    assert all("history" not in facts for facts in made)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [(["weight"], 'unknown kind "weight"; did you mean "weights"'), ([], "no kind of sensitivity is named; known")],
)
def test_kinds_that_are_not_there(kinds: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        sensitivity.analyse(recipe.load("quickstart"), kinds, tmp_path / "out", cache=Cache(tmp_path / "cache"))
    assert not (tmp_path / "out").exists()


def test_a_student_whose_channels_cannot_be_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*inputs: Any, **options: Any) -> Any:
        raise ModelError('prune.method = "channel": layer "odd" is of class Doubled')

    monkeypatch.setattr(pipeline, "artifacts", refuse)
    with pytest.raises(ModelError, match='layer "odd" is of class Doubled; the weights alone: --of weights'):
        sensitivity.analyse(recipe.load("quickstart"), ["channels"], tmp_path, cache=Cache(tmp_path / "cache"))


def test_the_command_prints_tables_and_names_layers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    analysed = facts(two_points("a", 1_000, 500, 0.6), two_points("b", 1_000, 500, 0.9))
    asked: list[Any] = []

    def analyse(loaded: recipe.Recipe, kinds: list[str], out: Path, **_: Any) -> dict[str, Any]:
        asked.extend([loaded.seed, kinds, out])
        return {"analyses": {"weights": analysed}, "dataset": {"name": "cells"}}

    monkeypatch.setattr(sensitivity, "analyse", analyse)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.main, ["sensitivity", "--of", "weights, ", "--seed", "4", "-q"])
    assert result.exit_code == 0, result.output
    assert asked == [4, ["weights"], Path("edgekd-out/quickstart-sensitivity")]
    assert "most sensitive: b, a" in result.output
    assert "0.900 (0.500)" in result.output


def test_the_plan_has_the_analysis_where_it_is_wanted(load: Callable[..., recipe.Recipe], tmp_path: Path) -> None:
    for changes, wanted in (
        ({"prune.allocation": "sensitivity"}, True),
        ({"prune.allocation": "sensitivity", "prune.method": "none"}, False),
        ({"prune.criterion": "sensitivity"}, False),
        ({"prune.criterion": "sensitivity", "prune.method": "channel"}, True),
    ):
        stages = pipeline.plan(load(**changes), cache=Cache(tmp_path / "cache")).stages
        names = [name for name, _ in stages]
        assert ("sensitivity" in names) is wanted, changes
        if wanted:
            assert names.index("distill") < names.index("sensitivity") < names.index("prune")


def test_the_plot_is_the_same_for_the_same_analysis(tmp_path: Path) -> None:
    from edgekd.sensitivity_plot import plot

    analysed = facts(two_points("a", 16, 8, 0.6), two_points("b", 24, 16, 0.9), kind="channels")
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written.append([path.read_bytes() for path in plot(analysed, tmp_path / name, "cells")])
    assert written[0] == written[1]
    assert b"cells, n = 16 of val" in written[0][0]
    assert np.all([len(file) > 5_000 for file in written[0]])
