"""Models held against profiles: other people's, whose sizes follow from published tables, and made-up graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flatbuffer_models import dense_file

from edgekd import cli, target
from edgekd.inspect.forecast import gpu
from edgekd.stages.fit import against
from edgekd.target import Limits, Target
from edgekd.target_limits import hold, litert
from edgekd.tflite.memory import live_bytes
from edgekd.tflite.view import Operator, Tensor, View, open_view

# At the step where most lives at once. ResNet-8 (MLPerf Tiny), second convolution of the first stack: its input, its
# output and the shortcut, 32 x 32 x 16 each. MobileNetV1 0.25 at 96 pixels, first pointwise layer: 48 x 48 of 8
# channels in, of 16 out.
LIVE = {"pretrainedResnet_quant.tflite": 3 * 32 * 32 * 16, "vww_96_int8.tflite": 48 * 48 * (8 + 16)}


@pytest.fixture(scope="module")
def models(shared_data: Path) -> Path:
    return shared_data / "thirdparty_models"


def view(*steps: tuple[str, str, str], types: str = "int8", shapes: dict[str, tuple[int, ...]] | None = None) -> View:
    """A graph of steps ``(operator, inputs, outputs)``, a tensor a letter; the first goes in, the last comes out."""
    letters = sorted({letter for _, inputs, outputs in steps for letter in inputs + outputs})
    place = {letter: index for index, letter in enumerate(letters)}
    return View(
        tensors=tuple(Tensor(letter, (shapes or {}).get(letter, (1, 8)), types) for letter in letters),
        operators=tuple(
            Operator(name, tuple(place[i] for i in inputs), tuple(place[o] for o in outputs))
            for name, inputs, outputs in steps
        ),
        input_indices=(0,),
        output_indices=(len(letters) - 1,),
        num_subgraphs=1,
        metadata={},
        associated_files={},
    )


def profile(**changes: Any) -> Target:
    return Target(**{"name": "mine", "description": "d", **changes})


# Memory


@pytest.mark.parametrize("name", LIVE)
def test_what_lives_at_once_in_published_networks(name: str, models: Path) -> None:
    assert live_bytes(open_view(models / name)) == LIVE[name]
    # The same network in float32 takes four times as much.
    other = {"pretrainedResnet_quant.tflite": "pretrainedResnet.tflite", "vww_96_int8.tflite": "vww_96_float.tflite"}
    assert live_bytes(open_view(models / other[name])) == 4 * LIVE[name]


def test_a_tensor_lives_from_its_writer_to_its_last_reader() -> None:
    sizes = {"a": (1, 10), "b": (1, 20), "c": (1, 40), "d": (1, 5)}
    chain = view(("RELU", "a", "b"), ("RELU", "b", "c"), ("RELU", "c", "d"), shapes=sizes)
    assert live_bytes(chain) == 20 + 40
    shortcut = view(("RELU", "a", "b"), ("RELU", "b", "c"), ("ADD", "ac", "d"), shapes=sizes)
    assert live_bytes(shortcut) == 10 + 20 + 40
    assert live_bytes(view(("RELU", "a", "b"), types="float32")) == 4 * 16
    assert live_bytes(view(("HASHTABLE", "a", "b"), types="resource")) == 0


# Limits


def test_all_that_does_not_fit_is_listed() -> None:
    small = profile(
        limits=Limits(
            max_tflite_bytes=99, max_memory_bytes=115, max_arena_bytes=15, operators=("RELU",), types=("float32",)
        )
    )
    found = hold(small, view(("RELU", "a", "b"), ("ADD", "bb", "c")), 100)
    assert [(row["id"], row["limit"], row["measured"], row["held"]) for row in found.limits] == [
        ("max_tflite_bytes", 99, 100, False),
        ("max_memory_bytes", 115, 116, False),
        ("max_arena_bytes", 15, 16, False),
        ("max_refused_operators", 0, 2, False),
    ]
    assert len(found.reasons) == 5
    assert found.reasons[0].startswith("the file has 100 bytes (100 B); 99 bytes (99 B) are there (max_tflite_bytes); ")
    assert any(text.startswith("RELU: int8; limits.types of the profile has float32; ") for text in found.reasons)
    assert any(text.startswith("ADD: not among limits.operators of the profile; ") for text in found.reasons)


def test_a_limit_that_is_just_met_holds() -> None:
    met = profile(
        limits=Limits(
            max_tflite_bytes=100, max_memory_bytes=116, max_arena_bytes=16, operators=("RELU",), types=("int8",)
        )
    )
    found = hold(met, view(("RELU", "a", "b")), 100)
    assert all(row["held"] for row in found.limits)
    assert found.reasons == ()


def test_an_arena_that_was_found_stands_for_the_one_that_was_reckoned() -> None:
    limited = profile(limits=Limits(max_arena_bytes=50))
    found = hold(limited, view(("RELU", "a", "b")), 100, arena_bytes=51)
    assert [row["measured"] for row in found.limits if row["id"] == "max_arena_bytes"] == [51]
    assert found.reasons[0].startswith("51 bytes (51 B) of arena; 50 bytes (50 B) are there (max_arena_bytes); ")


def test_a_latency_is_held_against_the_profile_where_there_is_one() -> None:
    limited, graph = profile(limits=Limits(max_p50_ms=2.0)), view(("RELU", "a", "b"))
    assert [row["id"] for row in hold(limited, graph, 100).limits] == ["max_refused_operators"]
    for p50_ms, held in ((2.0, True), (2.5, False)):
        found = hold(limited, graph, 100, p50_ms=p50_ms)
        assert [(row["measured"], row["held"]) for row in found.limits if row["id"] == "max_p50_ms"] == [(p50_ms, held)]
        assert len(found.reasons) == (not held)
    assert found.reasons[0].startswith("a p50 of 2.5 ms; 2 ms are there (max_p50_ms); ")


def test_tflite_micro_runs_no_model_of_which_it_refuses_an_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def examine(*_: object) -> None:
        raise AssertionError("it was run")

    monkeypatch.setattr("edgekd.micro.examine", examine)
    (tmp_path / "float.tflite").write_bytes(dense_file(np.ones((2, 3))))
    images = np.zeros((1, 1, 1, 3), np.uint8)
    found = against("float", tmp_path / "float.tflite", images, target.load("microcontroller"))
    assert found["micro"] is None
    assert [row["measured"] for row in found["limits"] if row["id"] == "max_refused_operators"] == [1]


def test_litert_by_itself_runs_no_custom_operator() -> None:
    graph = view(("CONV_2D", "a", "b"), ("FlexErf", "b", "c"), ("__doc__", "c", "d"))
    texts = [litert(graph, operator) for operator in graph.operators]
    assert [None if found is None else found.text for found in texts] == [None, *["no built-in operator of LiteRT"] * 2]


# What profiles say of real models


@pytest.mark.parametrize("name", ["pretrainedResnet_quant.tflite", "vww_96_int8.tflite"])
def test_mlperf_tiny_fits_a_microcontroller(name: str, models: Path) -> None:
    path = models / name
    found = hold(target.load("microcontroller"), open_view(path), path.stat().st_size)
    assert found.reasons == ()
    (ethos,) = found.forecasts
    assert (ethos["client"], ethos["macs_share"]) == ("Ethos-U55", 1.0)


def test_floats_do_not_fit_one_and_nor_does_mobilenet(models: Path) -> None:
    micro = target.load("microcontroller")
    path = models / "vww_96_float.tflite"
    found = hold(micro, open_view(path), path.stat().st_size)
    # 217,000 weights of four bytes are more than the flash; the tensors are 221,184 bytes.
    assert {row["id"] for row in found.limits if not row["held"]} == {
        *("max_tflite_bytes", "max_arena_bytes", "max_refused_operators"),
    }
    assert any("float32; limits.types of the profile has bool, int8, int16, int32" in text for text in found.reasons)
    path = models / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    assert not hold(micro, open_view(path), path.stat().st_size).limits[0]["held"]
    assert hold(target.load("raspberry-pi"), open_view(path), path.stat().st_size).reasons == ()


def test_the_gpu_table() -> None:
    graph = view(("CONV_2D", "a", "b"), ("MEAN", "b", "c"), types="float32")
    assert [found and found.text for found in (gpu(graph, step) for step in graph.operators)] == [
        None,
        "not in the table",
    ]
    for types, taken in (("int8", True), ("uint8", True), ("float16", True), ("int16", False)):
        graph = view(("CONV_2D", "a", "b"), types=types)
        assert (gpu(graph, graph.operators[0]) is None) == taken


# The command


def check(*words: object) -> Any:
    return CliRunner().invoke(cli.main, ["target", "check", *(str(word) for word in words)])


def test_the_command_ends_with_1_and_all_reasons(models: Path, tmp_path: Path) -> None:
    done = check("microcontroller", models / "vww_96_int8.tflite")
    assert done.exit_code == 0, done.stdout
    assert "held    max_arena_bytes: 55,296 against 196,608" in done.stdout
    assert "forecast  Ethos-U55 takes 31 of 31 operators, 100.0% of the multiply-accumulates (from Vela" in done.stdout
    assert done.stdout.endswith("vww_96_int8.tflite: fits: target microcontroller\n")
    done = check("microcontroller", models / "vww_96_float.tflite")
    assert done.exit_code == 1
    assert done.stdout.count("reason  ") == 3
    own = tmp_path / "tablet.toml"
    own.write_text('description = "d"\n[limits]\nmax_tflite_bytes = 1\n')
    done = check(own, models / "vww_96_int8.tflite", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["name"], len(found["reasons"]), found["micro"]) == ("tablet", 1, None)


def test_what_is_no_model_is_code_2(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"\0\0\0\0TFL3")
    done = check("host", tmp_path / "m.tflite")
    assert done.exit_code == 2
    assert "damaged" in done.stderr
