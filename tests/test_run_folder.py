from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekd.errors import OutputError
from edgekd.run_folder import RunFolder, is_run


def finish(path: Path, content: str) -> None:
    with RunFolder(path) as folder:
        folder.log("run", recipe="x")
        (folder.staging / "report.json").write_text(content)
        (folder.staging / "models").mkdir()
        (folder.staging / "models" / content).write_text(content)
        folder.publish()


def test_second_run_replaces_what_the_first_wrote(tmp_path: Path) -> None:
    finish(tmp_path / "run", "one")
    finish(tmp_path / "run", "two")
    assert (tmp_path / "run" / "report.json").read_text() == "two"
    assert [path.name for path in (tmp_path / "run" / "models").iterdir()] == ["two"]
    assert not list((tmp_path / "run").glob(".staging-*"))


def test_what_fails_leaves_the_run_before_it(tmp_path: Path) -> None:
    finish(tmp_path / "run", "one")

    def fail(folder: RunFolder) -> None:
        folder.log("run")
        (folder.staging / "report.json").write_text("half")
        raise RuntimeError

    with RunFolder(tmp_path / "run") as folder, pytest.raises(RuntimeError):
        fail(folder)
    assert (tmp_path / "run" / "report.json").read_text() == "one"
    assert not list((tmp_path / "run").glob(".staging-*"))


def test_leftovers_of_a_kill_are_cleared(tmp_path: Path) -> None:
    finish(tmp_path / "run", "one")
    (tmp_path / "run" / ".staging-old").mkdir()
    finish(tmp_path / "run", "two")
    assert not list((tmp_path / "run").glob(".staging-*"))


def test_a_folder_that_is_no_run_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("mine")
    with pytest.raises(OutputError, match="is not an edgekd run and is left alone; name a new folder with --out"):
        RunFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file; name a folder"):
        RunFolder(tmp_path / "file")


def test_an_unwritable_place_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run")


def test_log_lines_are_json(tmp_path: Path) -> None:
    finish(tmp_path / "run", "one")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[0]["event"] == "run"
    assert lines[0]["time"] > 1.7e9


@pytest.mark.parametrize("first_line", ["", "[]", '{"event": "other"}', "not json"])
def test_only_a_log_of_ours_makes_a_run(first_line: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(first_line)
    assert not is_run(tmp_path)
