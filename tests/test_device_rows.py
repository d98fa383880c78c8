"""What the Android app saved becomes a row of the report; anything else is refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_report import document_by_hand

from edgekd import cli
from edgekd.device_rows import add_device_rows, read_row
from edgekd.errors import DataError, UserError
from edgekd.stages import report

# The names are those that BenchmarkTest.kt holds the app's JSON against.
SAVED: dict[str, Any] = {
    "schema_version": 1,
    "kind": "device_benchmark",
    "recipe": "quickstart",
    "model_sha256": "0" * 64,
    "device": {
        "manufacturer": "Maker",
        "model": "Phone",
        "abi": "arm64-v8a",
        "android_version": "15",
        "api_level": 35,
    },
    "runtime": "LiteRT 1.4.1",
    "kernel": "xnnpack",
    "num_threads": 2,
    "warmup_runs": 20,
    "num_runs": 200,
    "num_processes": 1,
    "init_ms": 12.5,
    "picture_width": 1024,
    "picture_height": 768,
    "preprocessing": {"p50_ms": 3.5, "p90_ms": 4.0, "p99_ms": 5.0},
    "invoke": {"p50_ms": 0.75, "p90_ms": 0.875, "p99_ms": 1.5},
}


def saved(folder: Path, name: str = "phone.json", **changes: Any) -> Path:
    document = copy.deepcopy(SAVED)
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        target = document
        for parent in parents:
            target = target[parent]
        target[last] = value
    path = folder / name
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log.jsonl").write_text('{"event": "run"}\n')
    document = document_by_hand()
    for index, model in enumerate(document["models"]):
        model["sha256"] = f"{index}" * 64
    report.write(document, folder)
    return folder


def shipped(run: Path) -> dict[str, Any]:
    document = json.loads((run / "report.json").read_text())
    return dict(next(model for model in document["models"] if model["shipped"]))


def test_row_has_the_names_of_the_report(tmp_path: Path) -> None:
    digest, row = read_row(saved(tmp_path))
    assert digest == "0" * 64
    # 200 runs certify p90 (64) and not p99 (662); one process gives no interval.
    assert row == {
        "target": "Maker Phone (arm64-v8a, Android 15)",
        "figures": "measured",
        "kernel": "xnnpack",
        "p50_ms": 0.75,
        "p90_ms": 0.875,
        "p99_ms": None,
        "p50_ci95_ms": None,
        "init_ms": 12.5,
        "num_runs": 200,
        "num_processes": 1,
        "num_threads": 2,
        "runtime": "LiteRT 1.4.1",
        "preprocessing_p50_ms": 3.5,
    }


def test_row_is_added_to_the_model_that_was_timed(run: Path, tmp_path: Path) -> None:
    before = shipped(run)["latency"]
    add_device_rows(run, [saved(tmp_path, model_sha256=shipped(run)["sha256"])])
    after = shipped(run)["latency"]
    assert after[: len(before)] == before
    assert [row["target"] for row in after[len(before) :]] == ["Maker Phone (arm64-v8a, Android 15)"]
    for name in ("report.md", "report.html"):
        assert "Maker Phone (arm64-v8a, Android 15)" in (run / name).read_text()
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]


def test_same_device_and_settings_replace_their_row(run: Path, tmp_path: Path) -> None:
    digest = shipped(run)["sha256"]
    first = saved(tmp_path, "first.json", model_sha256=digest)
    second = saved(tmp_path, "second.json", model_sha256=digest, invoke__p50_ms=0.5)
    other = saved(tmp_path, "other.json", model_sha256=digest, num_threads=4)
    count = len(shipped(run)["latency"])
    add_device_rows(run, [first, second, other])
    rows = shipped(run)["latency"][count:]
    assert [(row["num_threads"], row["p50_ms"]) for row in rows] == [(2, 0.5), (4, 0.75)]


def test_another_model_is_refused_and_nothing_changes(run: Path, tmp_path: Path) -> None:
    before = (run / "report.json").read_bytes()
    with pytest.raises(DataError, match="was measured on another model"):
        add_device_rows(run, [saved(tmp_path, model_sha256="f" * 64)])
    assert (run / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "something"}, "is not a benchmark of the app"),
        ({"schema_version": 2}, "has schema_version 2, this edgekd reads 1; update edgekd, or the app"),
        ({"kernel": "gpu"}, 'kernel = "gpu"; xnnpack or builtin or reference is wanted'),
        ({"num_runs": 0}, "num_runs = 0; a count is wanted"),
        ({"num_threads": True}, "num_threads = true; a count is wanted"),
        ({"init_ms": None}, "init_ms = null; a time in milliseconds is wanted"),
        ({"invoke": {"p90_ms": 1.0, "p99_ms": 1.0}}, "invoke.p50_ms = null; a time in milliseconds is wanted"),
        ({"invoke__p50_ms": -1}, "invoke.p50_ms = -1; a time in milliseconds is wanted"),
        ({"device": "phone"}, "device.manufacturer = null; text is wanted"),
        ({"device__model": ""}, 'device.model = ""; text is wanted'),
        ({"model_sha256": "ABC"}, 'model_sha256 = "ABC"; a SHA-256 is wanted'),
    ],
)
def test_wrong_field_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_row(saved(tmp_path, **changes))
    assert message in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_row(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(DataError, match="is not JSON; name the file that the app saved"):
        read_row(tmp_path / "text.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(DataError, match="is not a benchmark of the app"):
        read_row(tmp_path / "list.json")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(DataError, match="is not JSON"):
        read_row(tmp_path / "deep.json")
    (tmp_path / "large.json").write_text(" " * 1_000_001)
    with pytest.raises(DataError, match="too large"):
        read_row(tmp_path / "large.json")


def test_folder_that_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no finished run; name the --out folder of edgekd build"):
        add_device_rows(tmp_path, [saved(tmp_path)])


def test_command(run: Path, tmp_path: Path) -> None:
    path = saved(tmp_path, model_sha256=shipped(run)["sha256"])
    done = CliRunner().invoke(cli.main, ["report", str(run), "--device", str(path)])
    assert done.exit_code == 0, done.output
    assert "Maker Phone (arm64-v8a, Android 15)" in done.output
    assert CliRunner().invoke(cli.main, ["report", str(run), "--device", str(run / "log.jsonl")]).exit_code == 2
