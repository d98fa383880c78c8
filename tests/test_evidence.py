"""What the report shows of single decisions, on five images whose every figure is counted by hand."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import evidence, metrics
from edgekd.artifact import Artifact
from edgekd.config.report import Report
from edgekd.tasks import MULTI_CLASS, MULTI_LABEL

NAMES = ("cat", "dog", "owl")
LABELS = np.array([0, 1, 2, 1, 2])
SHIPPED = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.05, 0.9, 0.05], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]])
FLOAT = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.5, 0.2, 0.3]])
PROBS = {"student_int8": SHIPPED, "student_fp32": FLOAT, "teacher_fp32": np.eye(3)[LABELS]}
IMAGES = np.arange(5 * 8 * 8 * 3, dtype=np.int64).reshape(5, 8, 8, 3).astype(np.uint8)


def found(num_cases: int = 8, thumbnails: bool = False) -> dict[str, object]:
    made = evidence.evidence(
        PROBS, LABELS, IMAGES, NAMES, MULTI_CLASS, shipped="student_int8", num_cases=num_cases, thumbnails=thumbnails
    )
    return made


def test_confusion_by_hand() -> None:
    # Of the dogs one was taken for a cat, of the owls one for a dog.
    assert evidence.confusion(SHIPPED, LABELS, MULTI_CLASS).tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert [row["model"] for row in found()["confusion"]] == ["teacher_fp32", "student_fp32", "student_int8"]


def test_confusion_of_labels_is_two_by_two_each() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    probs = np.array([[0.9, 0.2], [0.4, 0.8], [0.6, 0.1], [0.3, 0.2]])
    # The first label: one found, one missed, one false alarm; the second: one found, one missed, two rightly not there.
    assert evidence.confusion(probs, labels, MULTI_LABEL).tolist() == [[[1, 1], [1, 1]], [[2, 0], [1, 1]]]


def test_reliability_by_hand() -> None:
    low, high = evidence.reliability(SHIPPED, LABELS, MULTI_CLASS, num_bins=2)
    assert (low["low"], low["high"], low["n"], low["confidence"], low["accuracy"]) == (0, 0.5, 1, 0.4, 1)
    # 0.8 and 0.7 are right, 0.6 and 0.9 are not.
    assert (high["n"], high["accuracy"]) == (4, 0.5)
    assert high["confidence"] == pytest.approx(0.75)
    # Wilson 1927 of 2 in 4: the centre is 0.5, the half width 1.96 / 7.8415 * sqrt(1 + 0.9604).
    assert high["accuracy_ci95"] == pytest.approx([0.15004, 0.84996], abs=1e-4)
    gaps = sum(row["n"] / 5 * abs(row["accuracy"] - row["confidence"]) for row in (low, high))
    assert gaps == pytest.approx(metrics.ece(SHIPPED, LABELS, num_bins=2))
    assert gaps == pytest.approx(0.32)


def test_mistakes_come_the_surest_first_and_changes_the_largest() -> None:
    cases = found()["cases"]
    assert [row["index"] for row in cases["mistakes"]] == [2, 1]
    first = cases["mistakes"][0]
    assert (first["label"], first["model"], first["before"]) == (
        "owl",
        {"decided": "dog", "prob": 0.9},
        {"decided": "dog", "prob": 0.8},
    )
    assert first["teacher"] == {"decided": "owl", "prob": 1.0}
    assert first["pixels_sha256"] == hashlib.sha256(IMAGES[2].tobytes()).hexdigest()[:12]
    # Image 1 moved by 0.3 and went wrong, image 4 by 0.2 and was mended.
    assert [row["index"] for row in cases["changed"]] == [1, 4]
    counts = {name: value for name, value in cases.items() if name.startswith("num_")}
    assert counts == {"num_decisions": 5, "num_mistakes": 2, "num_changed": 2, "num_mended": 1, "num_broken": 1}


def test_of_labels_a_case_is_one_label_of_an_image() -> None:
    labels = np.array([[1, 0], [0, 0]])
    probs = {"student_int8": np.array([[0.2, 0.1], [0.3, 0.9]])}
    made = evidence.evidence(
        probs,
        labels,
        IMAGES[:2],
        ("mass", "oedema"),
        MULTI_LABEL,
        shipped="student_int8",
        num_cases=8,
        thumbnails=False,
    )
    cases = made["cases"]
    told = [(row["index"], row["label"], row["model"]["decided"]) for row in cases["mistakes"]]
    # Sure of the second label by 0.9, and of the first one's absence by 0.8.
    assert told == [(1, "no oedema", "oedema"), (0, "mass", "no mass")]
    assert (cases["num_decisions"], cases["before"], cases["changed"]) == (4, None, [])


def test_no_more_cases_than_asked_for() -> None:
    cases = found(num_cases=1)["cases"]
    assert [row["index"] for row in cases["mistakes"]] == [2]
    assert (cases["num_mistakes"], len(cases["changed"])) == (2, 1)


def test_thumbnails_are_the_images_or_nothing() -> None:
    shown = found(thumbnails=True)["cases"]["mistakes"][0]["thumbnail"]
    picture = Image.open(io.BytesIO(base64.b64decode(shown.removeprefix("data:image/png;base64,"))))
    assert np.array_equal(np.asarray(picture), IMAGES[2])
    assert all(row["thumbnail"] is None for row in found()["cases"]["mistakes"])
    large = Image.open(
        io.BytesIO(base64.b64decode(evidence.thumbnail(np.zeros((200, 100, 3), np.uint8)).split(",")[1]))
    )
    assert large.size == (48, 96)


@pytest.mark.parametrize(
    ("setting", "public", "shown"),
    [("public", True, True), ("public", False, False), ("always", False, True), ("never", True, False)],
)
def test_own_images_are_shown_only_where_the_recipe_says_so(
    setting: str, public: bool, shown: bool, tmp_path: Path
) -> None:
    for split in ("train", "val", "test"):
        np.save(tmp_path / f"{split}_images.npy", IMAGES)
        np.save(tmp_path / f"{split}_labels.npy", LABELS)
    np.save(tmp_path / "calibration_indices.npy", np.array([0, 1]))
    data = Artifact(tmp_path, "0", {"class_names": list(NAMES), "task": "multi-class", "public": public})
    arrays = {f"{name}__{split}": rows for name, rows in PROBS.items() for split in ("val", "test")}
    np.savez(tmp_path / "scores.npz", **arrays, labels__val=LABELS, labels__test=LABELS)
    made = evidence.of_run(data, Artifact(tmp_path, "0", {}), "student_int8", Report(thumbnails=setting))
    assert made["confusion"] == found()["confusion"]
    assert [row["thumbnail"] is not None for row in made["cases"]["mistakes"]] == [shown, shown]
