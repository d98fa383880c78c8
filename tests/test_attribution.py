"""The waterfall: which models are its steps, and what each did against the one before, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekd import attribution
from edgekd.tasks import TASKS

BINARY, SEVERAL = TASKS["binary"], TASKS["multi-label"]

ALL = ["student_int8_io", "student_int8", "student_fp32", "pruned_fp32", "distilled_int8", "distilled_fp32"]


def test_steps_are_in_the_order_of_the_chain() -> None:
    assert attribution.chain([*ALL, "student_alone_fp32", "teacher_fp32"]) == [
        *("teacher_fp32", "student_alone_fp32", "distilled_fp32", "pruned_fp32", "student_fp32", "student_int8"),
    ]
    assert attribution.chain(["student_int8", "student_fp16"]) == ["student_int8"]
    assert attribution.chain(["student_mixed", "student_int8", "x"]) == ["student_int8", "student_mixed"]
    assert attribution.chain(["student_int8", "teacher_given"]) == ["teacher_given", "student_int8"]


def test_what_is_shipped_is_compared_with_the_unpruned_in_int8_too() -> None:
    assert attribution.pairs(ALL) == [
        ("pruned_fp32", "distilled_fp32"),
        ("student_fp32", "pruned_fp32"),
        ("student_int8", "student_fp32"),
        ("student_int8", "distilled_int8"),
    ]
    # With layers in float that is the mixed model.
    assert attribution.pairs([*ALL, "student_mixed"])[-2:] == [
        ("student_mixed", "student_int8"),
        ("student_mixed", "distilled_int8"),
    ]
    assert attribution.pairs(["student_int8", "student_fp32"]) == [("student_int8", "student_fp32")]


def says(answers: str) -> np.ndarray:
    """Probabilities of a model that says the class of each digit."""
    return np.eye(2, dtype=np.float32)[[int(digit) for digit in answers]] * 0.5 + 0.25


def test_changes_of_accuracy_are_paired_by_image() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    # Of eight right: teacher 8, distilled 5, shipped 6, which has one that distilled has not and loses none.
    probs = {
        "student_int8": says("00011101"),
        "teacher_fp32": says("00001111"),
        "distilled_fp32": says("00111101"),
        "student_fp16": says("11110000"),
    }
    to_distilled, to_shipped = attribution.accuracy_changes(probs, labels, BINARY)
    assert (to_distilled["model"], to_distilled["before"]) == ("distilled_fp32", "teacher_fp32")
    assert (to_shipped["model"], to_shipped["before"]) == ("student_int8", "distilled_fp32")
    assert to_distilled["estimate"] == pytest.approx(-3 / 8)
    assert to_shipped["estimate"] == pytest.approx(1 / 8)
    for change in (to_distilled, to_shipped):
        assert change["ci95"][0] < change["estimate"] < change["ci95"][1]
    # Tango's ends where all discordant images lie on one side: the score of d is 1.96 at the other end. Without a
    # discordant image they are +-3.84 / (n + 3.84).
    same = attribution.accuracy_changes({**probs, "student_int8": probs["distilled_fp32"]}, labels, BINARY)[1]
    end = 1.959964**2 / (8 + 1.959964**2)
    assert same["ci95"] == pytest.approx([-end, end], abs=1e-6)


def test_an_image_whose_labels_are_right_in_part_counts_in_part() -> None:
    labels = np.array([[0, 1], [1, 1], [0, 0]])
    yes = np.array([[0.1, 0.9], [0.9, 0.1], [0.9, 0.9]], np.float32)  # 2, 1 and 0 of 2 right
    (change,) = attribution.accuracy_changes({"student_fp32": yes, "student_int8": 1 - yes}, labels, SEVERAL)
    assert change["estimate"] == pytest.approx((0 + 1 + 2) / 6 - (2 + 1 + 0) / 6)


def row(id: str, top1: float, auc: float, sizes: tuple[int, int], p50: float | None, steps: str = "") -> dict[str, Any]:
    return {
        **{"id": id, "steps": steps.split(), "test": {"top1": top1, "auc": auc}},
        **{"tflite_bytes": sizes[0], "gzip_bytes": sizes[1]},
        "latency": [] if p50 is None else [{"p50_ms": p50}],
    }


def test_the_waterfall_by_hand() -> None:
    rows = [
        row("teacher_fp32", 0.9, 0.95, (8000, 6000), 4.0),
        row("student_fp32", 0.875, 0.925, (2000, 1500), 0.5, "distilled channel_pruned finetuned"),
        row("student_fp16", 0.875, 0.925, (1000, 900), 0.5),
        row("student_int8", 0.85, 0.9375, (500, 300), 0.25, "distilled channel_pruned finetuned ptq"),
    ]
    changes = [
        {"model": "student_fp32", "before": "teacher_fp32", "estimate": -0.025, "ci95": [-0.05, 0.01]},
        {"model": "student_int8", "before": "student_fp32", "estimate": -0.025, "ci95": [-0.04, 0.02]},
    ]
    ratios = [
        {"model": "student_int8", "baseline": "teacher_fp32", "ratio": 0.0625, "ci95": [0.05, 0.075]},
        {"model": "student_int8", "baseline": "student_fp32", "ratio": 0.51, "ci95": None},
    ]
    first, second, third = attribution.steps(rows, changes, ratios, BINARY)
    assert first == {
        **{"step": "teacher", "model": "teacher_fp32", "accuracy": 0.9, "auc": 0.95, "tflite_bytes": 8000},
        **{"gzip_bytes": 6000, "p50_ms": 4.0, "change": None},
    }
    assert (second["step"], second["model"], second["p50_ms"]) == ("fine-tuned", "student_fp32", 0.5)
    assert second["change"] == {
        **{"before": "teacher_fp32", "accuracy": -0.025, "accuracy_ci95": [-0.05, 0.01]},
        **{"auc": pytest.approx(-0.025), "tflite_bytes_ratio": 0.25, "gzip_bytes_ratio": 0.25},
        **{"p50_ratio": None, "p50_ratio_ci95": None},
    }
    assert (third["step"], third["model"]) == ("INT8", "student_int8")
    assert third["change"]["p50_ratio"] == 0.51  # paired in the benchmark, and no quotient of two medians
    assert third["change"]["tflite_bytes_ratio"] == 0.25
    assert third["change"]["gzip_bytes_ratio"] == 0.2


@pytest.mark.parametrize(
    ("steps", "title"),
    [
        ("distilled", "distilled"),
        ("distilled finetuned pruned", "pruned"),
        ("distilled channel_pruned", "fine-tuned"),
        ("distilled clustered qat", "clustered, trained as INT8"),
        ("distilled qat", "trained as INT8"),
    ],
)
def test_the_float_student_is_called_by_its_last_step(steps: str, title: str) -> None:
    rows = [row("student_fp32", 0.5, 0.5, (2, 1), None, steps), row("student_int8", 0.5, 0.5, (1, 1), None)]
    changes = [{"model": "student_int8", "before": "student_fp32", "estimate": 0.0, "ci95": [0.0, 0.0]}]
    first, second = attribution.steps(rows, changes, [], BINARY)
    assert first["step"] == title
    assert (first["p50_ms"], second["change"]["p50_ratio"]) == (None, None)


def test_one_model_is_no_waterfall() -> None:
    assert attribution.steps([row("student_int8", 0.5, 0.5, (1, 1), None)], [], [], BINARY) == []
