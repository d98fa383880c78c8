"""What the report says of pruning: figures by hand, and a plain sentence where it bought nothing."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from test_report import document_by_hand

from edgekd import pruning_report
from edgekd.page import render
from edgekd.stages.report import check

SIZES = {"dense": {"tflite_bytes": 614_400, "gzip_bytes": 307_200}}
SPARSE = {"tflite_bytes": 409_600, "gzip_bytes": 330_000}


def row(id: str, tflite_bytes: int, gzip_bytes: int) -> dict[str, Any]:
    return {"id": id, "tflite_bytes": tflite_bytes, "gzip_bytes": gzip_bytes}


def ratio(value: float, ci95: list[float] | None, verdict: str) -> list[dict[str, Any]]:
    other = {"model": "student_int8", "baseline": "teacher_fp32", "ratio": 0.1, "ci95": [0.1, 0.1], "verdict": "faster"}
    pair = {"model": "student_int8", "baseline": "distilled_int8"}
    return [other, {**pair, "ratio": value, "ci95": ci95, "verdict": verdict}]


@pytest.mark.parametrize(
    ("after", "ratios", "end"),
    [
        (
            (620_000, 270_000),
            ratio(1.004, [0.98, 1.03], "within noise"),
            "raw bytes no less (620,000 against 620,000); gzip bytes 60.0% of it (270,000 against 450,000); p50 1.00 "
            "times (95 % interval 0.98 to 1.03: within noise). Pruning bought gzip bytes, and nothing in raw bytes and "
            "latency.",
        ),
        (
            (620_018, 449_000),
            ratio(1.2, [1.1, 1.3], "slower"),
            "raw bytes no less (620,018 against 620,000); gzip bytes no less (449,000 against 450,000); p50 1.20 times "
            "(95 % interval 1.10 to 1.30: slower). Pruning bought nothing here.",
        ),
        (
            (310_000, 225_000),
            ratio(0.6, [0.5, 0.7], "faster"),
            "raw bytes 50.0% of it (310,000 against 620,000); gzip bytes 50.0% of it (225,000 against 450,000); p50 "
            "0.60 times (95 % interval 0.50 to 0.70: faster). Pruning bought raw bytes, gzip bytes and latency.",
        ),
        # One process says nothing of others, whatever its ratio.
        (
            (620_000, 225_000),
            ratio(0.6, None, "within noise"),
            "p50 0.60 times, in one process, which says nothing of others. Pruning bought gzip bytes, and nothing in "
            "raw bytes and latency.",
        ),
        (
            (620_000, 225_000),
            [],
            "latency not measured. Pruning bought gzip bytes, and nothing in raw bytes.",
        ),
    ],
)
def test_what_pruning_bought(after: tuple[int, int], ratios: list[dict[str, Any]], end: str) -> None:
    shipped, before = row("student_int8", *after), row("distilled_int8", 620_000, 450_000)
    found = pruning_report.gain(shipped, [before, shipped], ratios)
    assert found is not None
    start = "student_int8 against distilled_int8, the same student before pruning: "
    assert found["text"].startswith(start)
    assert found["text"].endswith(end)
    assert (found["tflite_bytes"], found["gzip_bytes"]) == (after[0] / 620_000, after[1] / 450_000)
    assert found["latency"] == (ratios[1] if ratios else None)


def test_without_the_unpruned_file_nothing_is_said() -> None:
    shipped = row("student_int8", 1, 1)
    assert pruning_report.gain(shipped, [shipped], []) is None


@pytest.mark.parametrize(("shipped", "other"), [("dense", "sparse"), ("sparse", "dense")])
def test_the_encoding_that_is_not_shipped_is_a_candidate(shipped: str, other: str) -> None:
    encoding = {"measure": "raw", "shipped": shipped, "reason": "why", **SIZES, "sparse": SPARSE}
    sizes = {"dense": SIZES["dense"], "sparse": SPARSE}[other]
    assert pruning_report.encoding_candidates("student_int8", encoding) == [
        {"model": f"student_int8_{other}", "reason": "why", **sizes}
    ]


def test_no_encoding_no_candidate() -> None:
    assert pruning_report.encoding_candidates("student_int8", None) == []
    nothing = {"measure": "raw", "shipped": "dense", "reason": "why", **SIZES, "sparse": None}
    assert pruning_report.encoding_candidates("student_int8", nothing) == [
        {"model": "student_int8_sparse", "reason": "why"}
    ]


@pytest.fixture
def document() -> dict[str, Any]:
    document = document_by_hand()
    encoding = {"measure": "raw", "shipped": "sparse", "reason": "less", **SIZES, "sparse": SPARSE}
    layers = {"stem": {"target": 0.0, "measured": 0.0}, "body": {"target": 0.85, "measured": 0.8501}}
    document["weight_pruning"] = {
        "schedule": "constant",
        "pattern": "unstructured",
        "layers": layers,
        "encoding": encoding,
    }
    document["pruning_gain"] = {
        **{"model": "student_int8", "baseline": "distilled_int8", "tflite_bytes": 0.66, "gzip_bytes": 0.5},
        **{"latency": None, "text": "Pruning bought nothing here."},
    }
    return document


@pytest.mark.parametrize("template", ["report.md.j2", "report.html.j2"])
def test_the_report_gives_both_encodings(document: dict[str, Any], template: str) -> None:
    check(document)
    text = render(document, template)
    assert "student_int8 is sparse-encoded, chosen by raw bytes (less)." in text.replace("\\", "")
    assert "614,400 and 307,200 dense, 409,600 and 330,000 sparse. Zeros in the file: 50.0% of the weights." in text
    assert "Kept dense: stem." in text
    assert "Pruning bought nothing here." in text
    # Of a sparse file it would not be true.
    assert "they change neither the raw bytes" not in text


def test_the_schema_wants_sizes_of_both(document: dict[str, Any]) -> None:
    broken = copy.deepcopy(document)
    del broken["weight_pruning"]["encoding"]["dense"]["gzip_bytes"]
    with pytest.raises(jsonschema.ValidationError, match="gzip_bytes"):
        check(broken)
