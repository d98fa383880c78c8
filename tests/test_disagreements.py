"""Where two models disagree: the order, the columns, and no name but a place."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from edgekd.tasks import TASKS
from edgekd.verification.disagreements import COLUMNS, disagreements, write_csv

NAMES = ["cat", "dog", "hen"]


def test_most_confident_mistakes_first() -> None:
    labels = np.array([0, 0, 1, 2, 0, 1])
    teacher = np.array([[8, 1, 1], [7, 2, 1], [1, 8, 1], [6, 3, 1], [1, 8, 1], [1, 8, 1]]) / 10
    student = np.array([[3, 6, 1], [1, 0, 9], [1, 7, 2], [1, 9, 0], [9, 1, 0], [5, 4, 1]]) / 10
    rows = disagreements(teacher, student, labels, NAMES, TASKS["multi-class"])
    # Image 2: the same answer. 1, 0, 5: the student alone is wrong. 3: both are. 4: the teacher is.
    assert [(row["index"], row["right"]) for row in rows] == [
        (1, "teacher"),
        (0, "teacher"),
        (5, "teacher"),
        (3, "neither"),
        (4, "student"),
    ]
    expected = (1, "", "cat", "cat", 0.7, "hen", 0.9, "teacher")
    assert tuple(rows[0][name] for name in COLUMNS) == expected


def test_labels_disagree_one_by_one() -> None:
    labels = np.array([[1, 0], [0, 0]])
    teacher, student = np.array([[0.9, 0.2], [0.1, 0.1]]), np.array([[0.3, 0.2], [0.1, 0.75]])
    rows = disagreements(teacher, student, labels, ["x", "y"], TASKS["multi-label"])
    assert [(row["index"], row["label"], row["true"], row["student"]) for row in rows] == [
        (1, "y", "absent", "present"),
        (0, "x", "present", "absent"),
    ]
    assert [(row["teacher_probability"], row["student_probability"]) for row in rows] == [
        (pytest.approx(0.9), 0.75),
        (0.9, pytest.approx(0.7)),
    ]


def test_models_that_agree_leave_a_head_alone(tmp_path: Path) -> None:
    probs = np.eye(3)
    rows = disagreements(probs, probs, np.array([0, 1, 1]), NAMES, TASKS["multi-class"])
    write_csv(tmp_path / "rows.csv", rows)
    assert (rows, (tmp_path / "rows.csv").read_text()) == ([], ",".join(COLUMNS) + "\n")


def test_the_table_reads_back(tmp_path: Path) -> None:
    names = ['a, "b"', "c\nd"]
    rows = disagreements(np.eye(2), np.eye(2)[::-1], np.array([0, 1]), names, TASKS["binary"])
    write_csv(tmp_path / "rows.csv", rows)
    with (tmp_path / "rows.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["true"] for row in found] == names
    assert [int(row["index"]) for row in found] == [0, 1]
