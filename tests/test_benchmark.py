"""The benchmark: order, figures, and what becomes of models that are none."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tflite_models import SIDE, smooth_images, tiny_file

from edgekd import measure, target
from edgekd.artifact import Artifact
from edgekd.config.benchmark import Benchmark
from edgekd.errors import BenchmarkError, ModelError, RecipeError
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


class Recorded:
    """Stands for the measuring processes: notes who was asked, and answers with times made for it."""

    def __init__(self, times: Mapping[str, list[list[float]]], pinned: bool = True):
        self.times = {name: iter(rows) for name, rows in times.items()}
        self.pinned = pinned
        self.order: list[str] = []

    def __call__(self, name: str, path: Path, images: Path, profile: Any, config: Any) -> dict[str, Any]:
        self.order.append(name)
        number = self.order.count(name)
        return {
            "init_ms": 10.0 * number,
            "first_ms": 100.0 * number,
            "invoke_ms": next(self.times[name]),
            "peak_rss_bytes": 1000 * number,
            "pinned": self.pinned,
        }


def run_recorded(
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
    recorded: Recorded,
    *,
    seed: int = 0,
    pairs: Sequence[tuple[str, str]] = (),
    **config: Any,
) -> Artifact:
    monkeypatch.setattr(stage, "_run_process", recorded)
    monkeypatch.setattr(stage, "_write_input", lambda *arguments: Path("inputs.npy"))
    names = list(recorded.times)
    models = {name: Path(name) for name in names}
    return stage.benchmark(models, None, Benchmark(**config), out, pairs=pairs, seed=seed)


def steady(names: str, processes: int) -> dict[str, list[list[float]]]:
    return {name: [[1.0] * 10] * processes for name in names}


@pytest.mark.usefixtures("quiet_machine")
def test_each_round_runs_every_model_once_in_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    recorded = Recorded(steady("abcd", 30))
    run_recorded(monkeypatch, out, recorded, num_processes=30)
    rounds = ["".join(recorded.order[start : start + 4]) for start in range(0, 120, 4)]
    assert len(recorded.order) == 120
    assert all(sorted(names) == list("abcd") for names in rounds)
    # Of 24 orders 30 draws leave fewer than 10 different ones, or no first place for one model, practically never.
    assert len(set(rounds)) >= 10
    assert {names[0] for names in rounds} == set("abcd")


@pytest.mark.usefixtures("quiet_machine")
def test_order_follows_the_seed(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    orders = []
    for seed in (0, 0, 1):
        recorded = Recorded(steady("abcd", 6))
        run_recorded(monkeypatch, out, recorded, seed=seed, num_processes=6)
        orders.append(recorded.order)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.usefixtures("quiet_machine")
def test_named_pairs_are_compared_too(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    times = {"a": [[8.0], [8.0]], "b": [[4.0], [4.0]], "c": [[1.0], [1.0]]}
    monkeypatch.setattr(stage, "_run_process", Recorded(times))
    monkeypatch.setattr(stage, "_write_input", lambda *arguments: Path("inputs.npy"))
    paths, pairs = {name: Path(name) for name in times}, [("c", "b"), ("b", "a")]
    facts = stage.benchmark(paths, None, Benchmark(num_processes=2), out, pairs=pairs).facts
    found = [(row["model"], row["baseline"], row["ratio"]) for row in facts["ratios"]]
    assert found == [("b", "a", pytest.approx(0.5)), ("c", "a", pytest.approx(0.125)), ("c", "b", pytest.approx(0.25))]


@pytest.mark.usefixtures("quiet_machine")
def test_figures_are_those_of_all_runs_pooled(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    """Three processes of 40 runs: 1..40, 41..80, 81..120 ms. Ranks of 120: p50 is the 60th, p90 the 108th."""
    processes = [[float(value) for value in range(start, start + 40)] for start in (81, 1, 41)]
    artifact = run_recorded(monkeypatch, out, Recorded({"a": processes}), num_processes=3, num_runs=40)
    figures = artifact.facts["models"]["a"]
    row = dict(figures["latency"][0])
    low, high = row.pop("p50_ci95_ms")
    assert row == {
        "target": "host",
        "figures": "measured",
        "kernel": "xnnpack",
        "p50_ms": 60.0,
        "p90_ms": 108.0,
        "p99_ms": None,  # certified from 662 runs on
        "init_ms": 20.0,
        "first_ms": 200.0,
        "num_runs": 120,
        "num_processes": 3,
        "num_threads": 1,
    }
    # Medians 20.5, 60.5, 100.5: standard deviation 40, standard error 40 / sqrt(3), t(0.975, 2) = 4.3027; around the
    # pooled 60, and no time is below 0.
    assert (low, high) == pytest.approx((0.0, 60 + 4.3027 * 40 / 3**0.5), rel=1e-4)
    assert figures["peak_rss_bytes"] == 2000
    assert artifact.facts == Artifact.open(out).facts


@pytest.mark.usefixtures("quiet_machine")
def test_p99_is_there_with_enough_runs(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    """1000 runs: rank 990."""
    times = np.random.default_rng(0).permutation(1000).astype(float).reshape(2, 500).tolist()
    artifact = run_recorded(monkeypatch, out, Recorded({"a": times}), num_processes=2, num_runs=500)
    (row,) = artifact.facts["models"]["a"]["latency"]
    assert (row["p50_ms"], row["p90_ms"], row["p99_ms"]) == (499, 899, 989)


@pytest.mark.usefixtures("quiet_machine")
def test_ratios_are_against_the_first_model(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    base = [[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]]
    times = {
        "base": base,
        "half": [[value / 2 for value in row] for row in base],
        "double": [[value * 2 for value in row] for row in base],
        "same": base,
    }
    facts = run_recorded(monkeypatch, out, Recorded(times), num_processes=3).facts
    found = {row["model"]: (row["baseline"], row["ratio"], row["verdict"]) for row in facts["ratios"]}
    assert found == {
        "half": ("base", pytest.approx(0.5), "faster"),
        "double": ("base", pytest.approx(2), "slower"),
        "same": ("base", pytest.approx(1), "within noise"),
    }
    for row in facts["ratios"]:
        assert row["ci95"] == pytest.approx([row["ratio"], row["ratio"]])  # each round scales alike


@pytest.mark.usefixtures("quiet_machine")
def test_further_ratios_are_of_the_pairs_that_are_named(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    times = {"base": [[8.0]] * 2, "half": [[4.0]] * 2, "eighth": [[1.0]] * 2}
    pairs = [("half", "base"), ("eighth", "half")]
    facts = run_recorded(monkeypatch, out, Recorded(times), num_processes=2, pairs=pairs).facts
    assert [(row["model"], row["baseline"], pytest.approx(row["ratio"])) for row in facts["ratios"]] == [
        ("half", "base", 1 / 2),
        ("eighth", "base", 1 / 8),
        ("eighth", "half", 1 / 4),
    ]


@pytest.mark.usefixtures("quiet_machine")
def test_one_model_has_no_ratio_and_a_quiet_machine_no_warning(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    facts = run_recorded(monkeypatch, out, Recorded(steady("a", 5))).facts
    assert (facts["ratios"], facts["warnings"]) == ([], [])
    assert facts["host"] == {"busy_before": 0.0, "cpus": 2}


def test_busy_machine_missing_pin_and_missing_processors_are_told(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 37.5)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    busy, unpinned = run_recorded(monkeypatch, out, Recorded(steady("a", 5), pinned=False)).facts["warnings"]
    assert busy == "the machine was busy before the benchmark: others took 38% of 2 processors"
    assert unpinned == "target host asks for pinning to a processor, which this system does not allow"
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 25.0)
    recorded = Recorded(steady("a", 5), pinned=False)
    facts = run_recorded(monkeypatch, out, recorded, target="host-as-phone-4t").facts
    assert facts["warnings"] == ["target host-as-phone-4t runs 4 threads on 2 processors"]


@pytest.mark.usefixtures("quiet_machine")
def test_progress_counts_processes(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    seen: list[Any] = []

    class Recorder(Progress):
        @contextmanager
        def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
            class Count(Task):
                def advance(self, count: int, **figures: float) -> None:
                    seen.append(count)

            seen.append((total, unit))
            yield Count()

    monkeypatch.setattr(stage, "_run_process", Recorded(steady("ab", 3)))
    monkeypatch.setattr(stage, "_write_input", lambda *arguments: Path("inputs.npy"))
    models = {"a": Path("a"), "b": Path("b")}
    stage.benchmark(models, None, Benchmark(num_processes=3), out, progress=Recorder())
    assert seen == [(6, "processes"), *[1] * 6]


def test_real_models_are_timed_in_processes(write: Any, out: Path) -> None:
    models = {name: write(f"{name}.tflite", tiny_file(name)) for name in ("fp32", "int8")}
    config = dataclasses.replace(QUICK, num_processes=2, num_runs=40)
    facts = stage.benchmark(models, IMAGES, config, out).facts
    assert list(facts["models"]) == list(models)
    for figures in facts["models"].values():
        (row,) = figures["latency"]
        assert (row["target"], row["num_runs"], row["num_processes"]) == ("host-as-phone-1t", 80, 2)
        assert 0 < row["p50_ms"] <= row["p90_ms"] < 1000
        assert row["p50_ci95_ms"][0] <= row["p50_ms"] <= row["p50_ci95_ms"][1]
        assert 0 < row["init_ms"] < 10_000
        assert 2**20 < figures["peak_rss_bytes"] < 2**30
    assert not any("made-up input" in warning for warning in facts["warnings"])
    assert [row["model"] for row in facts["ratios"]] == ["int8"]


@pytest.mark.parametrize(("variant", "dtype"), [("int8", np.uint8), ("int8_io", np.int8), ("fp32", np.float32)])
def test_input_is_the_images_in_the_type_of_the_model(variant: str, dtype: Any, write: Any, tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    warnings: list[str] = []
    path = write("model.tflite", tiny_file(variant))
    found = np.load(stage._write_input("m", path, IMAGES, tmp_path / "inputs", 0, warnings))
    assert found.dtype == dtype
    offset = 128 if variant == "int8_io" else 0
    np.testing.assert_array_equal(found.astype(np.int64), IMAGES.astype(np.int64) - offset)
    assert warnings == []


@pytest.mark.parametrize("images", [None, np.zeros((4, SIDE + 1, SIDE, 3), np.uint8)])
@pytest.mark.parametrize(("variant", "low", "high"), [("int8", 0, 255), ("int8_io", -128, 127), ("fp32", 0, 255)])
def test_made_up_input_fills_the_range_and_is_told(
    variant: str, low: int, high: int, images: np.ndarray | None, write: Any, tmp_path: Path
) -> None:
    (tmp_path / "inputs").mkdir()
    warnings: list[str] = []
    path = write("model.tflite", tiny_file(variant))
    found = np.load(stage._write_input("m", path, images, tmp_path / "inputs", 0, warnings))
    assert found.shape[1:] == (SIDE, SIDE, 3)
    assert (found.min(), found.max()) == (low, high)  # of 12288 draws from 256 values
    assert warnings == ["m was timed on made-up input of shape (16, 16, 3)"]


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
        stage._child("m", [sys.executable, "-c", code], "")


def test_process_without_an_answer_is_not_the_models_fault() -> None:
    with pytest.raises(BenchmarkError, match='the process that measures "m" failed: ZeroDivisionError: division by'):
        stage._child("m", [sys.executable, "-c", "1 / 0"], "")
    with pytest.raises(BenchmarkError, match='the process that measures "m" failed: no output'):
        stage._child("m", [sys.executable, "-c", ""], "")


def test_last_line_is_the_answer_and_an_error_is_raised() -> None:
    code = "import json, sys; print('chatter'); print(json.dumps({'told': sys.stdin.read()}))"
    assert stage._child("m", [sys.executable, "-c", code], "hello") == {"told": "hello"}
    with pytest.raises(ModelError, match=r"^no such thing$"):
        stage._child("m", [sys.executable, "-c", """print('{"error": "no such thing"}')"""], "")


def test_process_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SECONDS_PER_PROCESS", 0.3)
    with pytest.raises(BenchmarkError, match=r'^model "m" ran for more than 0\.3 s; lower the number of runs$'):
        stage._child("m", [sys.executable, "-c", "import time; time.sleep(60)"], "")


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
        "warmup_runs": 3,
        "num_runs": 7,
        **changes,
    }


def ask_child(request: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekd.measure"]
    return subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)


def test_measuring_process_answers_in_one_line(tmp_path: Path) -> None:
    done = ask_child(request_for(tmp_path))
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    answer = json.loads(done.stdout)
    assert set(answer) == {"init_ms", "first_ms", "invoke_ms", "peak_rss_bytes", "pinned"}
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
    """A clock that moves 1 ms a reading, and 10 ms more in every inference before the first timed one."""
    now, fed = [0], []

    class Interpreter:
        def get_input_details(self) -> list[dict[str, int]]:
            return [{"index": 3}]

        def set_tensor(self, index: int, value: np.ndarray) -> None:
            assert index == 3
            assert value.shape == (1, SIDE, SIDE, 3)
            fed.append(next(number for number in range(5) if np.array_equal(value[0], IMAGES[number])))

        def invoke(self) -> None:
            now[0] += 10_000_000 if len(fed) <= 4 else 0

    def clock() -> int:
        now[0] += 1_000_000
        return now[0]

    monkeypatch.setattr("edgekd._litert.open_interpreter", lambda *arguments: Interpreter())
    monkeypatch.setattr(measure.time, "perf_counter_ns", clock)
    answer = measure.measure(request_for(tmp_path))
    assert fed == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]  # one first, three to warm up, seven timed
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


def test_request_says_what_profile_and_recipe_say(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []

    def child(name: str, command: list[str], text: str) -> dict[str, Any]:
        requests.append(json.loads(text))
        return {}

    monkeypatch.setattr(stage, "_child", child)
    config = Benchmark(num_runs=33, warmup_runs=4)
    stage._run_process("m", Path("m.tflite"), Path("x.npy"), target.load("host-as-phone-4t"), config)
    stage._run_process("m", Path("m.tflite"), Path("x.npy"), target.load("host"), config)
    assert [(row["kernel"], row["num_threads"], row["pin_cpus"]) for row in requests] == [
        ("xnnpack", 4, []),
        ("xnnpack", 1, [0]),
    ]
    for row in requests:
        assert set(row) == set(measure.REQUEST_FIELDS)
        assert (row["model"], row["images"], row["num_runs"], row["warmup_runs"]) == ("m.tflite", "x.npy", 33, 4)
