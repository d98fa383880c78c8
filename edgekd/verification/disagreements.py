"""The images on which teacher and student disagree, the worst first."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.tasks import THRESHOLD, Floats, Labels, Task

COLUMNS = ("index", "label", "true", "teacher", "teacher_probability", "student", "student_probability", "right")

Row = Mapping[str, Any]


def disagreements(
    teacher: Floats, student: Floats, labels: Labels, class_names: Sequence[str], task: Task
) -> list[dict[str, Any]]:
    """Every decision in which two models differ, the most confident mistakes of the student first.

    Then come those in which neither is right, and those in which the teacher alone is wrong, each by the confidence of
    the student. An image is named by its place in the split, and by nothing that could tell whose it is.

    Args:
        teacher, student: probabilities on the same images, shape ``(n, K)``.
        labels: shape ``(n,)``, or ``(n, K)`` where an image may have several.
        class_names: in the order of the outputs.
        task: what the labels mean.

    Returns:
        Of each the columns ``COLUMNS``. A probability is that of the answer beside it. ``label`` is the one in question
        where an image may have several, and empty else; the answers are then "present" and "absent".
    """
    rows = _of_labels(teacher, student, labels, class_names) if task.several else []
    if not task.several:
        answers = np.argmax(teacher, axis=1), np.argmax(student, axis=1)
        for index in np.flatnonzero(answers[0] != answers[1]):
            before, after = (int(answer[index]) for answer in answers)
            names = [class_names[number] for number in (int(labels[index]), before, after)]
            rows.append(_row(int(index), "", names, teacher[index, before], student[index, after]))
    order = {"teacher": 0, "neither": 1, "student": 2}
    return sorted(rows, key=lambda row: (order[row["right"]], -row["student_probability"], row["index"], row["label"]))


def _of_labels(teacher: Floats, student: Floats, labels: Labels, class_names: Sequence[str]) -> list[dict[str, Any]]:
    said = teacher > THRESHOLD, student > THRESHOLD
    rows = []
    for index, label in np.argwhere(said[0] != said[1]):
        there = [bool(labels[index, label]), *(bool(part[index, label]) for part in said)]
        names = ["present" if part else "absent" for part in there]
        probs = [
            probability if part else 1 - probability
            for part, probability in zip(there[1:], (teacher[index, label], student[index, label]), strict=True)
        ]
        rows.append(_row(int(index), class_names[label], names, *probs))
    return rows


def _row(index: int, label: str, names: Sequence[str], before: float, after: float) -> dict[str, Any]:
    true, teacher, student = names
    right = "teacher" if teacher == true else "student" if student == true else "neither"
    values = (index, label, true, teacher, float(before), student, float(after), right)
    return dict(zip(COLUMNS, values, strict=True))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write them all, with a head."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
