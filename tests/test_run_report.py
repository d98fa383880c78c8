"""The report as frozen rows: what they hold is what stands in the file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import DataError
from edgekd.run_report import Claim, Gate, Latency, Report, Scores

ROOT = Path(__file__).resolve().parents[1]


def scores(**changes: Any) -> dict[str, Any]:
    return {
        **{"auc": 0.9, "macro_recall": 0.75, "ece": 0.05, "brier": 0.2, "n": 20},
        "per_class": [
            {"name": "normal", "n": 8, "recall": 0.5, "recall_ci95": [0.2, 0.8]},
            {"name": "ill", "n": 12, "recall": 1.0, "recall_ci95": [0.75, 1.0]},
        ],
        **(changes or {"top1": 0.8}),
    }


def model(id: str, *, shipped: bool = False, **changes: Any) -> dict[str, Any]:
    return {
        **{"id": id, "role": "student", "shipped": shipped, "steps": ["distilled", "ptq"], "dtype": "int8"},
        **{"input_type": "uint8", "output_type": "float32", "file": f"models/{id}.tflite", "sha256": "0" * 64},
        **{"tflite_bytes": 100, "gzip_bytes": 60, "num_params": 50, "macs": 900, "measured_sparsity": 0.25},
        **{"val": scores(), "test": scores(), "latency": [], "peak_rss_bytes": None},
        **changes,
    }


def document(*models: Mapping[str, Any]) -> dict[str, Any]:
    claim = {
        **{"id": "size", "text": "it is smaller", "verdict": "shown", "estimate": 2.0},
        **{"ci95": [1.5, 2.5], "margin": 1.0, "n": None, "mcnemar_p": 0.5},
    }
    return {
        "schema_version": 1,
        "seed": 3,
        "dataset": {"name": "made", "warnings": ["few images"]},
        "models": list(models),
        "claims": [claim],
        "gates": [{"id": "min_auc", "limit": 0.8, "measured": 0.9, "held": True}],
    }


def test_rows_hold_what_the_file_says() -> None:
    timed = {
        **{"target": "host", "kernel": "xnnpack", "p50_ms": 1.5, "p50_ci95_ms": [1.25, 1.75], "p90_ms": 2.0},
        **{"p99_ms": None, "init_ms": 10.0, "num_runs": 200, "num_processes": 2, "num_threads": 1},
    }
    report = Report(document(model("teacher_fp32"), model("student_int8", shipped=True, latency=[timed])))
    teacher, student = report.models
    assert (teacher.id, teacher.latency, student.steps) == ("teacher_fp32", (), ("distilled", "ptq"))
    assert student.test == Scores(0.8, 0.9, {"normal": 0.5, "ill": 1.0}, 0.05, 20)
    assert student.latency == (Latency("host", "xnnpack", 1.5, (1.25, 1.75), 2.0, None, 10.0),)
    assert report.shipped is student
    assert report.model("teacher_fp32") is teacher
    assert report.claims == (Claim("size", "it is smaller", "shown", 2.0, (1.5, 2.5), 1.0, None),)
    assert report.gates == (Gate("min_auc", 0.8, 0.9, True),)
    assert report.warnings == ("few images",)


def test_one_process_has_no_interval_and_labels_have_their_own_accuracy() -> None:
    timed = {
        **{"target": "host", "kernel": "xnnpack", "p50_ms": 1.5, "p50_ci95_ms": None, "p90_ms": None},
        **{"p99_ms": None, "init_ms": 10.0},
    }
    (only,) = Report(document(model("a", latency=[timed], test=scores(label_accuracy=0.7)))).models
    assert only.latency[0].p50_ci95_ms is None
    assert only.test.accuracy == 0.7


def test_it_is_the_mapping_that_the_file_is() -> None:
    content = document(model("student_int8"))
    report = Report(content)
    assert dict(report) == content
    assert report == content
    assert report["models"][0]["sha256"] == "0" * 64
    assert ("seed" in report, report.get("budget"), len(report)) == (True, None, 6)


def test_nothing_can_be_changed() -> None:
    report = Report(document(model("student_int8")))
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.content = {}  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.models[0].shipped = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        report["seed"] = 1  # type: ignore[index]


def test_an_unknown_model_names_the_nearest() -> None:
    report = Report(document(model("student_int8")))
    with pytest.raises(DataError, match=r'no model "student_int_8"; did you mean "student_int8"\?'):
        report.model("student_int_8")


def test_the_report_of_the_readme_is_read(tmp_path: Path) -> None:
    """Figures as the README's table has them."""
    report = Report.read(ROOT / "benchmarks" / "results" / "pneumoniamnist.json")
    assert (report.shipped.id, report.shipped.tflite_bytes) == ("student_int8", 101_974)
    assert round(report.shipped.test.accuracy, 3) == 0.913
    assert round(report.model("teacher_fp32").latency[0].p50_ms, 3) == 0.208
    assert [gate.held for gate in report.gates] == [True, True, True]
    (tmp_path / "report.json").write_text(json.dumps(dict(report)), encoding="utf-8")
    assert Report.read(str(tmp_path)) == report


@pytest.mark.parametrize("content", [None, "{", "[]", '{"schema_version": 2}'])
def test_what_is_no_report_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"has no report: a run folder|schema version (2|None) is not known, 1 is"):
        Report.read(tmp_path)
