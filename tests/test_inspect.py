"""``edgekd inspect``: other people's models, and damaged ones."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flatbuffer_models import dense_file, mutations

from edgekd import cli, inspect
from edgekd.errors import ModelError
from edgekd.inspect import tables
from edgekd.inspect.anatomy import float_islands, operator_rows, tensor_row, weight_granularity
from edgekd.inspect.forecast import edge_tpu, ethos_u55, tflite_micro
from edgekd.inspect.mediapipe import objections
from edgekd.model_child import FLOAT_RANGES, in_range, made_up, probe
from edgekd.tflite.metadata_reader import Metadata
from edgekd.tflite.view import Operator, Tensor, View

# ``<steps>``: kernel, stride, and channels of MLPerf Tiny's ResNet-8 (Banbury et al. 2021, figure of the model):
# 3x3 to 16, then three stacks of two 3x3 layers of 16, 32, 64 with a 1x1 shortcut where the side is halved.
RESNET8_MACS = (
    32 * 32 * 16 * (9 * 3)
    + 2 * 32 * 32 * 16 * (9 * 16)
    + 16 * 16 * 32 * (9 * 16 + 9 * 32 + 16)
    + 8 * 8 * 64 * (9 * 32 + 9 * 64 + 32)
    + 64 * 10
)


def mobilenet_v1_macs(side: int, classes: int) -> int:
    """Howard et al. 2017, table 1, with a quarter of the channels."""
    side //= 2
    total = side * side * 8 * 27
    channels = 8
    table = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for out, stride in table:
        side //= stride
        total += side * side * channels * (9 + out)
        channels = out
    return total + channels * classes


def mobilenet_v2_macs(classes: int) -> int:
    """Sandler et al. 2018, table 2, at 224 pixels: expansion, channels, repeats, stride."""
    total, side, channels = 112 * 112 * 32 * 27, 112, 32
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, out, repeats, stride in table:
        for repeat in range(repeats):
            inner = expansion * channels
            total += side * side * channels * inner if expansion > 1 else 0
            side //= stride if repeat == 0 else 1
            total += side * side * inner * (9 + out)
            channels = out
    return total + 7 * 7 * 320 * 1280 + 1280 * classes


# Size in KB where one is published (Banbury et al. 2021, "MLPerf Tiny Benchmark": 96 and 325), and the operations of
# the published networks, counted by hand above, and in millions, as they are usually cited.
PUBLISHED: dict[str, tuple[int | None, int, float]] = {
    "pretrainedResnet_quant.tflite": (96, RESNET8_MACS, 12.5),
    "pretrainedResnet.tflite": (None, RESNET8_MACS, 12.5),
    "vww_96_int8.tflite": (325, mobilenet_v1_macs(96, 2), 7.5),
    "vww_96_float.tflite": (None, mobilenet_v1_macs(96, 2), 7.5),
    "mobilenet_v1_0.25_128_quant.tflite": (None, mobilenet_v1_macs(128, 1001), 13.6),
    "tf2_mobilenet_v2_1.0_224_ptq.tflite": (None, mobilenet_v2_macs(1001), 300.8),
}


@pytest.fixture(scope="module")
def models(shared_data: Path) -> Path:
    return shared_data / "thirdparty_models"


def row_of(found: dict[str, Any], client: str) -> dict[str, Any]:
    return next(row for row in found["forecasts"] if row["client"] == client)


# Other people's models


def test_every_model_that_is_there_has_published_figures(models: Path) -> None:
    assert {path.name for path in models.glob("*.tflite")} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_and_operation_counts_are_the_published_ones(name: str, models: Path) -> None:
    kib, macs, millions = PUBLISHED[name]
    found = inspect.describe(models / name)
    assert found["macs"] == macs
    assert round(found["macs"] / 1e6, 1) == millions
    assert sum(row["macs"] for row in found["operators"]) == found["macs"]
    assert found["bytes"] == (models / name).stat().st_size
    if kib is not None:
        assert found["bytes"] // 1024 == kib
    assert found["float_islands"] == []


def test_the_anatomy_of_an_int8_model(models: Path) -> None:
    found = inspect.describe(models / "pretrainedResnet_quant.tflite")
    assert found["dtype"] == "int8"
    (image,), (probs,) = found["inputs"], found["outputs"]
    assert (image["dtype"], image["scale"], image["zero_point"], image["range"]) == ("int8", 1.0, -128, [0.0, 255.0])
    assert (probs["dtype"], probs["scale"], probs["shape"]) == ("int8", 1 / 256, [-1, 10])
    rows = {row["name"]: row for row in found["operators"]}
    assert {name: row["count"] for name, row in rows.items()} == {
        **{"CONV_2D": 9, "ADD": 3, "AVERAGE_POOL_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1}
    }
    assert (rows["CONV_2D"]["weights"], rows["FULLY_CONNECTED"]["weights"]) == (["per_channel"], ["per_tensor"])
    assert (rows["CONV_2D"]["macs"], rows["FULLY_CONNECTED"]["macs"]) == (RESNET8_MACS - 640, 640)
    assert found["weight_types"] == {"int8": found["num_params"] - (16 * 3 + 32 * 3 + 64 * 3 + 10)}  # without biases


def test_metadata_and_labels(models: Path) -> None:
    metadata = inspect.describe(models / "mobilenet_v1_0.25_128_quant.tflite")["metadata"]
    assert (metadata["num_labels"], metadata["labels"][:2]) == (1001, ("background", "tench, Tinca tinca"))
    assert (metadata["mean"], metadata["std"]) == ((127.5,), (127.5,))
    assert inspect.describe(models / "vww_96_int8.tflite")["metadata"] is None


@pytest.mark.parametrize(
    ("name", "objection"),
    [
        ("vww_96_int8.tflite", "int8 input is refused"),
        ("vww_96_float.tflite", "float32 input without NormalizationOptions is refused"),
    ],
)
def test_what_mediapipe_refuses(name: str, objection: str, models: Path) -> None:
    found = row_of(inspect.describe(models / name), "MediaPipe ImageClassifier")["objections"]
    assert any(row["text"].startswith(objection) and row["remedy"] for row in found)


def test_what_mediapipe_takes(models: Path) -> None:
    """uint8 in and out, labels and metadata inside."""
    for name in ("mobilenet_v1_0.25_128_quant.tflite", "tf2_mobilenet_v2_1.0_224_ptq.tflite"):
        assert row_of(inspect.describe(models / name), "MediaPipe ImageClassifier")["objections"] == []


def test_npus_take_the_int8_models_and_leave_the_float_ones(models: Path) -> None:
    for name, share in (("vww_96_int8.tflite", 1.0), ("vww_96_float.tflite", 0.0)):
        found = inspect.describe(models / name)
        for client in ("Ethos-U55", "Edge TPU"):
            row = row_of(found, client)
            assert (row["macs_share"], row["operators_taken"]) == (share, share * row["num_operators"])
            assert row["table"] in (tables.ETHOS_U55_SOURCE, tables.EDGE_TPU_SOURCE)


def test_micro_takes_the_mlperf_tiny_models_and_not_uint8(models: Path) -> None:
    """The reference implementation of MLPerf Tiny runs on TFLite Micro."""
    for name in ("pretrainedResnet_quant.tflite", "vww_96_int8.tflite"):
        assert row_of(inspect.describe(models / name), "TFLite Micro")["objections"] == []
    (row,) = row_of(inspect.describe(models / "mobilenet_v1_0.25_128_quant.tflite"), "TFLite Micro")["objections"]
    assert row["text"].startswith("CONV_2D x 15, DEPTHWISE_CONV_2D x 13, AVERAGE_POOL_2D, SOFTMAX: uint8")


# Hand-made graphs


def graph(*steps: tuple[str, str, str], constants: str = "", **dtypes: str) -> View:
    """A graph of operators ``(name, inputs, outputs)`` on tensors of one letter; lower-case ones are float32."""
    letters = sorted({letter for _, inputs, outputs in steps for letter in inputs + outputs})
    place = {letter: index for index, letter in enumerate(letters)}
    made = {letter for _, _, outputs in steps for letter in outputs}
    used = {letter for _, inputs, _ in steps for letter in inputs}
    return View(
        tensors=tuple(
            Tensor(
                letter,
                (1, 4),
                dtypes.get(letter, "float32" if letter.islower() else "int8"),
                values=np.ones(4, np.int8) if letter in constants else None,
            )
            for letter in letters
        ),
        operators=tuple(
            Operator(name, tuple(place[letter] for letter in inputs), tuple(place[letter] for letter in outputs))
            for name, inputs, outputs in steps
        ),
        input_indices=tuple(place[letter] for letter in letters if letter not in made and letter not in constants),
        output_indices=tuple(place[letter] for letter in letters if letter not in used),
        num_subgraphs=1,
        metadata={},
        associated_files={},
    )


@pytest.mark.parametrize(
    ("view", "islands"),
    [
        # all integer, all float
        (graph(("RELU", "A", "B"), ("RELU", "B", "C")), []),
        (graph(("RELU", "a", "b"), ("RELU", "b", "c")), []),
        # a float head and a float tail
        (graph(("QUANTIZE", "a", "B"), ("RELU", "B", "C"), ("DEQUANTIZE", "C", "d"), ("SOFTMAX", "d", "e")), []),
        # one operator between, and a bare pair
        (
            graph(("DEQUANTIZE", "A", "b"), ("GELU", "b", "c"), ("QUANTIZE", "c", "D")),
            [["DEQUANTIZE", "GELU", "QUANTIZE"]],
        ),
        (graph(("DEQUANTIZE", "A", "b"), ("QUANTIZE", "b", "C")), [["DEQUANTIZE", "QUANTIZE"]]),
        # two branches that meet are one island, two in a row are two
        (
            graph(("DEQUANTIZE", "A", "b"), ("DEQUANTIZE", "C", "d"), ("MUL", "bd", "e"), ("QUANTIZE", "e", "F")),
            [["DEQUANTIZE", "DEQUANTIZE", "MUL", "QUANTIZE"]],
        ),
        (
            graph(
                ("DEQUANTIZE", "A", "b"),
                ("QUANTIZE", "b", "C"),
                ("RELU", "C", "D"),
                ("DEQUANTIZE", "D", "e"),
                ("ELU", "e", "f"),
                ("QUANTIZE", "f", "G"),
            ),
            [["DEQUANTIZE", "QUANTIZE"], ["DEQUANTIZE", "ELU", "QUANTIZE"]],
        ),
        # weights stored in few bits and widened are no island
        (graph(("DEQUANTIZE", "W", "w"), ("FULLY_CONNECTED", "aw", "b"), constants="W"), []),
    ],
)
def test_float_islands(view: View, islands: list[list[str]]) -> None:
    assert float_islands(view) == islands


def test_granularity_of_weights() -> None:
    assert weight_granularity(Tensor("k", (2, 4), "int8", (0.1, 0.2), (0, 0))) == "per_channel"
    assert weight_granularity(Tensor("k", (2, 4), "int8", (0.1,), (0,))) == "per_tensor"
    assert weight_granularity(Tensor("k", (2, 4), "float16")) == "float16"


def test_the_range_of_a_tensor() -> None:
    row = tensor_row(Tensor("image", (1, 8, 8, 3), "uint8", (0.5,), (128,)))
    assert row["range"] == [-64.0, 63.5]
    assert "range" not in tensor_row(Tensor("image", (1, 8, 8, 3), "float32"))


def judged(judge: Any, view: View) -> list[str | None]:
    found = [judge(view, operator) for operator in view.operators]
    return [objection and objection.text for objection in found]


def test_what_the_tables_say() -> None:
    view = graph(("CONV_2D", "AW", "B"), ("GELU", "B", "C"), ("RELU", "C", "D"), constants="W")
    assert judged(ethos_u55, view) == [None, None, None]  # GELU since Vela 5
    assert judged(edge_tpu, view) == [None, "not in the table", None]
    assert judged(tflite_micro, view) == [None, "no kernel for it", None]
    half = graph(("DEQUANTIZE", "W", "w"), ("CONV_2D", "aw", "b"), constants="W", W="float16")
    assert judged(tflite_micro, half) == ["float16", None]


def test_the_edge_tpu_takes_what_stands_before_the_first_operator_it_lacks() -> None:
    from edgekd.inspect.forecast import forecasts

    view = graph(("QUANTIZE", "a", "B"), ("RELU", "B", "C"), ("GELU", "C", "D"), ("RELU", "D", "E"))
    rows = {row["client"]: row for row in forecasts(view, None)}
    assert rows["Edge TPU"]["operators_taken"] == 1  # not the QUANTIZE of the input, nor what follows GELU
    assert rows["Ethos-U55"]["operators_taken"] == 3  # all but the QUANTIZE of a float


def metadata(**changes: Any) -> Metadata:
    texts = ("name", "description", "version", "author", "licence", "min_parser_version", "input_name", "output_name")
    given: dict[str, Any] = {
        **dict.fromkeys(texts, ""),
        **{"mean": (0.0,), "std": (1.0,), "input_range": (), "labels_file": "labels.txt", "labels": ("a", "b")},
    }
    return Metadata(**{**given, **changes})


def classifier(input_type: str = "uint8", last: str = "SOFTMAX", shape: tuple[int, ...] = (1, 8, 8, 3)) -> View:
    return View(
        tensors=(Tensor("in", shape, input_type), Tensor("out", (1, 2), "float32")),
        operators=(Operator(last, (0,), (1,)),),
        input_indices=(0,),
        output_indices=(1,),
        num_subgraphs=1,
        metadata={},
        associated_files={},
    )


@pytest.mark.parametrize(
    ("view", "told", "expected"),
    [
        (classifier(), metadata(), []),
        (classifier("float32"), metadata(), []),
        (classifier("float32"), metadata(mean=(1.0, 2.0, 3.0)), ["NormalizationOptions with 3 means"]),
        (classifier(), metadata(labels=("a", "b", "c")), ["3 labels for 2 outputs"]),
        (classifier(), None, ["no labels in the file"]),
        (classifier(last="FULLY_CONNECTED"), metadata(), ["no softmax or sigmoid at the end"]),
        (classifier(shape=(1, 8, 8, 1)), metadata(), ["input of shape (1, 8, 8, 1)"]),
        (classifier(shape=(1, -1, -1, 3)), metadata(), ["input of shape (1, -1, -1, 3)"]),
    ],
)
def test_mediapipe_rules(view: View, told: Metadata | None, expected: list[str]) -> None:
    found = [text for text, _ in objections(view, told)]
    assert len(found) == len(expected)
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True))


# Whether it answers


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kernel", "constant", "finite"),
    [
        ([[0.0] * 6, [0.0] * 6], True, True),
        ([[0.5, -1, 2, 0, 0, 1], [0, 1, 0, 1, 0, 1]], False, True),
        ([[float("nan")] * 6, [1.0] * 6], False, False),
    ],
)
def test_constant_output(kernel: Any, constant: bool, finite: bool, tmp_path: Path) -> None:
    found = inspect.inspect(write(tmp_path / "dense.tflite", dense_file(kernel)))
    assert found["run"] == {"ran": True, "constant": constant, "finite": finite, "reason": ""}
    assert (found["macs"], found["dtype"]) == (12, "fp32")


def test_made_up_input_fills_the_range() -> None:
    generator = np.random.default_rng(0)
    pictures = np.stack(
        [in_range(made_up((1, 8, 8, 3), index, generator), np.dtype("int8"), 0, 1) for index in range(8)]
    )
    assert (pictures[0].max(), pictures[1].min(), pictures.min(), pictures.max()) == (-128, 127, -128, 127)
    assert len({picture.tobytes() for picture in pictures}) == 8
    floats = in_range(np.array([0.0, 0.25, 1.0]), np.dtype("float32"), *FLOAT_RANGES[2])
    np.testing.assert_array_equal(floats, np.float32([-1, -0.5, 1]))


def test_input_that_cannot_be_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.model_child.MAX_ELEMENTS", 5)
    monkeypatch.setattr("edgekd.model_child.limit_memory", lambda: None)
    path = write(tmp_path / "dense.tflite", dense_file(np.ones((2, 6))))
    with pytest.raises(ModelError, match=r"input of shape \[1, 6\]; too large"):
        probe({"model": str(path)})


def test_a_model_that_hangs_is_stopped(tmp_path: Path) -> None:
    path = write(tmp_path / "dense.tflite", dense_file(np.ones((2, 6))))
    run = inspect.run(path, seconds=0.01)
    assert (run["ran"], run["constant"]) == (False, None)
    assert "did not answer within 0.01 seconds" in run["reason"]


# The command


def test_the_command_prints_everything(models: Path) -> None:
    done = CliRunner().invoke(cli.main, ["inspect", str(models / "pretrainedResnet_quant.tflite")])
    assert done.exit_code == 0
    for text in (
        "98,496 bytes (96.2 KiB)",
        "input: input_1_int8, int8 any x 32 x 32 x 3, scale 1, zero point -128: real numbers 0 to 255",
        "12,501,632 multiply-accumulates, 77,706 parameters",
        "float islands: none",
        "metadata: none",
        "run: the output depends on the input",
        "  - int8 input is refused; uint8 and float32 are taken; remedy: convert with uint8 input",
        "Ethos-U55: takes 16 of 16 operators, 100.0% of the multiply-accumulates (forecast from Vela 5.2.0",
    ):
        assert text in done.stdout


def test_the_command_as_json_and_in_time(models: Path) -> None:
    path = models / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    command = [sys.executable, "-m", "edgekd", "inspect", "--json", str(path)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    seconds = time.perf_counter() - started
    found = json.loads(done.stdout)
    assert found["run"]["ran"] is True
    assert found["metadata"]["num_labels"] == 1001
    assert seconds < 20  # under 2 s on a machine that has nothing else to do


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "not a TensorFlow Lite file"),
        (b"\x89HDF\r\n\x1a\n", "not a TensorFlow Lite file"),
        (dense_file(np.ones((2, 6)))[:200], "is damaged"),
    ],
)
def test_what_is_no_model_is_one_line_and_code_2(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "model.tflite").write_bytes(content)
    done = CliRunner().invoke(cli.main, ["inspect", str(tmp_path / "model.tflite")])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize("name", ["dense", "vww_96_int8.tflite", "mobilenet_v1_0.25_128_quant.tflite"])
def test_damaged_files_are_described_or_refused(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """300 in all; whatever is described is JSON."""
    path = tmp_path / "model.tflite"
    if name == "dense":
        content = dense_file(np.ones((2, 6)))
    else:
        content = (request.getfixturevalue("models") / name).read_bytes()
    refusals = []
    for damaged in mutations(content, 100, seed=6):
        path.write_bytes(damaged)
        try:
            json.dumps(inspect.describe(path), allow_nan=False)
        except ModelError as error:
            refusals.append(str(error))
    assert 25 <= len(refusals) < 100
    assert all(text.startswith('model "model.tflite"') and len(text.splitlines()) == 1 for text in refusals)


def test_damaged_files_in_the_interpreter(tmp_path: Path) -> None:
    """A few of them all the way: what LiteRT makes of them stays in the child."""
    for index, damaged in enumerate(mutations(dense_file(np.ones((2, 6))), 9, seed=7)):
        path = write(tmp_path / f"{index}.tflite", damaged)
        run = inspect.run(path)
        assert run["ran"] or run["reason"]


def test_operator_rows_begin_with_the_costliest() -> None:
    view = graph(("RELU", "A", "B"), ("FULLY_CONNECTED", "BW", "C"), ("RELU", "C", "D"), constants="W")
    assert [row["name"] for row in operator_rows(view)] == ["FULLY_CONNECTED", "RELU"]
