"""The benchmark: order, figures, and what becomes of models that are none."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import psutil
import pytest
from PIL import Image
from tflite_models import SIDE, smooth_images, tiny_file

from edgekd import benchmark_input, interleave, machine, measure, measuring
from edgekd import steady as warming
from edgekd.artifact import Artifact
from edgekd.config.benchmark import Benchmark
from edgekd.data.source import FileRef
from edgekd.errors import BenchmarkError, DataError, ModelError, RecipeError, UserError
from edgekd.measuring import MeasuringProcess
from edgekd.preprocessing import preprocess
from edgekd.progress import Progress, Task
from edgekd.stages import benchmark as stage
from edgekd.tflite import edit

IMAGES = smooth_images(5)
QUICK = Benchmark(target="host-as-phone-1t", num_processes=1, num_runs=10, warmup_runs=1)


@pytest.fixture
def write(tmp_path: Path):
    def run(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two idle processors, whatever this machine is doing."""
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 0.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(machine, "read", lambda: machine.Reading(0.0, 0.0, 0.0, 0.0, (), None, None, None))


class Answered:
    """Stands for one measuring process, which has answered already; notes its turns."""

    def __init__(self, answer: dict[str, Any], turns: list[str]):
        self.made, self.turns = answer, turns

    def take_turn(self) -> None:
        self.turns.append(self.made["name"])

    def answer(self) -> dict[str, Any]:
        return self.made


class Recorded:
    """Stands for the measuring processes: notes who was started, and answers with times made for it."""

    def __init__(self, times: Mapping[str, list[list[float]]], **changes: Any):
        self.times = {name: iter(rows) for name, rows in times.items()}
        self.changes = changes
        self.order: list[str] = []
        self.requests: list[Mapping[str, Any]] = []
        self.turns: list[str] = []

    def __call__(self, name: str, request: Mapping[str, Any]) -> AbstractContextManager[Answered]:
        self.order.append(name)
        self.requests.append(request)
        return nullcontext(Answered(self.answer(name, request), self.turns))

    def answer(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        number = self.order.count(name)
        return {
            "name": name,
            "init_ms": 10.0 * number,
            "first_ms": 100.0 * number,
            "warmup_runs": 10 + 10 * number,
            "steady": True,
            "invoke_ms": next(self.times[name]),
            "num_turns": 1,
            "cpu_share": 1.0,
            "involuntary_switches": 3,
            "peak_rss_bytes": 1000 * number,
            "pinned": True,
            **self.changes,
        }


@pytest.fixture
def run_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run the stage with recorded processes; a model's file has as many bytes as its name."""

    def run(
        recorded: Recorded, out: Path, *, seed: int = 0, pairs: Any = (), ways: Any = None, **config: Any
    ) -> Artifact:
        made = benchmark_input.Input(Path("inputs.npy"), None, None)
        monkeypatch.setattr(stage, "write_input", lambda *arguments: made)
        models = {name: tmp_path / name for name in recorded.times}
        for name, path in models.items():
            path.write_text(name)
        return stage.benchmark(
            models, None, Benchmark(**config), out, pairs=pairs, seed=seed, begin=recorded, **(ways or {})
        )

    return run


def in_groups(names: list[str], size: int) -> list[str]:
    """Names of one letter, so many to a text."""
    return ["".join(names[start : start + size]) for start in range(0, len(names), size)]


def steady(names: str, processes: int) -> dict[str, list[list[float]]]:
    return {name: [[1.0] * 10] * processes for name in names}


@pytest.mark.usefixtures("quiet_machine")
def test_each_round_runs_every_model_once_in_an_order_of_its_own(run_recorded: Any, out: Path) -> None:
    recorded = Recorded(steady("abcd", 30))
    run_recorded(recorded, out, num_processes=30)
    rounds = in_groups(recorded.order, 4)
    assert len(rounds) == 30
    assert all(sorted(names) == list("abcd") for names in rounds)
    # Of 24 orders 30 draws leave fewer than 10 different ones, or no first place for one model, practically never.
    assert len(set(rounds)) >= 10
    assert {names[0] for names in rounds} == set("abcd")


@pytest.mark.usefixtures("quiet_machine")
def test_processes_of_a_round_take_turns_in_an_order_drawn_anew(run_recorded: Any, out: Path) -> None:
    """Ten times round three processes; of 6 orders ten draws leave one alone with a chance of 6**-9."""
    recorded = Recorded(steady("abc", 1))
    run_recorded(recorded, out, num_processes=1)
    passes = in_groups(recorded.turns, 3)
    assert len(passes) == 10
    assert all(sorted(names) == list("abc") for names in passes)
    assert len(set(passes)) > 1


@pytest.mark.usefixtures("quiet_machine")
def test_no_more_than_eight_processes_live_at_once(run_recorded: Any, out: Path) -> None:
    """Ten models: eight take all their turns, and then two; in the next round others may be the two."""
    alive: set[str] = set()
    seen: list[int] = []

    class Counted(Recorded):
        @contextmanager
        def __call__(self, name: str, request: Mapping[str, Any]) -> Iterator[Answered]:
            alive.add(name)
            with super().__call__(name, request) as process:
                seen.append(len(alive))
                yield process
            alive.remove(name)

    recorded = Counted(steady("abcdefghij", 2))
    run_recorded(recorded, out, num_processes=2)
    assert seen == [*range(1, 9), 1, 2] * 2
    assert [len(set(recorded.turns[start:end])) for start, end in ((0, 80), (80, 100), (100, 180), (180, 200))] == [
        *(8, 2),
        *(8, 2),
    ]


@pytest.mark.usefixtures("quiet_machine")
def test_order_follows_the_seed(run_recorded: Any, out: Path) -> None:
    orders = []
    for seed in (0, 0, 1):
        recorded = Recorded(steady("abcd", 6))
        run_recorded(recorded, out, seed=seed, num_processes=6)
        orders.append(recorded.order)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.usefixtures("quiet_machine")
def test_figures_are_those_of_all_runs_pooled(run_recorded: Any, out: Path) -> None:
    """Three processes of 40 runs: 1..40, 41..80, 81..120 ms. Ranks of 120: p50 is the 60th, p90 the 108th.

    Up to p50 lie the shares 1, 1/2 and 0: variance 1/4, of the mean 1/12, so 0.25 * 12 = 3 independent runs, and after
    (t(0.975, 119) / t(0.975, 2))**2 = (1.980 / 4.303)**2 = 0.21 of it not one: three such processes say nothing.
    """
    processes = [[float(value) for value in range(start, start + 40)] for start in (81, 1, 41)]
    artifact = run_recorded(Recorded({"model": processes}), out, num_processes=3, num_runs=40)
    figures = artifact.facts["models"]["model"]
    assert figures["latency"] == [
        {
            **{"target": "host", "figures": "measured", "kernel": "xnnpack", "num_threads": 1},
            **{"p50_ms": 60.0, "p50_ci95_ms": None, "p90_ms": 108.0, "p90_ci95_ms": None},
            **{"p99_ms": None, "p99_ci95_ms": None},  # certified from 662 runs on
            **{"init_ms": 20.0, "first_ms": 200.0, "warmup_runs": 30, "num_runs": 120, "num_processes": 3},
        }
    ]
    assert (figures["peak_rss_bytes"], figures["tflite_bytes"]) == (2000, 5)
    assert artifact.facts == Artifact.open(out).facts
    runs = json.loads((out / stage.RUNS_FILE).read_text())
    by_turn = [[turn] for turn in processes]
    assert runs == [{"model": "model", "kernel": "xnnpack", "num_threads": 1, "invoke_ms": by_turn}]


@pytest.mark.usefixtures("quiet_machine")
def test_ten_processes_that_agree_bound_every_percentile(run_recorded: Any, out: Path) -> None:
    """Ten times 1..100: ranks 500, 900 and 990 of 1000."""
    times = [[float(value) for value in range(1, 101)]] * 10
    artifact = run_recorded(Recorded({"a": times}), out)
    (row,) = artifact.facts["models"]["a"]["latency"]
    assert [row[f"p{percent}_ms"] for percent in (50, 90, 99)] == [50, 90, 99]
    for percent in (50, 90, 99):
        low, high = row[f"p{percent}_ci95_ms"]
        assert percent - 5 <= low <= percent <= high <= percent + 5


@pytest.mark.usefixtures("quiet_machine")
def test_ratios_are_against_the_first_model_and_of_the_pairs_that_are_named(run_recorded: Any, out: Path) -> None:
    base = [[1.0, 1.0], [3.0, 3.0], [2.0, 2.0], [5.0, 5.0], [1.0, 1.0], [4.0, 4.0]]
    factors = {"base": 1, "half": 0.5, "double": 2, "same": 1}
    times = {name: [[factor * value for value in row] for row in base] for name, factor in factors.items()}
    pairs = [("half", "base"), ("double", "half")]
    facts = run_recorded(Recorded(times), out, num_processes=6, pairs=pairs).facts
    assert [(row["model"], row["baseline"], row["ratio"], row["verdict"]) for row in facts["ratios"]] == [
        ("half", "base", pytest.approx(0.5), "faster"),
        ("double", "base", pytest.approx(2), "slower"),
        ("same", "base", pytest.approx(1), "within noise"),
        ("double", "half", pytest.approx(4), "slower"),
    ]
    for row in facts["ratios"]:
        # Each round scales alike; another session may differ by two and a half hundredths.
        assert row["ci95"] == pytest.approx([row["ratio"] / 1.025, row["ratio"] * 1.025])


@pytest.mark.usefixtures("quiet_machine")
def test_five_processes_show_no_difference(run_recorded: Any, out: Path) -> None:
    times = {"base": [[8.0]] * 5, "half": [[4.0]] * 5}
    facts = run_recorded(Recorded(times), out, num_processes=5).facts
    (row,) = facts["ratios"]
    assert (row["ratio"], row["ci95"], row["verdict"]) == (pytest.approx(0.5), None, "within noise")
    assert facts["warnings"] == ["5 processes of each model show no difference between models; 6 are the least"]


@pytest.mark.usefixtures("quiet_machine")
def test_kernels_and_threads_are_further_rows_and_a_table_of_their_own(run_recorded: Any, out: Path) -> None:
    """The way of the target first; it is not run twice. Pinned to as many processors as there are threads."""

    class Scaled(Recorded):
        def answer(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
            slowness = {"xnnpack": 1.0, "reference": 30.0}[request["kernel"]] / request["num_threads"]
            return {**super().answer(name, request), "invoke_ms": [slowness] * 10}

    recorded = Scaled(steady("a", 24))
    ways = {"kernels": ("xnnpack", "reference"), "threads": (1, 2, 4)}
    facts = run_recorded(recorded, out, num_processes=6, ways=ways).facts
    rows = facts["models"]["a"]["latency"]
    expected = [("xnnpack", 1, 1.0), ("xnnpack", 2, 0.5), ("reference", 1, 30.0), ("reference", 2, 15.0)]
    assert [(row["kernel"], row["num_threads"], row["p50_ms"]) for row in rows] == expected
    assert [(row["kernel"], row["num_threads"], row["ratio"], row["verdict"]) for row in facts["scaling"]] == [
        ("xnnpack", 2, pytest.approx(0.5), "faster"),
        ("reference", 1, pytest.approx(30), "slower"),
        ("reference", 2, pytest.approx(15), "slower"),
    ]
    assert facts["scaling"][0]["baseline"] == {"kernel": "xnnpack", "num_threads": 1}
    assert facts["warnings"] == ["4 threads were left out: this host has 2 processors"]
    assert {tuple(row["pin_cpus"]) for row in recorded.requests if row["num_threads"] == 2} == {(0, 1)}
    assert {tuple(row["pin_cpus"]) for row in recorded.requests if row["num_threads"] == 1} == {(0,)}


@pytest.mark.usefixtures("quiet_machine")
@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ({"kernels": ("xnnpak",)}, '--kernels: unknown kernel "xnnpak"; did you mean "xnnpack"?'),
        ({"threads": (0,)}, "--threads: 0; allowed: at least 1"),
        ({"threads": (4, 8)}, "--threads: 4, 8; this host has 2 processors"),
    ],
)
def test_ways_that_this_host_cannot_run_are_errors(ways: Any, message: str, run_recorded: Any, out: Path) -> None:
    recorded = Recorded(steady("a", 5))
    with pytest.raises(UserError, match=re.escape(message)):
        run_recorded(recorded, out, ways=ways)
    assert recorded.order == []


@pytest.mark.usefixtures("quiet_machine")
def test_one_model_has_no_ratio_and_a_quiet_machine_no_warning(run_recorded: Any, out: Path) -> None:
    facts = run_recorded(Recorded(steady("a", 10)), out).facts
    assert (facts["ratios"], facts["scaling"], facts["warnings"]) == ([], [], [])
    assert (facts["host"]["busy_before"], facts["host"]["cpus"], facts["host"]["drift"]) == (0.0, 2, 0.0)
    assert {"others_share", "steal_share", "clock_mhz", "load", "throttle_events"} <= set(facts["host"])


def test_busy_machine_missing_pin_and_missing_processors_are_told(
    monkeypatch: pytest.MonkeyPatch, run_recorded: Any, out: Path, quiet_machine: None
) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 37.5)
    busy, unpinned = run_recorded(Recorded(steady("a", 10), pinned=False), out).facts["warnings"]
    assert busy == "the machine was busy before the benchmark: others took 38% of 2 processors"
    assert unpinned == "target host asks for pinning to a processor, which this system does not allow"
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 10.0)
    facts = run_recorded(Recorded(steady("a", 10), pinned=False), out, target="host-as-phone-4t").facts
    assert facts["warnings"] == ["target host-as-phone-4t runs 4 threads on 2 processors"]


@pytest.mark.usefixtures("quiet_machine")
def test_lacking_processor_unsteady_times_and_drift_are_told(run_recorded: Any, out: Path) -> None:
    facts = run_recorded(Recorded(steady("a", 10), cpu_share=0.9, steady=False), out).facts
    assert facts["warnings"] == [
        "a did not become steady in 10 of 10 processes",
        "a: 10 of 10 processes lacked the processor for more than 5% of the time (30 involuntary switches)",
    ]
    slowing = {"a": [[1.0] * 10] * 3 + [[1.1] * 10] * 6}
    (message,) = run_recorded(Recorded(slowing), out, num_processes=9).facts["warnings"]
    assert message == "drift: the last third of the rounds was 10% slower than the first"


def test_what_happens_to_the_machine_meanwhile_is_told(
    monkeypatch: pytest.MonkeyPatch, run_recorded: Any, out: Path, quiet_machine: None
) -> None:
    before = machine.Reading(0.0, 0.0, 0.0, 0.0, (3000.0,), 0.5, 0, None)
    after = dataclasses.replace(before, at=10.0, busy_s=14.0, own_s=8.0, throttled=3)
    readings = iter([before, after])
    monkeypatch.setattr(machine, "read", lambda: next(readings))
    facts = run_recorded(Recorded(steady("a", 10)), out).facts
    assert facts["warnings"] == [
        "a busy neighbour: other processes took 30% of 2 processors meanwhile",
        "throttling: the processors were slowed down for their heat 3 times",
    ]


@pytest.mark.usefixtures("quiet_machine")
def test_progress_counts_processes(monkeypatch: pytest.MonkeyPatch, write: Any, out: Path) -> None:
    seen: list[Any] = []

    class Recorder(Progress):
        @contextmanager
        def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
            class Count(Task):
                def advance(self, count: int, **figures: float) -> None:
                    seen.append(count)

            seen.append((total, unit))
            yield Count()

    monkeypatch.setattr(stage, "write_input", lambda *arguments: benchmark_input.Input(Path("x.npy"), None, None))
    models = {name: write(name, b"") for name in "ab"}
    begin = Recorded(steady("ab", 3))
    stage.benchmark(models, None, Benchmark(num_processes=3), out, progress=Recorder(), begin=begin)
    assert seen == [(6, "processes"), *[1] * 6]


def test_real_models_are_timed_in_processes(write: Any, out: Path) -> None:
    models = {name: write(f"{name}.tflite", tiny_file(name)) for name in ("fp32", "int8")}
    config = dataclasses.replace(QUICK, num_processes=2, num_runs=40)
    facts = stage.benchmark(models, IMAGES, config, out).facts
    assert list(facts["models"]) == list(models)
    schema = json.loads((resources.files("edgekd") / "schemas" / "report.schema.json").read_text(encoding="utf-8"))
    for figures in facts["models"].values():
        (row,) = figures["latency"]
        jsonschema.validate(row, {"$defs": schema["$defs"], "$ref": "#/$defs/latency"})
        assert set(row) <= {*schema["$defs"]["latency"]["properties"], "figures"}
        assert (row["target"], row["num_runs"], row["num_processes"]) == ("host-as-phone-1t", 80, 2)
        assert 0 < row["p50_ms"] <= row["p90_ms"] < 1000
        assert 0 < row["init_ms"] < 10_000
        assert 2**20 < figures["peak_rss_bytes"] < 2**30
    assert not any("made-up input" in warning for warning in facts["warnings"])
    assert [row["model"] for row in facts["ratios"]] == ["int8"]


@pytest.mark.parametrize(("variant", "dtype"), [("int8", np.uint8), ("int8_io", np.int8), ("fp32", np.float32)])
def test_input_is_the_images_in_the_type_of_the_model(variant: str, dtype: Any, write: Any, tmp_path: Path) -> None:
    path = write("model.tflite", tiny_file(variant))
    made = benchmark_input.write_input("m", path, IMAGES, tmp_path / "x.npy", 0)
    found = np.load(made.file)
    assert found.dtype == dtype
    offset = 128 if variant == "int8_io" else 0
    np.testing.assert_array_equal(found.astype(np.int64), IMAGES.astype(np.int64) - offset)
    assert (made.warning, made.preprocessing) == (None, None)


def test_image_files_go_through_the_one_preprocessing_and_are_timed_apart(write: Any, tmp_path: Path) -> None:
    pictures = smooth_images(2, side=3 * SIDE)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    files = [FileRef(tmp_path / f"{number}.png", f"{number}.png") for number in range(2)]
    made = benchmark_input.write_input("m", write("m.tflite", tiny_file("int8")), files, tmp_path / "x.npy", 0)
    np.testing.assert_array_equal(np.load(made.file), [preprocess(picture, SIDE) for picture in pictures])
    times = made.preprocessing
    assert times is not None
    assert times["num_images"] == 2
    assert 0 < times["decode_p50_ms"] < times["p50_ms"] < 1000
    assert 0 < times["resize_p50_ms"] < times["p50_ms"]


def test_unreadable_image_is_named(write: Any, tmp_path: Path) -> None:
    files = [FileRef(write("broken.png", b"no picture"), "broken.png")]
    with pytest.raises(DataError, match=r'"broken\.png" is not an image'):
        benchmark_input.write_input("m", write("m.tflite", tiny_file("int8")), files, tmp_path / "x.npy", 0)


@pytest.mark.parametrize("images", [None, []])
@pytest.mark.parametrize(("variant", "low", "high"), [("int8", 0, 255), ("int8_io", -128, 127), ("fp32", 0, 255)])
def test_made_up_input_fills_the_range_and_is_told(
    variant: str, low: int, high: int, images: Any, write: Any, tmp_path: Path
) -> None:
    path = write("model.tflite", tiny_file(variant))
    made = benchmark_input.write_input("m", path, images, tmp_path / "x.npy", 0)
    found = np.load(made.file)
    assert found.shape[1:] == (SIDE, SIDE, 3)
    assert (found.min(), found.max()) == (low, high)  # of 12288 draws from 256 values
    assert made.warning == "m was timed on made-up input of shape (16, 16, 3)"


@pytest.mark.parametrize("shape", [[1, 10, 12, 3], [1, 16, 16, 1], [1, 490]])
def test_a_model_that_takes_no_square_of_rgb_gets_made_up_input(
    shape: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(benchmark_input, "child", lambda *arguments: {"shape": shape, "dtype": "int8"})
    made = benchmark_input.write_input("kws", Path("kws.tflite"), IMAGES, tmp_path / "x.npy", 0)
    assert np.load(made.file).shape == (16, *shape[1:])
    assert made.warning == f"kws was timed on made-up input of shape {tuple(shape[1:])}"


def test_file_that_is_no_model_is_told(write: Any, out: Path) -> None:
    models = {"good": write("good.tflite", tiny_file("fp32")), "bad": write("bad.tflite", b"<html>not found</html>")}
    with pytest.raises(ModelError, match=r'model "bad\.tflite": not a TensorFlow Lite file'):
        stage.benchmark(models, IMAGES, QUICK, out)
    with pytest.raises(ModelError, match=r'model "absent\.tflite" cannot be read'):
        stage.benchmark({"absent": out / "absent.tflite"}, IMAGES, QUICK, out)
    half = write("half.tflite", tiny_file("fp32")[:5000])
    with pytest.raises(ModelError, match=r'model "half\.tflite" cannot be opened'):
        stage.benchmark({"half": half}, IMAGES, QUICK, out)
    assert list(out.iterdir()) == []


def test_model_that_kills_the_interpreter_leaves_us_alive(write: Any, out: Path) -> None:
    """Two operators that write one tensor; XNNPACK (LiteRT 2.3, x86) aborts on them."""
    model = edit.unpack(tiny_file("int8_io"))
    model.subgraphs[0].operators.append(model.subgraphs[0].operators[0])
    path = write("killer.tflite", edit.pack(model))
    opens = "import sys; from edgekd._litert import open_interpreter as o; o(sys.argv[1]).invoke()"
    if subprocess.run([sys.executable, "-c", opens, path], capture_output=True, check=False).returncode >= 0:
        pytest.skip("this interpreter survives the model")
    with pytest.raises(ModelError, match=r'^model "killer" crashed the interpreter \(SIG[A-Z]+\)$'):
        stage.benchmark({"good": write("good.tflite", tiny_file("fp32")), "killer": path}, IMAGES, QUICK, out)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
@pytest.mark.parametrize("signal_name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_death_by_signal_is_the_models_fault(signal_name: str) -> None:
    code = f"import os, signal; os.kill(os.getpid(), signal.{signal_name})"
    with pytest.raises(ModelError, match=rf'^model "m" crashed the interpreter \({signal_name}\)$'):
        benchmark_input.child("m", [sys.executable, "-c", code], "")


def test_process_without_an_answer_is_not_the_models_fault() -> None:
    with pytest.raises(BenchmarkError, match='the process that measures "m" failed: ZeroDivisionError: division by'):
        benchmark_input.child("m", [sys.executable, "-c", "1 / 0"], "")
    with pytest.raises(BenchmarkError, match='the process that measures "m" failed: no output'):
        benchmark_input.child("m", [sys.executable, "-c", ""], "")


def test_last_line_is_the_answer_and_an_error_is_raised() -> None:
    code = "import json, sys; print('chatter'); print(json.dumps({'told': sys.stdin.read()}))"
    assert benchmark_input.child("m", [sys.executable, "-c", code], "hello") == {"told": "hello"}
    with pytest.raises(ModelError, match=r"^no such thing$"):
        benchmark_input.child("m", [sys.executable, "-c", """print('{"error": "no such thing"}')"""], "")


def test_process_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_input, "SECONDS_PER_PROCESS", 0.3)
    with pytest.raises(BenchmarkError, match=r'^model "m" ran for more than 0\.3 s; lower the number of runs$'):
        benchmark_input.child("m", [sys.executable, "-c", "import time; time.sleep(60)"], "")


def test_unknown_target_is_told_before_anything_runs(out: Path) -> None:
    with pytest.raises(RecipeError, match='unknown target "hots"; did you mean "host"'):
        stage.benchmark({"m": out / "absent.tflite"}, None, Benchmark(target="hots"), out)


def request_for(tmp_path: Path, variant: str = "fp32", **changes: Any) -> dict[str, Any]:
    (tmp_path / "model.tflite").write_bytes(tiny_file(variant))
    np.save(tmp_path / "images.npy", IMAGES.astype(np.float32))
    return {
        "model": str(tmp_path / "model.tflite"),
        "images": str(tmp_path / "images.npy"),
        "kernel": "xnnpack",
        "num_threads": 1,
        "pin_cpus": [],
        "warmup_runs": 20,
        "num_runs": 7,
        "num_turns": 1,
        **changes,
    }


def ask_child(request: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekd.measure"]
    return subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)


def test_measuring_process_answers_in_one_line(tmp_path: Path) -> None:
    done = ask_child(request_for(tmp_path))
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    answer = json.loads(done.stdout)
    assert set(answer) == {
        *("init_ms", "first_ms", "warmup_runs", "steady", "invoke_ms", "cpu_share", "involuntary_switches"),
        *("peak_rss_bytes", "pinned", "num_turns"),
    }
    assert 20 <= answer["warmup_runs"] <= warming.MAX_RUNS
    assert answer["steady"] is (answer["warmup_runs"] < warming.MAX_RUNS)
    assert 0 < answer["cpu_share"] < 1.5
    assert len(answer["invoke_ms"]) == 7
    assert all(time > 0 for time in [answer["init_ms"], answer["first_ms"], *answer["invoke_ms"]])
    assert answer["pinned"] is False


def test_measuring_process_answers_an_error(tmp_path: Path) -> None:
    done = ask_child(request_for(tmp_path, model=str(tmp_path / "absent.tflite")))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"error": 'model "absent.tflite" cannot be read: No such file or directory'}
    done = ask_child(request_for(tmp_path, kernel="xnnpak"))
    assert json.loads(done.stdout) == {"error": 'unknown kernel "xnnpak"; did you mean "xnnpack"?'}


def test_measuring_process_answers_through_stdin_and_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request_for(tmp_path))))
    measure.main()
    assert len(json.loads(capsys.readouterr().out)["invoke_ms"]) == 7


def test_request_that_lacks_a_field_is_no_answer(tmp_path: Path) -> None:
    request = request_for(tmp_path)
    del request["num_runs"]
    done = ask_child(request)
    assert (done.returncode, done.stdout) == (1, "")
    assert "KeyError: 'num_runs'" in done.stderr


def test_images_take_turns_and_warm_up_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves 1 ms a reading, and 10 ms more in each of the first 35 inferences.

    The first one stands alone, so that 34 of the runs that warm up are slow. After 40, six of the last ten are faster
    than all of the ten before: 60 pairs and, of the ties, half of 40 make 80. After 50, all are faster than four of the
    ten before: 40 and half of 60 make 70, which is less than 73.
    """
    now, fed = [0], []

    class Interpreter:
        def get_input_details(self) -> list[dict[str, int]]:
            return [{"index": 3}]

        def set_tensor(self, index: int, value: np.ndarray) -> None:
            assert index == 3
            assert value.shape == (1, SIDE, SIDE, 3)
            fed.append(next(number for number in range(5) if np.array_equal(value[0], IMAGES[number])))

        def invoke(self) -> None:
            now[0] += 10_000_000 if len(fed) <= 35 else 0

    def clock() -> int:
        now[0] += 1_000_000
        return now[0]

    monkeypatch.setattr("edgekd._litert.open_interpreter", lambda *arguments: Interpreter())
    monkeypatch.setattr(measure.time, "perf_counter_ns", clock)
    answer = measure.measure(request_for(tmp_path, warmup_runs=40))
    assert answer["warmup_runs"] == 50
    assert fed == [number % 5 for number in range(1 + 50 + 7)]
    assert (answer["init_ms"], answer["first_ms"], answer["invoke_ms"]) == (1.0, 11.0, [1.0] * 7)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin")
def test_pinning_to_a_processor(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    assert json.loads(ask_child(request_for(tmp_path, pin_cpus=[cpu, 99_999])).stdout)["pinned"] is True
    assert json.loads(ask_child(request_for(tmp_path, pin_cpus=[99_999])).stdout)["pinned"] is False
    assert os.sched_getaffinity(0) == before


def test_peak_memory_is_the_childs_own(write: Any, tmp_path: Path) -> None:
    """However much the parent holds; and what the child itself allocates counts, also after it let go."""
    held = np.ones(300 << 20, np.uint8)
    answer = json.loads(ask_child(request_for(tmp_path)).stdout)
    assert 2**20 < answer["peak_rss_bytes"] < held.size
    assert measure.peak_rss_bytes() > held.size
    code = (
        "from edgekd.measure import peak_rss_bytes as peak\n"
        "before = peak(); held = b'1' * (100 << 20); del held; print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(100 << 20, rel=0.1)


def test_measuring_process_loads_no_tensorflow(tmp_path: Path) -> None:
    code = (
        "import json, sys; import edgekd.measure as m; m.measure(json.loads(sys.argv[1]));"
        "print(sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'tensorflow', 'keras', 'tf_keras', 'scipy', 'sklearn', 'PIL'}))"
    )
    command = [sys.executable, "-c", code, json.dumps(request_for(tmp_path))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.usefixtures("quiet_machine")
def test_request_says_what_profile_and_recipe_say(run_recorded: Any, out: Path) -> None:
    requests = []
    for name in ("host-as-phone-4t", "host"):
        recorded = Recorded(steady("m", 1))
        run_recorded(recorded, out, num_processes=1, num_runs=33, warmup_runs=4, target=name)
        requests += recorded.requests
    assert [(row["kernel"], row["num_threads"], row["pin_cpus"]) for row in requests] == [
        ("xnnpack", 4, []),
        ("xnnpack", 1, [0]),
    ]
    for row in requests:
        assert set(row) == set(measure.REQUEST_FIELDS)
        assert (Path(row["model"]).name, row["images"], row["num_runs"], row["warmup_runs"]) == (
            "m",
            "inputs.npy",
            33,
            4,
        )


def test_a_process_takes_its_turns_when_it_is_told_to(tmp_path: Path) -> None:
    """Seven runs in three turns are three each; meanwhile it waits."""
    with MeasuringProcess("m", request_for(tmp_path, num_turns=3)) as process:
        for _ in range(3):
            process.take_turn()
        answer = process.answer()
    assert (answer["num_turns"], len(answer["invoke_ms"])) == (3, 9)
    (turns,) = interleave.runs_of([answer])
    assert turns.tolist() == [answer["invoke_ms"][start : start + 3] for start in (0, 3, 6)]


def test_each_turn_begins_with_a_run_that_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One first inference, 20 to warm up, and in each of the two turns one and then four."""
    calls: list[int] = []

    class Interpreter:
        set_tensor = staticmethod(lambda index, value: None)
        get_input_details = staticmethod(lambda: [{"index": 0}])

        def invoke(self) -> None:
            calls.append(0)

    monkeypatch.setattr("edgekd._litert.open_interpreter", lambda *arguments: Interpreter())
    monkeypatch.setattr(warming, "warm_up", lambda run, minimum: ([run() for _ in range(minimum)], True))
    waits: list[int] = []
    request = request_for(tmp_path, num_runs=8, num_turns=2)
    answer = measure.measure(request, lambda: waits.append(len(calls)))
    assert waits == [21, 26]
    assert (len(calls), len(answer["invoke_ms"])) == (31, 8)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("import os; os.kill(os.getpid(), 11)", ModelError, 'model "m" crashed the interpreter (SIGSEGV)'),
        ('print(\'{"error": "no model"}\')', ModelError, "no model"),
        ("raise SystemExit('out of paper')", BenchmarkError, 'the process that measures "m" failed: out of paper'),
        ("import time; time.sleep(60)", BenchmarkError, 'model "m" ran for more than 0.5 s'),
    ],
)
@pytest.mark.parametrize("first", ["", "input(); print('{}', flush=True); input(); "])
def test_a_process_that_fails_is_told_of_and_ended(
    first: str, code: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is warm, and in its first turn."""
    for module in (benchmark_input, measuring):
        monkeypatch.setattr(module, "SECONDS_PER_PROCESS", 0.5)
    with (
        pytest.raises(error, match=re.escape(message)),
        MeasuringProcess("m", {}, [sys.executable, "-S", "-c", first + code]) as process,
    ):
        process.take_turn()
    assert psutil.Process().children() == []
