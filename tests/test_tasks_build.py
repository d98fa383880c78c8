"""Multi-label and ordinal data from an NPZ to the bundle's self-test, on networks small enough for a minute."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekd
from edgekd import pipeline
from edgekd.api import load_recipe
from edgekd.errors import UserError

TINY = {
    "data.image_size": 16,
    "data.num_calibration_samples": 16,
    "num_threads": 1,
    "teacher.model": "resnet_small",
    "teacher.training.epochs": 2,
    "teacher.training.batch_size": 16,
    "teacher.views.mixup_alpha": 0.2,
    "distill.student": "ds_cnn",
    "distill.width_multiplier": 0.25,
    "distill.num_views": 2,
    "distill.train_alone": True,
    "distill.training.epochs": 8,
    "distill.finetune_epochs": 1,
    "distill.training.batch_size": 16,
    "distill.training.learning_rate": 0.05,
    "distill.training.class_weights": "balanced",
    "distill.views.cutmix_alpha": 1.0,
    "prune.training.epochs": 1,
    "prune.training.batch_size": 16,
    "prune.frequency": 1,
    "quantize.variants": ["fp32", "int8", "int8_io"],
    "gates.min_auc": 0.6,
    "benchmark.num_processes": 1,
    "benchmark.num_runs": 10,
    "benchmark.warmup_runs": 2,
}
COUNTS = {"train": 96, "val": 32, "test": 40}


def findings(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three findings that come and go on their own: each colour is bright, or it is not."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(count)[:, None] >> np.arange(3)) % 2
    images = generator.integers(0, 90, (count, 16, 16, 3)) + 140 * labels[:, None, None, :]
    return images.astype(np.uint8), labels.astype(np.uint8)


def grades(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four grades, each brighter than the one below."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = generator.integers(0, 40, (count, 16, 16)) + 65 * labels[:, None, None]
    return images.astype(np.uint8), labels.astype(np.uint8)[:, None]


def npz(path: Path, make: Any) -> Path:
    arrays = {}
    for seed, (split, count) in enumerate(COUNTS.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make(count, seed)
    np.savez(path, **arrays)
    return path


def build(folder: Path, data: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    settings = [f"--set={key}={json.dumps(value)}" for key, value in {**TINY, **changes}.items()]
    paths = ["--data", str(data), "--out", str(folder / "run"), "--cache-dir", str(folder / "cache")]
    command = [sys.executable, "-m", "edgekd", "build", *paths, *settings]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def report(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr + done.stdout
    document: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text())
    return document


def test_multi_label_from_images_to_the_self_test(tmp_path: Path) -> None:
    done = build(tmp_path, npz(tmp_path / "findings.npz", findings), **{"gates.min_label_accuracy": 0.55})
    document = report(tmp_path, done)
    assert document["dataset"]["task"] == "multi-label"
    assert "label accuracy" in done.stdout
    assert "top-1" not in done.stdout + (tmp_path / "run" / "report.md").read_text()
    shipped = next(row for row in document["models"] if row["shipped"])
    assert "top1" not in shipped["test"]
    assert [row["name"] for row in shipped["test"]["per_class"]] == ["label_0", "label_1", "label_2"]
    assert {gate["id"]: gate["held"] for gate in document["gates"]}["min_label_accuracy"]
    claims = {claim["id"] for claim in document["claims"]}
    assert {"accuracy_vs_student_fp32", "auc_vs_teacher_fp32", "distillation_gain_auc"} <= claims
    # int8 logits go through the same head as the float model's: their figures are close, as a softmax's would not be.
    models = {row["id"]: row["test"] for row in document["models"]}
    assert models["student_int8_io"]["brier"] == pytest.approx(models["student_int8"]["brier"], abs=0.02)

    bundle = edgekd.load_bundle(tmp_path / "run" / "bundle")
    assert bundle.self_test() == []
    assert (bundle.manifest["task"], bundle.manifest["decision"]["threshold"]) == ("multi-label", 0.5)
    images, labels = findings(40, 2)
    predictions = bundle.predict(list(images))
    sums = np.array([answer.probs.sum() for answer in predictions])
    assert np.ptp(sums) > 0.5, "independent probabilities do not sum to 1"
    found = np.array([[name in answer.findings for name in bundle.labels] for answer in predictions])
    assert np.mean(found == labels) == pytest.approx(shipped["test"]["label_accuracy"], abs=1e-9)
    for answer in predictions:
        assert list(answer.findings) == sorted(answer.findings, key=lambda name: -answer.probs[int(name[-1])])


def test_ordinal_from_images_to_the_self_test(tmp_path: Path) -> None:
    changes = {"data.task": "ordinal", "gates.min_quadratic_kappa": 0.3, "prune.method": "none"}
    changes["distill.train_alone"] = False
    document = report(tmp_path, build(tmp_path, npz(tmp_path / "grades.npz", grades), **changes))
    assert document["dataset"]["task"] == "ordinal"
    shipped = next(row for row in document["models"] if row["shipped"])
    assert 0 <= shipped["test"]["mae"] < 1.25, "what a model that knows nothing would have"
    assert "quadratic-weighted kappa" in (tmp_path / "run" / "report.md").read_text()
    assert {gate["id"]: gate["held"] for gate in document["gates"]}["min_quadratic_kappa"]

    bundle = edgekd.load_bundle(tmp_path / "run" / "bundle")
    assert bundle.self_test() == []
    images, labels = grades(40, 2)
    predictions = bundle.predict(list(images))
    for answer in predictions:
        assert answer.probs.sum() == pytest.approx(1.0, abs=1e-5)
        assert answer.findings == (answer.label,)
    predicted = np.array([bundle.labels.index(answer.label) for answer in predictions])
    assert np.mean(np.abs(predicted - labels[:, 0])) == pytest.approx(shipped["test"]["mae"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distill.loss": "dkd"}, 'distill.loss "dkd" compares distributions over classes, and a multi-label task has'),
        ({"gates.min_top1": 0.5}, "gates.min_top1: models of the task multi-label have no such figure"),
        ({"bundle.min_confidence": 0.5}, "bundle.min_confidence = 0.5: a multi-label model answers for each label"),
        ({"data.task": "ordinal"}, 'data.task = "ordinal": findings has 3 classes and labels of shape (n, labels)'),
    ],
)
def test_what_makes_no_sense_for_several_labels_is_refused_before_anything_is_trained(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    chosen = load_recipe(None, data=npz(tmp_path / "findings.npz", findings), overrides={**TINY, **changes})
    with pytest.raises(UserError, match=re.escape(message)):
        pipeline.resolve(chosen)
