"""``edgekd benchmark`` on the command line: what it prints and writes, and what it says to wrong turns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgekd import cli, pictures
from edgekd.artifact import write_json
from edgekd.data.source import FileRef
from edgekd.errors import DataError

FIRST = {
    **{"p50_ms": 1.5, "p50_ci95_ms": [1.4, 1.6], "p90_ms": 2.25, "p90_ci95_ms": None, "p99_ms": None},
    **{"p99_ci95_ms": None, "init_ms": 10.0, "first_ms": 1234.5},
}
SECOND = {**FIRST, "p50_ms": 0.033333, "p50_ci95_ms": [0.033, 0.034]}
FACTS: Mapping[str, Any] = {
    "models": {
        "a": {"latency": [FIRST], "peak_rss_bytes": 64 * 2**20, "tflite_bytes": 2048},
        "b": {
            **{"latency": [SECOND], "peak_rss_bytes": 32 * 2**20, "tflite_bytes": 1024 * 1024},
            "preprocessing": {"num_images": 7, "decode_p50_ms": 3.0, "resize_p50_ms": 1.0, "p50_ms": 4.0},
        },
    },
    "ratios": [{"model": "b", "baseline": "a", "ratio": 0.5, "ci95": [0.4375, 0.5625], "verdict": "faster"}],
    "scaling": [],
    "host": {"cpus": 2},
    "warnings": ["a busy machine"],
}
SCALING = [
    {
        **{"model": "a", "kernel": "builtin", "num_threads": 2, "ratio": 3.0, "ci95": None, "verdict": "within noise"},
        "baseline": {"kernel": "xnnpack", "num_threads": 1},
    }
]


class Measured:
    """Stands for the stage: keeps what it was asked, writes the runs, and answers with made figures."""

    asked: list[tuple[Any, ...]]
    facts: Mapping[str, Any] = FACTS

    def __call__(self, models: Any, images: Any, config: Any, out_dir: Path, **options: Any) -> Measured:
        self.asked = [models, images, config, options]
        runs = [
            {"model": name, "kernel": "xnnpack", "num_threads": 1, "invoke_ms": [[[1.0], [2.0]], [[1.5], [2.5]]]}
            for name in self.facts["models"]
        ]
        write_json(out_dir / "runs.json", runs)
        return self


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    stage = Measured()
    monkeypatch.setattr("edgekd.stages.benchmark.benchmark", stage)
    return stage


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.tflite", "b.tflite")]
    for path in paths:
        path.write_bytes(b"")
    return paths


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["benchmark", *map(str, arguments)])


def cells(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "──" not in line]
    return [re.split(r" {2,}", line) for line in lines]


def test_figures_are_printed_with_their_intervals(measured: Measured, models: Sequence[Path]) -> None:
    done = call(*models)
    assert done.exit_code == 0
    assert cells(done.stdout) == [
        ["model", "p50 ms", "p90 ms", "p99 ms", "init ms", "first ms", "KiB", "peak MiB"],
        ["a", "1.5 [1.4, 1.6]", "2.25", "–", "10", "1,234", "2", "64"],
        ["b", "0.0333 [0.033, 0.034]", "2.25", "–", "10", "1,234", "1,024", "32"],
        ["model", "against", "times as long", "verdict"],
        ["b", "a", "0.500 [0.438, 0.562]", "faster"],
        ["b: preprocessing 4 ms (p50 of 7 image files), decoding 3, resizing 1"],
    ]
    assert done.stderr == "note: a busy machine\n"


def test_scaling_is_a_table_of_its_own(measured: Measured, models: Sequence[Path]) -> None:
    measured.facts = {**FACTS, "scaling": SCALING, "ratios": [], "warnings": []}
    done = call(*models, "--kernels", "xnnpack, builtin", "--threads", "1,2")
    assert measured.asked[3]["kernels"] == ("xnnpack", "builtin")
    assert measured.asked[3]["threads"] == (1, 2)
    assert cells(done.stdout)[3:6] == [
        ["against xnnpack on 1 thread"],
        ["model, kernels", "threads", "times as long", "verdict"],
        ["a, builtin", "2", "3.000", "within noise"],
    ]


def test_json_is_what_was_found(measured: Measured, models: Sequence[Path]) -> None:
    assert json.loads(call(*models, "--json").stdout) == FACTS


def test_ten_processes_are_the_default(measured: Measured, models: Sequence[Path]) -> None:
    call(*models)
    config = measured.asked[2]
    assert (config.num_processes, config.num_runs, config.warmup_runs, config.target) == (10, 100, 20, "host")
    assert measured.asked[1] is None
    call(*models, "--processes", 12, "--runs", 50, "--warmup-runs", 30)
    config = measured.asked[2]
    assert (config.num_processes, config.num_runs, config.warmup_runs) == (12, 50, 30)


def test_out_holds_the_figures_every_run_and_the_plot(measured: Measured, models: Any, tmp_path: Path) -> None:
    out = tmp_path / "some" / "where"
    assert call(*models, "--out", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["latency.json", "latency.png", "latency.svg"]
    document = json.loads((out / "latency.json").read_text())
    assert document["models"] == FACTS["models"]
    assert document["runs"][0]["invoke_ms"] == [[[1.0], [2.0]], [[1.5], [2.5]]]
    assert {"cpu", "cores", "cpus"} <= set(document["host"])
    assert {"commit", "versions"} <= set(document)
    svg = (out / "latency.svg").read_bytes()
    assert call(*models, "--out", out).exit_code == 0
    assert (out / "latency.svg").read_bytes() == svg


def test_a_name_with_dollars_is_no_formula(measured: Measured, models: Any, tmp_path: Path) -> None:
    figures = FACTS["models"]["a"]
    measured.facts = {**FACTS, "models": {r"a$\frac$b": figures}, "ratios": []}
    assert call(*models, "--out", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "latency.png").stat().st_size > 1000


def test_out_that_cannot_be_a_folder_is_told(measured: Measured, models: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = call(*models, "--out", tmp_path / "file")
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr
    assert "name another folder with --out" in done.stderr


def test_files_of_one_stem_keep_their_paths(measured: Measured, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a/model.tflite", "b/model.tflite", "other.tflite")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    measured.facts = {**FACTS, "models": {}, "ratios": []}
    assert call(*paths).exit_code == 0
    assert measured.asked[0] == {str(paths[0]): paths[0], str(paths[1]): paths[1], "other": paths[2]}


def test_images_of_folders_and_files(measured: Measured, models: Any, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.png", "deep/a.jpg", "notes.txt"):
        (folder / name).write_bytes(b"")
    single = tmp_path / "single.bmp"
    single.write_bytes(b"")
    assert call(*models, "--images", folder, "--images", single).exit_code == 0
    assert [ref.name for ref in measured.asked[1]] == ["b.png", "deep/a.jpg", str(single)]


def test_images_of_a_data_set(measured: Measured, models: Any, tmp_path: Path) -> None:
    """Own data: the first pictures of test, as they were found."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        for label in ("cat", "dog"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    assert call(*models, "--data", tmp_path / "data").exit_code == 0
    shown = measured.asked[1]
    assert len(shown) == 6
    assert all(isinstance(ref, FileRef) and "test" in ref.path.parts for ref in shown)


def test_no_more_pictures_than_are_of_use(tmp_path: Path) -> None:
    for number in range(pictures.MOST + 5):
        (tmp_path / f"{number:03}.png").write_bytes(b"")
    assert len(pictures.of_files([tmp_path])) == pictures.MOST


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"no image below this folder; \.png, \.jpg"):
        pictures.of_files([tmp_path])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "absent.png"], '--images "absent.png": no such file or folder'),
        (["--data", "pneumoniamnst"], 'did you mean "pneumoniamnist"?'),
        (["--data", "synthetic_cells", "--images", "absent.png"], "--data and --images: give one of them"),
        (["--threads", "1,two"], "whole numbers with commas between them are wanted, as in 1,2,4"),
        (["--processes", "0"], "0 is not in the range 1<=x<=1000"),
        (["--runs", "5"], "5 is not in the range"),
    ],
)
def test_wrong_turns(arguments: list[str], message: str, measured: Measured, models: Sequence[Path]) -> None:
    done = call(*models, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not hasattr(measured, "asked")


def test_unknown_kernel_is_told_before_anything_is_measured(models: Sequence[Path]) -> None:
    done = call(*models, "--kernels", "xnnpak")
    assert (done.exit_code, done.stdout) == (2, "")
    assert 'unknown kernel "xnnpak"; did you mean "xnnpack"?' in done.stderr
