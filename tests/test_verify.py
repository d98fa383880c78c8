"""Verification, on models whose answer to every image is known beforehand.

A lamp looks at the mean brightness ``v`` of an image and gives class 1 the probability
``1 / (1 + exp(-0.02 * (v - threshold)))``. With images of one grey each, who is right where is a matter of choice.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_models import tiny_file

from edgekd import _keras, tflite
from edgekd.artifact import Artifact
from edgekd.config.verify import Gates, Verify
from edgekd.errors import ModelError, RecipeError
from edgekd.stages import verify as stage
from edgekd.tasks import TASKS

SIDE = 8
SLOPE = 0.02
DARK, DIM, BRIGHT = 30, 100, 220  # class 0 for every lamp; for lamps of threshold 60 class 1; class 1 for every lamp

Grey = tuple[int, Any]  # brightness, label or labels


@functools.cache
def lamp(variant: str, threshold: float = 128, slope: float = SLOPE, head: str = "softmax") -> bytes:
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((SIDE, SIDE, 3), name="pixels")
    logits = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(pixels))
    model = _keras.tf_keras.Model(pixels, logits)
    kernel = np.tile(slope / 2 / 3 * np.array([-1.0, 1.0]), (3, 1))
    model.get_layer("logits").set_weights([kernel, slope / 2 * threshold * np.array([1.0, -1.0])])
    greys = np.stack([np.full((SIDE, SIDE, 3), value, np.uint8) for value in range(0, 256, 15)])
    return tflite.convert(tflite.freeze(model), variant, greys, head)


def probability(brightness: float, threshold: float = 128) -> float:
    return float(1 / (1 + np.exp(-SLOPE * (brightness - threshold))))


def make_data(
    folder: Path, val: Sequence[Grey], test: Sequence[Grey], names: Sequence[str] = ("off", "on"), task: str = "binary"
) -> Artifact:
    folder.mkdir()
    for split, greys in (("train", val), ("val", val), ("test", test)):
        images = np.stack([np.full((SIDE, SIDE, 3), brightness, np.uint8) for brightness, _ in greys])
        np.save(folder / f"{split}_images.npy", images)
        np.save(folder / f"{split}_labels.npy", np.array([label for _, label in greys], np.int64))
    np.save(folder / "calibration_indices.npy", np.arange(2))
    return Artifact.seal(folder, {"class_names": list(names), "image_size": SIDE, "task": task})


def make_models(folder: Path, models: Mapping[str, bytes]) -> Artifact:
    folder.mkdir()
    entries = []
    for name, content in models.items():
        (folder / f"{name}.tflite").write_bytes(content)
        facts = {"file": f"{name}.tflite", "tflite_bytes": len(content)}
        entries.append({"id": name, **facts, "shipped": name == "student_int8"})
    return Artifact.seal(folder, {"models": entries})


def run(
    tmp_path: Path,
    *,
    val: Sequence[Grey],
    test: Sequence[Grey],
    models: Mapping[str, bytes] | None = None,
    gates: Gates | None = None,
    margin_pp: float = 2.0,
    robustness: bool = False,
) -> Artifact:
    place = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
    place.mkdir()
    data = make_data(place / "data", val, test)
    artifacts = [make_models(place / name, {name: content}) for name, content in (models or {}).items()]
    if "student_int8" not in (models or {}):
        artifacts.insert(0, make_models(place / "shipped", {"student_int8": lamp("int8")}))
    (place / "out").mkdir()
    config = Verify(margin_pp=margin_pp, robustness=robustness)
    return stage.verify(data, artifacts, config, place / "out", gates=gates or Gates())


def balanced(right: int, wrong: int) -> list[Grey]:
    """As many images of each class, for every lamp alike: ``right`` labelled as they look and ``wrong`` not."""
    return [(DARK, 0), (BRIGHT, 1)] * (right // 2) + [(DARK, 1), (BRIGHT, 0)] * (wrong // 2)


def claim(artifact: Artifact, id: str) -> dict[str, Any]:
    return next(row for row in artifact.facts["claims"] if row["id"] == id)


def test_figures_of_both_splits_by_hand(tmp_path: Path) -> None:
    val = [(DARK, 0)] * 3 + [(BRIGHT, 0)] + [(BRIGHT, 1)] * 4  # 7 of 8 right, recalls 3/4 and 1
    test = [(DARK, 0)] * 2 + [(DARK, 1)] * 2 + [(BRIGHT, 1)] * 2 + [(BRIGHT, 0)] * 4  # 4 of 10, recalls 2/6 and 2/4
    figures = run(tmp_path, val=val, test=test).facts["models"]["student_int8"]
    assert (figures["val"]["top1"], figures["val"]["n"]) == (7 / 8, 8)
    assert (figures["test"]["top1"], figures["test"]["n"]) == (4 / 10, 10)
    recalls = {
        split: [(row["name"], row["n"], row["recall"]) for row in figures[split]["per_class"]] for split in figures
    }
    assert recalls == {
        "val": [("off", 4, 3 / 4), ("on", 4, 1)],
        "test": [("off", 6, pytest.approx(1 / 3)), ("on", 4, 1 / 2)],
    }
    # AUC on val: of 16 pairs 12 are won and 4 tie; on test: 24 pairs, 2 * 2 won, 2 * 4 + 2 * 2 tied.
    assert figures["val"]["auc"] == pytest.approx(14 / 16)
    assert figures["test"]["auc"] == pytest.approx((4 + 6) / 24)


def test_scores_hold_what_the_figures_were_computed_from(tmp_path: Path) -> None:
    greys = np.random.default_rng(0).integers(0, 256, 60)
    labels = (greys + np.random.default_rng(1).normal(0, 60, 60) > 128).astype(int)
    pairs = list(zip(greys.tolist(), labels.tolist(), strict=True))
    models = {"student_fp32": lamp("fp32"), "teacher_fp32": lamp("fp32", 60)}
    artifact = run(tmp_path, val=pairs[:20], test=pairs[20:], models=models)
    with np.load(artifact.path / "scores.npz", allow_pickle=False) as file:
        scores = dict(file)
    assert set(scores) == {
        *(f"{name}__{split}" for name in ("student_int8", *models) for split in ("val", "test")),
        "labels__val",
        "labels__test",
    }
    np.testing.assert_array_equal(scores["labels__val"], labels[:20])
    np.testing.assert_array_equal(scores["labels__test"], labels[20:])
    for name, threshold in (("student_fp32", 128), ("teacher_fp32", 60)):
        expected = [probability(grey, threshold) for grey in greys]
        found = np.concatenate([scores[f"{name}__val"], scores[f"{name}__test"]])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[:, 1], expected, atol=1e-5)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    for name, rows in artifact.facts["models"].items():
        for split in ("val", "test"):
            probs, truth = scores[f"{name}__{split}"], scores[f"labels__{split}"]
            assert rows[split]["top1"] == np.mean((probs[:, 1] > probs[:, 0]) == truth)
            on, off = probs[truth == 1, 1], probs[truth == 0, 1]
            pairs_won = [1.0 if a > b else 0.5 if a == b else 0.0 for a in on for b in off]
            assert rows[split]["auc"] == pytest.approx(np.mean(pairs_won))
            # sum_k (p_k - y_k)**2 of two classes is twice that of one.
            assert rows[split]["brier"] == pytest.approx(2 * np.mean((probs[:, 1] - truth) ** 2), rel=1e-5)


def test_every_artifact_is_looked_through(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    both = make_models(folder, {"student_int8": lamp("int8"), "student_fp16": lamp("fp16")})
    data = make_data(tmp_path / "data", balanced(8, 0), balanced(8, 0))
    (tmp_path / "out").mkdir()
    teacher = make_models(tmp_path / "teacher", {"teacher_fp32": lamp("fp32")})
    artifact = stage.verify(data, [teacher, both], Verify(robustness=False), tmp_path / "out", gates=Gates())
    assert set(artifact.facts["models"]) == {"teacher_fp32", "student_int8", "student_fp16"}
    assert artifact.facts == Artifact.open(tmp_path / "out").facts


@pytest.mark.parametrize(("good", "poor"), [("val", "test"), ("test", "val")])
def test_gates_are_decided_on_val(good: str, poor: str, tmp_path: Path) -> None:
    splits = {good: balanced(40, 0), poor: balanced(8, 32)}
    gates = Gates(min_top1=0.9, min_auc=0.9, min_recall={"on": 0.9})
    artifact = run(tmp_path, val=splits["val"], test=splits["test"], gates=gates)
    figures = artifact.facts["models"]["student_int8"]
    assert (figures[good]["top1"], figures[poor]["top1"]) == (1, 0.2)
    held = good == "val"
    assert artifact.facts["gates"] == [
        {"id": "min_top1", "limit": 0.9, "measured": 1.0 if held else 0.2, "held": held},
        {"id": "min_auc", "limit": 0.9, "measured": pytest.approx(1.0 if held else 0.2), "held": held},
        {"id": 'min_recall."on"', "limit": 0.9, "measured": 1.0 if held else 0.2, "held": held},
    ]


def test_gate_on_the_fall_from_float_to_shipped(tmp_path: Path) -> None:
    """The float form has its threshold at 60, so that dim images of class 1 are lost on the way: 2 of 16 on val."""
    val = [*balanced(14, 0), (DIM, 1), (DIM, 1)]
    models = {"student_fp32": lamp("fp32", 60)}

    def gate(limit: float) -> dict[str, Any]:
        gates = Gates(max_accuracy_drop_pp=limit)
        return dict(run(tmp_path, val=val, test=balanced(16, 0), models=models, gates=gates).facts["gates"][0])

    assert gate(12.5) == {"id": "max_accuracy_drop_pp", "limit": 12.5, "measured": 12.5, "held": True}
    assert gate(12.4) == {"id": "max_accuracy_drop_pp", "limit": 12.4, "measured": 12.5, "held": False}


def test_gate_that_is_just_met_holds(tmp_path: Path) -> None:
    size = len(lamp("int8"))

    def held(**limits: Any) -> bool:
        artifact = run(tmp_path, val=balanced(12, 4), test=balanced(4, 0), gates=Gates(**limits))
        (row,) = artifact.facts["gates"]
        return bool(row["held"])

    assert held(min_top1=0.75)
    assert not held(min_top1=0.76)
    assert held(max_tflite_bytes=size)
    assert not held(max_tflite_bytes=size - 1)


def test_without_limits_there_are_no_gates(tmp_path: Path) -> None:
    assert run(tmp_path, val=balanced(4, 4), test=balanced(4, 4)).facts["gates"] == []


def test_gate_on_an_unknown_class_names_the_nearest(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", balanced(4, 0), balanced(4, 0), ["normal", "pneumonia"])
    models = make_models(tmp_path / "models", {"student_int8": lamp("int8")})
    (tmp_path / "out").mkdir()
    gates = Gates(min_recall={"pnemonia": 0.9})
    with pytest.raises(RecipeError, match=r'gates\.min_recall\."pnemonia": no such class; did you mean "pneumonia"'):
        stage.verify(data, [models], Verify(), tmp_path / "out", gates=gates)
    assert list((tmp_path / "out").iterdir()) == []


def test_splits_that_disagree_are_told(tmp_path: Path) -> None:
    (warning,) = run(tmp_path, val=balanced(40, 0), test=balanced(20, 20)).facts["warnings"]
    assert warning.startswith("val and test disagree: top-1 1.000 against 0.500, more than chance explains")


@pytest.mark.parametrize(("val", "test"), [((38, 2), (36, 4)), ((4, 0), (2, 2)), ((20, 20), (20, 20))])
def test_splits_that_chance_explains_are_not(val: tuple[int, int], test: tuple[int, int], tmp_path: Path) -> None:
    assert run(tmp_path, val=balanced(*val), test=balanced(*test)).facts["warnings"] == []


def test_constant_model_is_named(tmp_path: Path) -> None:
    # Logits 0.5 and -0.5; what brightness adds is far below what float32 can tell.
    models = {"student_fp32": lamp("fp32"), "teacher_fp32": lamp("fp32", threshold=1e12, slope=1e-12)}
    facts = run(tmp_path, val=balanced(8, 0), test=balanced(8, 0), models=models).facts
    assert facts["warnings"] == ["teacher_fp32 gives the same output for every test image"]
    # It says class 0 each time: half of the images.
    assert facts["models"]["teacher_fp32"]["test"]["top1"] == 0.5


def test_agreement_counts_test_images(tmp_path: Path) -> None:
    test = [*balanced(8, 0), (DIM, 1), (DIM, 0)]  # dim ones alone divide the lamps
    models = {"student_fp32": lamp("fp32"), "teacher_fp32": lamp("fp32", 60), "student_alone_fp32": lamp("fp32", 60)}
    facts = run(tmp_path, val=balanced(8, 0), test=test, models=models).facts
    assert facts["agreement"] == {"student_fp32": 1.0, "teacher_fp32": 0.8}


@pytest.mark.parametrize(
    ("lost", "won", "verdict"), [(0, 0, "shown"), (3, 0, "not shown"), (60, 0, "refuted"), (4, 100, "shown")]
)
def test_claim_of_no_loss(lost: int, won: int, verdict: str, tmp_path: Path) -> None:
    """Against a teacher of threshold 60, dim images of class 1 are lost and dim images of class 0 are won."""
    test = [*balanced(200, 0), *[(DIM, 1)] * lost, *[(DIM, 0)] * won]
    models = {"teacher_fp32": lamp("fp32", 60)}
    artifact = run(tmp_path, val=balanced(8, 0), test=test, models=models, margin_pp=2.0)
    found = claim(artifact, "accuracy_vs_teacher_fp32")
    assert found["verdict"] == verdict
    assert found["estimate"] == pytest.approx((won - lost) / len(test))
    assert found["ci95"][0] <= found["estimate"] <= found["ci95"][1]
    assert (found["margin"], found["n"]) == (0.02, len(test))
    # Exact McNemar: all on one side has p = 2 / 2**count.
    if not won:
        assert found["mcnemar_p"] == pytest.approx(min(1.0, 2 / 2**lost))
    assert f"n = {len(test)} test images" in found["text"]
    margin = 100 * (1.959964 + 0.524401) * max(lost + won, 1) ** 0.5 / len(test)
    assert f"the smallest margin that these could show is {margin:.1f} points" in found["text"]
    assert found["smallest_margin"] == pytest.approx(margin / 100, rel=1e-5)
    low, high = found["bootstrap_ci95"]
    assert low <= found["estimate"] <= high
    assert (low, high) == (0, 0) or lost or won  # without a difference there is none in any draw


def test_margin_of_the_recipe_decides(tmp_path: Path) -> None:
    test = [*balanced(200, 0), *[(DIM, 1)] * 6]
    models = {"student_fp32": lamp("fp32", 60)}
    verdicts = [
        claim(
            run(tmp_path, val=balanced(8, 0), test=test, models=models, margin_pp=margin), "accuracy_vs_student_fp32"
        )["verdict"]
        for margin in (0.1, 2.0, 10.0)
    ]
    # 6 of 206 are lost: 2.9 points, with an interval of about 1 to 5.
    assert verdicts == ["refuted", "not shown", "shown"]


def test_auc_is_claimed_for_two_classes(tmp_path: Path) -> None:
    """Lamps of the same slope order all images alike: no difference, however the thresholds lie."""
    models = {"teacher_fp32": lamp("fp32", 60)}
    test = [*balanced(400, 40), (DIM, 1), (DIM, 0)]
    found = claim(run(tmp_path, val=balanced(8, 0), test=test, models=models), "auc_vs_teacher_fp32")
    assert (found["verdict"], found["n"]) == ("shown", 442)
    end = 1.959964**2 / (1.959964**2 + 221)  # what 221 images of each class leave
    assert [found["estimate"], *found["ci95"]] == pytest.approx([0, -end, end], abs=1e-6)


def test_auc_of_three_classes_is_that_of_each_against_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3)).astype(np.uint8)
    for split in ("train", "val", "test"):
        np.save(folder / f"{split}_images.npy", images)
        np.save(folder / f"{split}_labels.npy", np.arange(9) % 3)
    np.save(folder / "calibration_indices.npy", np.arange(2))
    data = Artifact.seal(folder, {"class_names": ["a", "b", "c"], "image_size": 16, "task": "multi-class"})
    models = {"student_int8": tiny_file("int8"), "teacher_fp32": tiny_file("fp32"), "student_fp32": tiny_file("fp32")}
    (tmp_path / "out").mkdir()
    artifact = stage.verify(data, [make_models(tmp_path / "m", models)], Verify(), tmp_path / "out", gates=Gates())
    assert [row["id"] for row in artifact.facts["claims"]] == [
        "accuracy_vs_student_fp32",
        "auc_vs_student_fp32",
        "accuracy_vs_teacher_fp32",
        "auc_vs_teacher_fp32",
        "size_vs_teacher_fp32",
        "size_vs_student_fp32",
    ]
    assert len(artifact.facts["models"]["student_int8"]["test"]["per_class"]) == 3
    areas = [artifact.facts["models"][name]["test"]["auc"] for name in ("student_int8", "student_fp32")]
    assert claim(artifact, "auc_vs_student_fp32")["estimate"] == pytest.approx(areas[0] - areas[1])
    steps = artifact.facts["robustness"]["steps"]
    assert all(step["model"]["auc"] is not None and step["p_holm"] <= 1 for step in steps)


@pytest.mark.parametrize(
    ("student", "alone", "verdict"), [(128, 60, "shown"), (60, 128, "refuted"), (60, 60, "not shown")]
)
def test_claim_of_a_gain_by_distillation(student: int, alone: int, verdict: str, tmp_path: Path) -> None:
    """Dim images of class 0 are right with a threshold of 128 alone: 30 of 100."""
    test = [*balanced(70, 0), *[(DIM, 0)] * 30]
    models = {"student_fp32": lamp("fp32", student), "student_alone_fp32": lamp("fp32", alone)}
    found = claim(run(tmp_path, val=balanced(8, 0), test=test, models=models), "distillation_gain")
    assert found["verdict"] == verdict
    assert found["estimate"] == pytest.approx({"shown": 0.3, "refuted": -0.3, "not shown": 0}[verdict])
    assert found["margin"] == 0
    assert found["text"].endswith("; it made the student worse") == (verdict == "refuted")


def test_a_gain_by_distillation_is_that_before_pruning(tmp_path: Path) -> None:
    """What pruning lost is no matter of distillation: 30 of 100 dim images, which the pruned student has wrong."""
    test = [*balanced(70, 0), *[(DIM, 0)] * 30]
    models = {
        "student_alone_fp32": lamp("fp32", 60),
        "distilled_fp32": lamp("fp32", 128),
        "student_fp32": lamp("fp32", 60),
    }
    facts = run(tmp_path, val=balanced(8, 0), test=test, models=models)
    found = claim(facts, "distillation_gain")
    assert (found["verdict"], found["estimate"]) == ("shown", pytest.approx(0.3))
    assert found["text"].startswith("distillation made the student, before pruning, more accurate than")
    # From step to step: 30 of 100 won, 30 lost, and won again by the shipped lamp, whose threshold is 128.
    assert [(row["model"], pytest.approx(row["estimate"])) for row in facts.facts["accuracy_changes"]] == [
        ("distilled_fp32", 0.3),
        ("student_fp32", -0.3),
        ("student_int8", 0.3),
    ]


def test_a_loss_within_chance_is_said_plainly(tmp_path: Path) -> None:
    """One image of 80 is right without distillation alone: -1.25 points, and the interval holds 0."""
    test = [*balanced(79, 0), (DIM, 0)]
    models = {"student_fp32": lamp("fp32", 60), "student_alone_fp32": lamp("fp32", 128)}
    found = claim(run(tmp_path, val=balanced(8, 0), test=test, models=models), "distillation_gain")
    assert found["verdict"] == "not shown"
    assert found["text"].endswith("; alone it was the better one here, within chance")


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    models = {"teacher_fp32": lamp("fp32") + bytes(9 * len(lamp("int8"))), "student_fp32": lamp("fp32")}
    artifact = run(tmp_path, val=balanced(8, 0), test=balanced(8, 0), models=models)
    found = claim(artifact, "size_vs_teacher_fp32")
    ratio = len(models["teacher_fp32"]) / len(lamp("int8"))
    assert (found["verdict"], found["estimate"], found["ci95"]) == ("shown", ratio, [ratio, ratio])
    assert found["text"].endswith(f"{len(lamp('int8')):,} against {len(models['teacher_fp32']):,} bytes")
    # So small a network does not shrink: the quantization parameters take more room than they save.
    expected = "shown" if len(lamp("fp32")) > len(lamp("int8")) else "refuted"
    assert claim(artifact, "size_vs_student_fp32")["verdict"] == expected


def test_every_claim_has_a_verdict_and_an_interval(tmp_path: Path) -> None:
    models = {"student_fp32": lamp("fp32"), "teacher_fp32": lamp("fp32", 60), "student_alone_fp32": lamp("fp32", 60)}
    test = [*balanced(30, 6), *[(DIM, 1)] * 3]
    claims = run(tmp_path, val=balanced(8, 0), test=test, models=models).facts["claims"]
    assert len({row["id"] for row in claims}) == len(claims) == 3 * 2 + 1 + 3
    for row in claims:
        assert row["verdict"] in ("shown", "not shown", "refuted")
        assert row["ci95"][0] <= row["estimate"] <= row["ci95"][1]
        assert row["n"] == (None if row["id"].startswith("size") else len(test))


def test_kernels_agree_on_lamps_and_ties_are_counted(tmp_path: Path) -> None:
    """At 128 both logits are equal, so that every kernel goes to class 0."""
    facts = run(tmp_path, val=balanced(8, 0), test=[*balanced(8, 0), (128, 0), (128, 1), (128, 0)]).facts
    assert (facts["kernels"]["num_images"], facts["kernels"]["num_ties"]) == (11, 3)
    assert set(facts["kernels"]["against_xnnpack"]) == {"builtin", "reference"}
    assert facts["models"]["student_int8"]["test"]["top1"] == 10 / 11


def test_the_same_input_gives_the_same_artifact(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "val": balanced(8, 2),
        "test": [*balanced(30, 6), *[(DIM, 1)] * 5],
        "models": {"teacher_fp32": lamp("fp32", 60)},
    }
    first, second = run(tmp_path, **settings), run(tmp_path, **settings)
    assert first.digest == second.digest


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"takes uint8 images of shape \(16, 16, 3\)"):
        run(tmp_path, val=balanced(4, 0), test=balanced(4, 0), models={"student_int8": tiny_file("int8")})


def test_fall_of_exactly_the_limit_holds(tmp_path: Path) -> None:
    """95 against 94 of 100: in floating point the difference is a hair above 0.01."""
    val = [*balanced(94, 4), (DIM, 1), (DARK, 1)]
    gates = Gates(max_accuracy_drop_pp=1.0)
    artifact = run(tmp_path, val=val, test=balanced(4, 0), models={"student_fp32": lamp("fp32", 60)}, gates=gates)
    (gate,) = artifact.facts["gates"]
    assert (gate["measured"], gate["held"]) == (1.0, True)


def test_auc_is_not_claimed_where_a_class_has_one_test_image(tmp_path: Path) -> None:
    """DeLong's variance of one image is no number."""
    test = [(BRIGHT, 1), *[(DARK, 0)] * 5]
    artifact = run(tmp_path, val=balanced(4, 0), test=test, models={"teacher_fp32": lamp("fp32", 60)})
    assert "auc_vs_teacher_fp32" not in [row["id"] for row in artifact.facts["claims"]]


def test_four_images_show_nothing(tmp_path: Path) -> None:
    artifact = run(tmp_path, val=balanced(4, 0), test=balanced(4, 0), models={"student_fp32": lamp("fp32", 60)})
    assert claim(artifact, "accuracy_vs_student_fp32")["verdict"] == "not shown"


# Several labels: "off" and "on" are found each on its own, by lamps whose probabilities are sigmoids.

OFF, ON, BOTH, NEITHER = (1, 0), (0, 1), (1, 1), (0, 0)


def run_several(
    tmp_path: Path, test: Sequence[Grey], gates: Gates | None = None, robustness: bool = False
) -> dict[str, Any]:
    data = make_data(
        tmp_path / "data", [(DARK, OFF), (BRIGHT, ON), (DARK, NEITHER), (BRIGHT, BOTH)], test, task="multi-label"
    )
    models = {
        "student_int8": lamp("int8", head="sigmoid"),
        "student_fp32": lamp("fp32", 60, head="sigmoid"),
        "student_int8_io": lamp("int8_io"),
    }
    (tmp_path / "out").mkdir()
    config, shipped = Verify(robustness=robustness), make_models(tmp_path / "m", models)
    artifact = stage.verify(data, [shipped], config, tmp_path / "out", gates=gates or Gates())
    return dict(artifact.facts)


def test_several_labels_by_hand(tmp_path: Path) -> None:
    # Of ten answers the shipped lamp has eight right: one of the two of BOTH, and one of NEITHER. At DIM the float lamp
    # says "on" where it is "off": two more wrong.
    test = [(DARK, OFF), (BRIGHT, ON), (BRIGHT, BOTH), (DARK, NEITHER), (DIM, OFF)]
    facts = run_several(tmp_path, test, Gates(min_label_accuracy=0.75, max_accuracy_drop_pp=1.0))
    figures = {name: rows["test"] for name, rows in facts["models"].items()}
    assert figures["student_int8"]["label_accuracy"] == 0.8
    assert figures["student_fp32"]["label_accuracy"] == 0.6
    assert "top1" not in figures["student_int8"]
    # "off" is there in three and found in two; "on" is there in two and found in both.
    assert [row["recall"] for row in figures["student_int8"]["per_class"]] == [2 / 3, 1.0]
    assert figures["student_int8_io"]["brier"] == pytest.approx(figures["student_int8"]["brier"], abs=1e-3)
    assert facts["agreement"]["student_fp32"] == 0.8
    assert [(gate["id"], gate["measured"], gate["held"]) for gate in facts["gates"]] == [
        ("max_accuracy_drop_pp", 0.0, True),
        ("min_label_accuracy", 0.75, True),
    ]


def test_worse_pictures_of_several_labels(tmp_path: Path) -> None:
    """100 is "on" for the float lamp, whose threshold is 60, up to 40 grey levels less: half of what it said."""
    test = [(DARK, OFF), (BRIGHT, ON), (BRIGHT, BOTH), (DARK, NEITHER), (DIM, ON)]
    facts = run_several(tmp_path, test, robustness=True)
    steps = {(step["kind"], step["severity"]): step for step in facts["robustness"]["steps"]}
    assert facts["robustness"]["clean"]["before"]["accuracy"] == 0.8
    assert steps["darker", 32]["before"]["accuracy"] == 0.8
    assert steps["darker", 48]["before"]["accuracy"] == 0.6  # both answers to the dim one are wrong
    assert facts["operating_points"]["models"]["student_int8"]["abstention"] is None
    assert all(row["withheld"] is None for row in facts["out_of_distribution"])
    assert facts["preprocessing_faults"]["rows"][0]["commonest"] in ("off", "on")


def test_claims_of_several_labels_count_images(tmp_path: Path) -> None:
    test = [(DARK, OFF), (BRIGHT, ON), (BRIGHT, BOTH), (DARK, NEITHER), (DIM, OFF)] * 4
    claims = {row["id"]: row for row in run_several(tmp_path, test)["claims"]}
    accuracy = claims["accuracy_vs_student_fp32"]
    # In four of twenty images both answers are right against both wrong: mean 4 / 20, n + 2 = 22.
    half = 1.959964 * np.sqrt((4 + 1) / 22 - (4 / 22) ** 2) / np.sqrt(22)
    assert (accuracy["estimate"], accuracy["n"]) == (pytest.approx(0.2), 20)
    assert accuracy["ci95"] == pytest.approx([4 / 22 - half, 4 / 22 + half], abs=1e-6)
    assert "points of label accuracy against its float form" in accuracy["text"]
    assert claims["auc_vs_student_fp32"]["estimate"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("task", "gates", "message"),
    [
        (
            "multi-label",
            Gates(min_top1=0.5),
            "gates.min_top1: models of the task multi-label have no such figure; .*_accuracy",
        ),
        ("multi-label", Gates(min_quadratic_kappa=0.5), "gates.min_quadratic_kappa: models of the task multi-label"),
        ("binary", Gates(min_quadratic_kappa=0.5), "gates.min_quadratic_kappa: models of the task binary"),
        ("ordinal", Gates(min_label_accuracy=0.5), "gates.min_label_accuracy: models of the task ordinal"),
    ],
)
def test_a_gate_on_a_figure_that_the_task_lacks_is_refused(task: str, gates: Gates, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        stage.check_task(gates, TASKS[task])
    stage.check_task(Gates(min_auc=0.5), TASKS[task])


def test_a_gate_on_kappa_is_for_grades() -> None:
    stage.check_task(Gates(min_quadratic_kappa=0.5, min_top1=0.5), TASKS["ordinal"])


# What the stage adds up from edgekd.verification, whose parts have tests of their own


def test_what_worse_and_wrong_pictures_do_is_found(tmp_path: Path) -> None:
    """A lamp looks at the mean brightness: 32 grey levels less turn it off where it saw 150."""
    test = [(DARK, 0), (150, 1)] * 20
    models = {"student_fp32": lamp("fp32", 60), "teacher_fp32": lamp("fp32", 60)}
    facts = run(tmp_path, val=balanced(8, 0), test=test, models=models, robustness=True).facts
    found = facts["robustness"]
    assert (found["before"], found["model"], found["num_images"]) == ("teacher_fp32", "student_int8", 40)
    assert found["clean"] == {role: {"accuracy": 1.0, "auc": 1.0} for role in ("before", "model")}
    steps = {(step["kind"], step["severity"]): step for step in found["steps"]}
    assert steps["darker", 16]["model"]["accuracy"] == 1.0  # 134 is still above 128
    step = steps["darker", 32]
    assert (step["model"]["accuracy"], step["before"]["accuracy"], step["extra_loss"]) == (0.5, 1.0, 0.5)
    assert step["p"] == pytest.approx(2 / 2**20)
    assert step["loses_more"]
    told = "student_int8 loses significantly more than teacher_fp32 from these steps on: darker 32 grey levels (+50.0"
    assert found["text"].startswith(told)
    assert [row["pictures"] for row in facts["out_of_distribution"]] == ["made-up noise", "drawn blood cells"]
    faults = {row["fault"]: row for row in facts["preprocessing_faults"]["rows"]}
    assert (faults["none"]["accuracy"], faults["bgr"]["note"]) == (1.0, "no effect on grey images")
    assert (faults["unit_range"]["accuracy"], faults["unit_range"]["commonest"]) == (0.5, "off")
    assert faults["inverted"]["accuracy"] == 0.0  # 225 and 105


def test_without_robustness_nothing_else_is_run(tmp_path: Path) -> None:
    facts = run(tmp_path, val=balanced(4, 0), test=balanced(4, 0)).facts
    assert not {"robustness", "out_of_distribution", "preprocessing_faults"} & set(facts)


def test_thresholds_are_chosen_on_val(tmp_path: Path) -> None:
    """The lamp's answer to 30 on val is the ninth of ten; dim images of test lie above it."""
    val = [(DARK, 0)] * 9 + [(BRIGHT, 0)] + [(BRIGHT, 1)] * 10
    test = [(DIM, 0)] * 10 + [(BRIGHT, 1)] * 10
    points = run(tmp_path, val=val, test=test).facts["operating_points"]
    on = points["models"]["student_int8"]["classes"][1]
    assert on["threshold"] == pytest.approx(probability(DARK), abs=0.02)
    assert (on["val_specificity"], on["specificity"], on["sensitivity"], on["kept"]) == (0.9, 0.0, 1.0, False)


def test_disagreements_are_in_a_table_too(tmp_path: Path) -> None:
    test = [*balanced(8, 0), (DIM, 1), (DIM, 0)]
    artifact = run(tmp_path, val=balanced(4, 0), test=test, models={"teacher_fp32": lamp("fp32", 60)})
    found = artifact.facts["disagreements"]
    assert (found["teacher"], found["num"], found["num_decisions"]) == ("teacher_fp32", 2, 10)
    assert [(row["index"], row["right"]) for row in found["listed"]] == [(8, "teacher"), (9, "student")]
    lines = (artifact.path / "disagreements.csv").read_text().splitlines()
    assert lines[0] == "index,label,true,teacher,teacher_probability,student,student_probability,right"
    assert [line.split(",")[0] for line in lines[1:]] == ["8", "9"]


def test_subgroups_and_patients_of_the_data(tmp_path: Path) -> None:
    """Ten images of each sex, two of each patient; the shipped lamp is wrong in the dim ones, all of which are "f"."""
    test = [(DIM, 1)] * 10 + [(DARK, 0), (BRIGHT, 1)] * 5
    data = make_data(tmp_path / "data", balanced(4, 0), test)
    (tmp_path / "data" / "facts.json").unlink()
    columns = {"test": {"sex": ["f"] * 10 + ["m"] * 10}, "train": {}, "val": {}}
    (tmp_path / "data" / "columns.json").write_text(json.dumps(columns))
    for split, count in (("train", 4), ("val", 4), ("test", 20)):
        np.save(tmp_path / "data" / f"{split}_groups.npy", np.arange(count) // 2)
    data = Artifact.seal(data.path, data.facts)
    models = make_models(tmp_path / "m", {"student_int8": lamp("int8"), "teacher_fp32": lamp("fp32", 60)})
    (tmp_path / "out").mkdir()
    facts = stage.verify(data, [models], Verify(robustness=False), tmp_path / "out", gates=Gates()).facts
    rows = {row["value"]: row for row in facts["subgroups"]["groups"]}
    assert [(rows[sex]["accuracy"], rows[sex]["before"], rows[sex]["verdict"]) for sex in "fm"] == [
        (0.0, 1.0, "lost"),
        (1.0, 1.0, "no difference shown"),
    ]
    assert rows["f"]["differs"]
    assert any(text.startswith("test has 20 images of 10 patients") for text in facts["warnings"])


def test_int8_units_come_from_the_form_with_integer_output(tmp_path: Path) -> None:
    models = {"student_int8": lamp("int8"), "student_int8_io": lamp("int8_io")}
    both = run(tmp_path, val=balanced(4, 0), test=balanced(8, 0), models=models).facts["kernels"]["against_xnnpack"]
    alone = run(tmp_path, val=balanced(4, 0), test=balanced(8, 0)).facts["kernels"]["against_xnnpack"]
    assert all(isinstance(row["max_int8_difference"], int) for row in both.values())
    assert all(row["max_int8_difference"] is None for row in alone.values())
