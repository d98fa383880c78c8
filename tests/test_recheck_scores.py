"""A run's figures against the raw scores beside it: what is true holds, and every lie is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekd
from edgekd import metrics
from edgekd.artifact import sha256_file
from edgekd.claims import claims
from edgekd.config.verify import Verify
from edgekd.errors import DataError
from edgekd.options import to_table
from edgekd.recheck.check import Check
from edgekd.recheck.scores import score_checks
from edgekd.tasks import TASKS
from edgekd.verification import SCORES_FILE
from edgekd.verification.findings import from_scores
from edgekd.verification.scores import read_scores, write_scores

NAMES, TASK = ["a", "b"], TASKS["binary"]
Document = dict[str, Any]


@pytest.fixture
def told(tmp_path: Path) -> Document:
    """A report of two models, true of the scores in ``tmp_path``."""
    generator, scores = np.random.default_rng(0), {}
    labels = {split: (np.arange(count) % 2).astype(np.int64) for split, count in (("val", 60), ("test", 90))}
    for name, noise in (("teacher_fp32", 0.5), ("student_int8", 0.8)):
        scores[name] = {}
        for split, truth in labels.items():
            on = 1 / (1 + np.exp(-(2 * truth - 1 + generator.normal(0, noise, len(truth)))))
            scores[name][split] = np.stack([1 - on, on], axis=1).astype(np.float32)
    write_scores(tmp_path / SCORES_FILE, scores, labels)
    sizes, config = {"teacher_fp32": 9000, "student_int8": 1000}, Verify(margin_pp=4.0)
    on_test = {name: rows["test"] for name, rows in scores.items()}
    rows = [
        {
            **{"id": name, "shipped": name == "student_int8", "tflite_bytes": sizes[name]},
            **{split: metrics.evaluate(scores[name][split], labels[split], NAMES, TASK) for split in labels},
        }
        for name in scores
    ]
    return {
        **{"edgekd_version": edgekd.__version__, "recipe": {"verify": to_table(config)}, "models": rows},
        "dataset": {"task": "binary", "class_names": NAMES},
        "claims": claims("student_int8", on_test, labels["test"], sizes, config, TASK),
        "scores": {"file": SCORES_FILE, "sha256": sha256_file(tmp_path / SCORES_FILE)},
        **from_scores("student_int8", scores, labels, NAMES, TASK, config),
    }


def faults(checks: list[Check]) -> list[str]:
    return [check.text for check in checks if check.held is False]


def test_a_true_report_holds(told: Document, tmp_path: Path) -> None:
    checks = list(score_checks(tmp_path, told))
    assert {check.about: check.held for check in checks} == {"scores": True, "claims on test": True, "classes": True}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["models"][1]["test"].update(auc=0.99), "student_int8: test.auc is"),
        (lambda d: d["models"][0]["val"]["per_class"][1].update(specificity=0.99), "val.per_class[1].specificity is"),
        (lambda d: d["claims"][0].update(mcnemar_p=0.5), "claim accuracy_vs_teacher_fp32: mcnemar_p is"),
        (lambda d: d["claims"][1].update(delong_p=0.5), "claim auc_vs_teacher_fp32: delong_p is"),
        (lambda d: d["claims"][0].update(margin=0.2), "claim accuracy_vs_teacher_fp32: margin is 0.04, 0.2 is stated"),
        (lambda d: d["claims"][0].update(smallest_margin=0.001), "smallest_margin is"),
        (lambda d: d["recall_changes"][0]["classes"][0].update(p_holm=0.001), "recall_changes[0].classes[0].p_holm is"),
        (lambda d: d["disagreements"].update(num=0), "disagreements.num is"),
        (
            lambda d: d["operating_points"]["models"]["student_int8"]["classes"][0].update(sensitivity=1.0),
            "operating_points.models.student_int8.classes[0].sensitivity is",
        ),
    ],
)
def test_every_lie_is_found(change: Callable[[Document], object], words: str, told: Document, tmp_path: Path) -> None:
    change(told)
    (fault,) = faults(list(score_checks(tmp_path, told)))
    assert words in fault


def test_scores_that_were_changed_are_not_believed(told: Document, tmp_path: Path) -> None:
    path = tmp_path / SCORES_FILE
    path.write_bytes(path.read_bytes() + b"\0")
    (check,) = score_checks(tmp_path, told)
    assert (check.held, "SHA-256" in check.text) == (False, True)
    path.unlink()
    (check,) = score_checks(tmp_path, told)
    assert (check.held, check.text) == (False, "scores.npz is missing; build the run again")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_a_file_of_another_kind_is_said_to_be_one(content: bytes, told: Document, tmp_path: Path) -> None:
    (tmp_path / SCORES_FILE).write_bytes(content)
    told["scores"]["sha256"] = sha256_file(tmp_path / SCORES_FILE)
    (check,) = score_checks(tmp_path, told)
    assert (check.held, "scores.npz" in check.text) == (False, True)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / SCORES_FILE, labels__val=np.array([{}], object))
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(tmp_path / SCORES_FILE)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x__val": np.zeros((2, 2)), "labels__val": np.zeros(2)}, "lack x or its labels on test"),
        (
            {"x__val": np.zeros((2, 2)), "labels__val": np.zeros(3), "x__test": np.zeros(2)},
            "lack x or its labels on val",
        ),
        ({"labels__val": np.zeros(3)}, "hold no model"),
    ],
)
def test_scores_that_are_not_whole(arrays: dict[str, Any], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / SCORES_FILE, **arrays)
    with pytest.raises(DataError, match=words):
        read_scores(tmp_path / SCORES_FILE)


def test_claims_of_another_version_are_left_alone(told: Document, tmp_path: Path) -> None:
    told["edgekd_version"] = "0.0.1"
    told["claims"][0]["mcnemar_p"] = 0.5
    checks = {check.about: check.held for check in score_checks(tmp_path, told)}
    assert checks == {"scores": True, "claims on test": None, "classes": None}


def test_a_run_from_before_has_none(told: Document, tmp_path: Path) -> None:
    (check,) = score_checks(tmp_path, {**told, "scores": None})
    assert check.held is None
