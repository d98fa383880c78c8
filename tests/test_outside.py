"""Sessions with other runtimes and tools: order, ratios, answers before times, and explanations."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffer_models import dense_file

from edgekd import onnx_export
from edgekd.errors import BenchmarkError, MissingRequirementError, ModelError
from edgekd.outside import litert_tool, onnx_runtime
from edgekd.outside.session import Session, beside, ends, interleave, time_litert, write_inputs
from edgekd.statistics import Interval

QUICK = Session(num_processes=2, num_runs=10, warmup_runs=2)

# Written by litert-benchmark of ai-edge-litert 2.3.0 (--result_json).
RECORDED = {
    "model": "m_io.tflite",
    "model_size_mb": 0.59,
    "accelerators": ["CPU"],
    "signature": "<placeholder signature>",
    "fully_accelerated": True,
    "num_threads": 1,
    "latency": {
        "init_ms": 4.43,
        "warmup_first_ms": 0.14,
        "warmup_avg_ms": 0.04,
        "num_warmup_runs": 20,
        "avg_ms": 0.03,
        "min_ms": 0.03,
        "max_ms": 0.08,
        "median_ms": 0.03,
        "std_ms": 0.0,
        "p5_ms": 0.03,
        "p95_ms": 0.03,
        "num_runs": 200,
    },
    "throughput_mb_s": 84.22,
}


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    path = tmp_path / "dense.tflite"
    path.write_bytes(dense_file(np.random.default_rng(0).normal(size=(64, 128))))
    return path


# Sessions


def test_every_round_starts_each_contender_once_in_an_order_by_seed() -> None:
    def order(seed: int) -> list[str]:
        started: list[str] = []

        def contender(name: str) -> Any:
            def run() -> Any:
                started.append(name)
                return np.array([float(len(started))])

            return run

        found = interleave({name: contender(name) for name in "abc"}, Session(num_processes=20, seed=seed))
        assert {name: len(rows) for name, rows in found.items()} == {"a": 20, "b": 20, "c": 20}
        for name, rows in found.items():  # what each returned is filed under its name
            assert [started[int(row[0]) - 1] for row in rows] == [name] * 20
        return started

    first, again, other = order(0), order(0), order(1)
    assert first == again != other
    assert all(sorted(first[start : start + 3]) == list("abc") for start in range(0, 60, 3))
    assert {first[start] for start in range(0, 60, 3)} == set("abc")


def test_ratio_is_theirs_over_ours_round_by_round() -> None:
    """The rounds take 1, 2, ... 8 ms and theirs three times that: the ratio is 3 in each, its interval closes on it."""
    ours = [np.array([float(number)] * 3) for number in range(1, 9)]
    found = beside(ours, [3 * times for times in ours])
    assert (found.ours.estimate, found.theirs.estimate) == (4.0, 12.0)  # nearest rank: the 12th of 24 runs
    assert (found.ratio.estimate, found.ratio.low, found.ratio.high) == pytest.approx((3, 3, 3))
    assert found.verdict == "slower"
    assert found.as_json()["ratio_ci95"] == pytest.approx([3, 3])


def test_one_round_has_an_open_interval() -> None:
    found = beside([np.array([1.0])], [np.array([3.0])])
    assert (found.verdict, found.as_json()["ratio_ci95"]) == ("within noise", None)
    assert ends(Interval(1.0, 0.5, 2.0)) == [0.5, 2.0]


def test_inputs_are_made_up_where_a_model_takes_no_pictures(dense: Path, tmp_path: Path) -> None:
    for pictures in (None, [np.zeros((8, 8, 3), np.uint8)]):
        kind = write_inputs(dense, tmp_path / "inputs.npy", QUICK, pictures)
        assert kind == {"input": "float32", "output": "float32", "made_up": True}
    values = np.load(tmp_path / "inputs.npy")
    assert (values.shape[1:], values.dtype) == ((128,), np.float32)
    (tmp_path / "no.tflite").write_bytes(b"<html>")
    with pytest.raises(ModelError, match="not a TensorFlow Lite file"):
        write_inputs(tmp_path / "no.tflite", tmp_path / "inputs.npy", QUICK)


def test_litert_is_timed_in_a_process(dense: Path, tmp_path: Path) -> None:
    write_inputs(dense, tmp_path / "inputs.npy", QUICK)
    times = time_litert(dense, tmp_path / "inputs.npy", QUICK)
    assert times.shape == (10,)
    assert (times > 0).all()


# ONNX Runtime


def test_answers_are_compared_in_int8_units() -> None:
    first = np.array([[-128, 5, 0], [1, 2, 3], [7, 7, 0]], np.int8)
    second = np.array([[127, 5, 0], [1, 2, 3], [7, 8, 0]], np.int8)
    found = onnx_runtime.compare_answers(first, second)
    # 127 - (-128) = 255 without overflow; the first row's top moves from 1 to 0, the third's (a tie) from 0 to 1.
    assert found == onnx_runtime.Answers(num_inputs=3, max_units=255, num_inputs_differing=2, top1_flips=2)
    with pytest.raises(ModelError, match=r"int8 \(3, 3\) and ONNX Runtime int8 \(3, 2\)"):
        onnx_runtime.compare_answers(first, second[:, :2])
    with pytest.raises(ModelError, match="uint8"):
        onnx_runtime.compare_answers(first, second.view(np.uint8))


def test_int8_model_in_both_runtimes(tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx", reason='needs pip install "edgekd[onnx]"')
    pytest.importorskip("onnxruntime", reason='needs pip install "edgekd[onnx]"')
    from tflite_models import smooth_images, tiny_file

    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_file("int8_io"))
    found = onnx_runtime.compare(path, QUICK, pictures=smooth_images(12, 20, seed=3))
    assert found.answers.num_inputs == 12
    assert found.answers.max_units <= 1  # DESIGN.md, section 5
    assert found.times is not None
    row = found.as_json()
    assert 0 < row["p50_ms"] < 1000
    assert row["ratio"] == pytest.approx(found.times.ratio.estimate)
    assert (row["num_threads"], row["made_up_input"]) == (1, False)


def test_other_answers_get_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx", reason='needs pip install "edgekd[onnx]"')
    pytest.importorskip("onnxruntime", reason='needs pip install "edgekd[onnx]"')
    from tflite_models import SIDE, tiny_file

    def constant(source: Path, target: Path) -> None:
        """A model of the same input and output that answers 127, -128, -128, whatever it sees."""
        value = onnx.numpy_helper.from_array(np.array([[127, -128, -128]], np.int8), "value")
        node = onnx.helper.make_node("Constant", [], ["out"], value=value)
        sides = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, shape)
            for name, shape in (("in", [1, SIDE, SIDE, 3]), ("out", [1, 3]))
        ]
        graph = onnx.helper.make_graph([node], "constant", sides[:1], sides[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        target.write_bytes(model.SerializeToString())

    monkeypatch.setattr(onnx_export, "to_onnx", constant)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_file("int8_io"))
    found = onnx_runtime.compare(path, QUICK)
    assert found.answers.max_units > onnx_runtime.MAX_UNITS
    assert found.times is None
    assert "p50_ms" not in found.as_json()


def test_float_model_and_missing_packages_are_told(dense: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tf2onnx", reason='needs pip install "edgekd[onnx]"')
    with pytest.raises(
        ModelError, match="takes float32 and gives float32; ONNX Runtime is compared on a model with int8"
    ):
        onnx_runtime.compare(dense, QUICK)
    with pytest.raises(ModelError, match="takes float32"):
        onnx_runtime.require(dense)
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(
        MissingRequirementError, match=r'--onnx-runtime needs onnxruntime; run pip install "edgekd\[onnx'
    ):
        onnx_runtime.compare(dense, QUICK)


# litert-benchmark


def test_recorded_result_is_read() -> None:
    assert litert_tool.parse_result(json.dumps(RECORDED)) == litert_tool.ToolResult(0.03, 200, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"latency": 3}',
        json.dumps({**RECORDED, "latency": {"median_ms": "fast", "num_runs": 200}}),
        json.dumps({**RECORDED, "latency": {"median_ms": -1, "num_runs": 200}}),
        json.dumps({**RECORDED, "latency": {"median_ms": float("nan"), "num_runs": 200}}),
        json.dumps({**RECORDED, "latency": {"median_ms": 1, "num_runs": 0}}),
    ],
)
def test_result_that_is_none_is_told(text: str) -> None:
    with pytest.raises(BenchmarkError, match="litert-benchmark wrote"):
        litert_tool.parse_result(text)


@pytest.mark.parametrize(
    ("ours", "theirs", "accelerated", "said"),
    [
        (1.0, 1.1, True, None),
        (1.0, 0.9, False, None),
        # 0.033 may be 10 % more, 0.0363; 0.04 stands for 0.035 to 0.045.
        (0.033, 0.04, True, "0.04 stands for 0.035 to 0.045 ms; its input"),
        (0.004, 0.0, True, "0.00 stands for 0.000 to 0.005 ms"),
        (1.0, 1.2, True, r"\+0\.200 ms is more than its rounding.*run_by_name"),
        (1.0, 0.8, False, r"-0\.200 ms is more.*not every operator runs in XNNPACK"),
    ],
)
def test_difference_is_explained(ours: float, theirs: float, accelerated: bool, said: str | None) -> None:
    found = litert_tool.explain(ours, theirs, accelerated)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(said, found), found


def test_ratio_knows_the_rounding() -> None:
    found = litert_tool.ToolComparison(Interval(0.05, 0.04, 0.06), 0.04, None, "2.3.0")
    assert found.ratio == pytest.approx(0.8)
    assert found.ratio_by_rounding == pytest.approx((0.7, 0.9))
    assert litert_tool.ToolComparison(Interval(0.05, 0.04, 0.06), 0.0, None, "2.3.0").ratio_by_rounding[0] == 0


def test_tool_runs_on_the_same_file(dense: Path) -> None:
    found = litert_tool.compare(dense, QUICK).as_json()
    assert found["litert_p50_ms"] > 0
    assert found["p50_ms"] >= 0
    assert found["p50_ms"] == round(found["p50_ms"], 3)  # means of two figures of two digits
    assert found["agrees"] is (found["explanation"] is None)
    assert found["litert"] == metadata.version("ai-edge-litert")


def test_wheel_without_the_tool_and_tool_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.tflite").write_bytes(dense_file(np.ones((2, 2)))[:200])
    with pytest.raises(BenchmarkError, match=r'litert-benchmark ended with 1 on "bad\.tflite"'):
        litert_tool.run_tool(tmp_path / "bad.tflite", QUICK)
    monkeypatch.setattr(litert_tool, "entry_points", lambda **names: [])
    with pytest.raises(MissingRequirementError, match=r"which ai-edge-litert .* lacks"):
        litert_tool.find_tool()
