"""The profile of operators: sums by hand, LiteRT's C library for real, and versions it was not checked with."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffer_models import dense_file

from edgekd import op_profile
from edgekd.errors import BenchmarkError, MissingRequirementError, ModelError, RecipeError
from edgekd.op_profile import Operator, summarise
from edgekd.outside import litert_c
from edgekd.outside.session import Session

DEFAULT, OPERATOR, INSIDE, GENERAL = 1, 2, 8, 16


def event(tag: str, kind: int, us: int, index: int = 0) -> dict[str, Any]:
    return {"tag": tag, "type": kind, "us": us, "index": index}


def run(quantize: int, convolution: int, dense: int) -> list[dict[str, Any]]:
    """What LiteRT reports of one inference: the whole, one node of its own and two of XNNPACK's."""
    return [
        event("LiteRT::Run[buffer registration]", DEFAULT, 40),
        event("invoke", GENERAL, 900, 2**64 - 1),
        event("Invoke", DEFAULT, 800),
        event("QUANTIZE", OPERATOR, quantize),
        event("Convolution (NHWC, QC8) IGEMM", INSIDE, convolution),
        event("Fully Connected (NC, QS8, QC8W) GEMM", INSIDE, dense, 1),
        event("Invoke", 32, 2**32),
    ]


def test_shares_are_of_all_operators() -> None:
    """Of 8 runs the middle four count: QUANTIZE 100, convolution (290 + 300 + 300 + 310) / 4 = 300, dense 600."""
    convolutions = [1, 2, 290, 300, 300, 310, 9999, 9999]
    found = summarise([run(100, each, 600) for each in convolutions], invoke_ms=2.0, litert="2.3.0")
    assert found.operators == (
        Operator("Fully Connected (NC, QS8, QC8W) GEMM", 1, True, pytest.approx(0.6), pytest.approx(0.6)),
        Operator("Convolution (NHWC, QC8) IGEMM", 0, True, pytest.approx(0.3), pytest.approx(0.3)),
        Operator("QUANTIZE", 0, False, pytest.approx(0.1), pytest.approx(0.1)),
    )
    assert found.delegate_share == pytest.approx(0.9)
    assert found.covered == pytest.approx(0.5)  # 1.0 of 2.0 ms
    assert (found.num_runs, found.litert) == (8, "2.3.0")
    assert found.as_json()["operators"][2]["name"] == "QUANTIZE"


def test_node_that_stands_for_the_delegate_is_not_counted_twice() -> None:
    whole = event("TfLiteXNNPackDelegate", OPERATOR, 900, 7)
    detailed = summarise([[*run(100, 300, 600), whole]], 1.0)
    assert [row.name for row in detailed.operators][-1] == "QUANTIZE"
    assert len(detailed.operators) == 3
    alone = summarise([[event("QUANTIZE", OPERATOR, 100), whole]], 1.0)
    assert [(row.name, row.share) for row in alone.operators] == [("TfLiteXNNPackDelegate", 0.9), ("QUANTIZE", 0.1)]


def test_nodes_of_one_name_are_kept_apart() -> None:
    found = summarise([[event("ADD", OPERATOR, 1, 4), event("ADD", OPERATOR, 3, 5)]], 1.0)
    assert [(row.index, row.share) for row in found.operators] == [(5, 0.75), (4, 0.25)]


def test_operators_all_faster_than_a_microsecond_have_no_share() -> None:
    found = summarise([[event("ADD", OPERATOR, 0)]], 0.001)
    assert (found.operators[0].share, found.covered) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([[event("Invoke", DEFAULT, 5)]], "no operator"),
        ([run(1, 2, 3), run(1, 2, 3)[:-2]], "other operators from run to run"),
    ],
)
def test_profile_that_says_nothing_is_told(runs: Any, said: str) -> None:
    with pytest.raises(BenchmarkError, match=said):
        summarise(runs, 1.0)


def test_layout_of_an_event_is_that_of_the_header() -> None:
    """A pointer, an enum (padded to 8), two uint64, twice three size_t, two uint64, an enum (padded): 104 bytes."""
    assert ctypes.sizeof(litert_c.MemoryUsage) == 24
    assert ctypes.sizeof(litert_c.Event) == 8 + 8 + 16 + 48 + 16 + 8
    assert (litert_c.Event.elapsed_us.offset, litert_c.Event.index.offset) == (24, 80)


def require_profiler() -> None:
    try:
        litert_c.library_path()
    except MissingRequirementError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("kernel", "name"), [("xnnpack", "Fully Connected"), ("builtin", "FULLY_CONNECTED")])
def test_real_profile_of_one_dense_layer(kernel: str, name: str, tmp_path: Path) -> None:
    require_profiler()
    path = tmp_path / "dense.tflite"
    path.write_bytes(dense_file(np.random.default_rng(0).normal(size=(512, 2048))))  # about 0.1 ms: a million products
    found = op_profile.profile(path, Session(num_runs=20, warmup_runs=5), kernel=kernel)
    slowest = found.operators[0]
    assert slowest.name.startswith(name)
    assert slowest.in_delegate is (kernel == "xnnpack")
    assert slowest.share > 0.9
    assert sum(row.share for row in found.operators) == pytest.approx(1)
    assert found.delegate_share == pytest.approx(1.0 if kernel == "xnnpack" else 0.0)
    assert found.num_runs == 20


def test_other_version_other_kernels_and_other_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_profiler()
    (tmp_path / "no.tflite").write_bytes(b"<html>")
    with pytest.raises(ModelError, match="not a TensorFlow Lite file"):
        op_profile.profile(tmp_path / "no.tflite", Session())
    with pytest.raises(RecipeError, match='kernels "reference" cannot be profiled; xnnpack, builtin can'):
        op_profile.profile(tmp_path / "no.tflite", Session(), kernel="reference")
    monkeypatch.setattr(litert_c.sys, "platform", "plan9")
    with pytest.raises(MissingRequirementError, match="has no libLiteRt on plan9"):
        litert_c.library_path()
    monkeypatch.setattr(litert_c, "version", lambda name: "2.4.0")
    with pytest.raises(MissingRequirementError, match=r"ai-edge-litert 2\.3\.0; 2\.4\.0 is installed"):
        litert_c.library_path()
