"""Runs side by side: folders made by hand, differences counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from reports import Document, document_by_hand

from edgekd.cli import main
from edgekd.comparison import compare
from edgekd.errors import UserError
from edgekd.rewrite import rewrite

LABELS = np.array([0, 1] * 10)


def run_folder(path: Path, document: Document, wrong: list[int] | None, labels: Any = LABELS) -> Path:
    """A run whose shipped model is wrong on these test images; None: without scores."""
    path.mkdir(parents=True)
    (path / "log.jsonl").write_text('{"event": "run"}\n')
    (path / "report.json").write_text(json.dumps(document))
    if wrong is not None:
        decided = labels.copy()
        decided[wrong] = 1 - decided[wrong]
        np.savez(path / "scores.npz", student_int8__test=np.eye(2)[decided], labels__test=labels)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    other = document_by_hand()
    other["recipe"]["distill"]["temperature"] = 8.0
    other["host"]["cpu"] = "Abacus 4000"
    return [
        run_folder(tmp_path / "a" / "base", document_by_hand(), [0, 1, 2, 3, 4, 5, 6, 7]),
        run_folder(tmp_path / "b" / "hot", other, [0]),
    ]


def test_the_second_run_against_the_first(runs: list[Path], tmp_path: Path) -> None:
    made = compare(runs, tmp_path / "out")
    assert [row["name"] for row in made["runs"]] == ["base", "hot"]
    (pair,) = made["paired"]
    # Seven of twenty images are right in the second run alone, none in the first alone.
    assert (pair["run"], pair["against"], pair["n"], pair["verdict"]) == ("hot", "base", 20, "better")
    assert pair["estimate"] == pytest.approx(0.35)
    assert pair["mcnemar_p"] == pytest.approx(2 * 0.5**7)
    assert made["recipe_differences"] == [{"key": "distill.temperature", "values": [2.0, 8.0]}]
    assert made["cautions"] == ["the runs were timed on different hosts: their times are not comparable"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("comparison.html", "comparison.json", "comparison.md"),
    ]
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == made
    for name in ("comparison.html", "comparison.md"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        for told in ("base", "hot", "+35.0", "better", "distill.temperature", "8.0", "Abacus 4000", "not comparable"):
            assert told in text


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name / "run", document_by_hand(), [0]) for name in ("x", "y")]
    made = compare(folders, tmp_path / "out")
    assert [row["name"] for row in made["runs"]] == ["x/run", "y/run"]
    assert made["paired"][0]["verdict"] == "not told apart"
    assert made["recipe_differences"] == []


def other_labels(path: Path) -> Path:
    return run_folder(path, document_by_hand(), [0], labels=1 - LABELS)


def other_classes(path: Path) -> Path:
    document = document_by_hand()
    document["dataset"]["class_names"] = ["healthy", "pneumonia"]
    return run_folder(path, document, [0])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (other_labels, "the labels of the test images differ"),
        (other_classes, "the classes differ"),
        (lambda path: run_folder(path, document_by_hand(), None), "c has no scores.npz"),
    ],
)
def test_what_cannot_be_paired_is_said(make: Any, reason: str, runs: list[Path], tmp_path: Path) -> None:
    made = compare([runs[0], make(tmp_path / "c")], tmp_path / "out")
    assert made["paired"][0]["reason"].startswith(reason)
    assert reason in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")


def test_bad_input_is_named(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two, each once"):
        compare([runs[0], runs[0]], tmp_path / "out")
    with pytest.raises(UserError, match="is no finished run"):
        compare([runs[0], tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="is a run; name another folder"):
        compare(runs, runs[1])
    (runs[1] / "scores.npz").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match=r"scores\.npz.* cannot be read"):
        compare(runs, tmp_path / "out")
    (runs[1] / "report.json").write_text('{"schema_version": 2}')
    with pytest.raises(UserError, match="no report of this version"):
        compare(runs, tmp_path / "out")
    (runs[1] / "report.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        rewrite(runs[1])
    assert not (tmp_path / "out").exists()


def test_from_the_command_line(runs: list[Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["report", *map(str, runs), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "+35.0 (" in result.output
    assert "caution: the runs were timed on different hosts" in result.output
    assert (tmp_path / "out" / "comparison.html").is_file()

    result = CliRunner().invoke(main, ["report", str(runs[0])])
    assert result.exit_code == 0, result.output
    assert (runs[0] / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")

    for words, told in (
        ([str(runs[0]), "--out", "x"], "--out is for a comparison"),
        ([*map(str, runs), "--device", "phone.json"], "--device adds to the report of one run"),
    ):
        result = CliRunner().invoke(main, ["report", *words])
        assert result.exit_code == 2
        assert told in result.output
