"""The int8 student as ONNX: ONNX Runtime, an independent implementation, gives what XNNPACK gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import artifacts, colour_images, write_bundle

import edgekd
from edgekd import _litert, onnx_export
from edgekd.artifact import Artifact
from edgekd.config.bundle import Bundle
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.errors import ConversionError, MissingRequirementError, RecipeError
from edgekd.stages.bundle import bundle

ONNX = "model_int8_io.onnx"


@pytest.fixture(scope="module")
def runtime() -> Any:
    pytest.importorskip("tf2onnx", reason='needs pip install "edgekd[onnx]"')
    return pytest.importorskip("onnxruntime", reason='needs pip install "edgekd[onnx]"')


@pytest.fixture(scope="module")
def folder(runtime: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "bundle"
    write_bundle(path, onnx=True)
    return path


def source() -> Path:
    return artifacts()[0].path / "student_int8_io.tflite"


def as_int8(images: np.ndarray) -> np.ndarray:
    """What the manifest says: pixel - 128."""
    return (images.astype(np.int16) - 128).astype(np.int8)


def run_onnx(runtime: Any, path: Path, images: np.ndarray) -> np.ndarray:
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: as_int8(images[index : index + 1])})[0][0] for index in range(len(images))]
    return np.stack(rows)


def test_logits_are_within_one_unit_of_xnnpack(runtime: Any, folder: Path) -> None:
    images = colour_images(64, seed=41)
    here = _litert.run(_litert.open_interpreter(source(), "xnnpack"), images).astype(int)
    there = run_onnx(runtime, folder / ONNX, images)
    assert there.dtype == np.int8
    assert len(set(here.argmax(axis=1))) == 3, "a constant network proves nothing"
    assert np.abs(here - there).max() <= 1
    ordered = np.sort(here, axis=1)
    apart = ordered[:, -1] - ordered[:, -2] > 2  # one unit on either side may make or break a tie
    assert apart.sum() > 50
    np.testing.assert_array_equal(here.argmax(axis=1)[apart], there.argmax(axis=1)[apart])


def test_manifest_lists_the_file_and_says_how_to_feed_it(runtime: Any, folder: Path) -> None:
    manifest = json.loads((folder / "edgekd_manifest.json").read_text())
    assert ONNX in [row["path"] for row in manifest["files"]]
    about = manifest["onnx"]
    session = runtime.InferenceSession(str(folder / ONNX), providers=["CPUExecutionProvider"])
    (given,), (taken,) = session.get_outputs(), session.get_inputs()
    assert (about["input"]["name"], about["input"]["shape"], taken.type) == (taken.name, taken.shape, "tensor(int8)")
    assert (about["output"]["name"], about["output"]["shape"], given.type) == (given.name, given.shape, "tensor(int8)")
    assert (about["input"]["scale"], about["input"]["zero_point"]) == (1.0, -128)
    assert {"tf2onnx", "onnx"} <= set(about["versions"])
    edgekd.load_bundle(folder)


def test_the_manifests_scale_turns_logits_into_probabilities(runtime: Any, folder: Path) -> None:
    images = colour_images(16, seed=42)
    about = json.loads((folder / "edgekd_manifest.json").read_text())["onnx"]["output"]
    logits = about["scale"] * (run_onnx(runtime, folder / ONNX, images).astype(np.float64) - about["zero_point"])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    shipped = _litert.predict_probs(folder / "model.tflite", images)
    # One unit of a logit moves a probability by a quarter of the scale at most, two logits by half of it.
    np.testing.assert_allclose(probs, shipped, atol=about["scale"] / 2)


def test_converting_twice_gives_the_same_bytes(runtime: Any, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "of another name.tflite"
    other.write_bytes(source().read_bytes())
    onnx_export.to_onnx(other, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (folder / ONNX).read_bytes()


def onnx_model(names: dict[str, str], *, swapped: bool = False) -> Any:
    """y = x / 2 + 1 in int8 steps of 1, and a node that nobody needs; any names, the nodes in either order."""
    from onnx import TensorProto, helper, numpy_helper

    n = {name: names.get(name, name) for name in ("half", "one", "step", "zero", "a", "b", "c", "d", "e", "unused")}
    constants = [
        numpy_helper.from_array(np.array(0.5, np.float32), n["half"]),
        numpy_helper.from_array(np.array(1, np.int8), n["one"]),
        numpy_helper.from_array(np.array(1.0, np.float32), n["step"]),
        numpy_helper.from_array(np.array(0, np.int8), n["zero"]),
    ]
    first = helper.make_node("Mul", ["x", n["half"]], [n["a"]])
    second = helper.make_node("DequantizeLinear", [n["one"], n["step"], n["zero"]], [n["b"]])
    nodes = [
        *((second, first) if swapped else (first, second)),
        helper.make_node("Add", [n["a"], n["b"]], [n["c"]]),
        helper.make_node("QuantizeLinear", [n["c"], n["step"], n["zero"]], ["y"]),
        helper.make_node("Neg", [n["a"]], [n["unused"]]),
    ]
    shape = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5])]
    result = [helper.make_tensor_value_info("y", TensorProto.INT8, [5])]
    graph = helper.make_graph(nodes, "g", shape, result, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run_model(runtime: Any, model: Any) -> list[int]:
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values: list[int] = session.run(None, {"x": np.array([-3, -1, 0, 1, 3], np.float32)})[0].tolist()
    return values


def test_canonical_form_depends_on_nothing_but_the_computation(runtime: Any) -> None:
    plain, renamed = onnx_model({}), onnx_model({"a": "z", "half": "constant_7", "c": "0"}, swapped=True)
    first, second = onnx_export.canonical(plain), onnx_export.canonical(renamed)
    assert first.SerializeToString() == second.SerializeToString()
    operators = [node.op_type for node in first.graph.node]
    assert (sorted(operators[:2]), operators[2:]) == (["DequantizeLinear", "Mul"], ["Add", "QuantizeLinear"])
    assert run_model(runtime, first) == run_model(runtime, plain)


def test_halves_are_rounded_up_and_nothing_else_changes(runtime: Any) -> None:
    # x / 2 + 1 for -3, -1, 0, 1, 3 is -0.5, 0.5, 1, 1.5, 2.5: to the even neighbour, and up.
    assert run_model(runtime, onnx_model({})) == [0, 0, 1, 2, 2]
    assert run_model(runtime, onnx_export.round_halves_up(onnx_model({}))) == [0, 1, 1, 2, 3]


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "tf2onnx" else object())
    with pytest.raises(
        MissingRequirementError, match=r'bundle.onnx = true needs tf2onnx; run pip install "edgekd\[onnx\]"'
    ) as raised:
        write_bundle(tmp_path / "bundle", onnx=True)
    assert raised.value.exit_code == 3


def test_the_variant_it_is_made_from_must_be_there(tmp_path: Path) -> None:
    quantized, images, verified = artifacts()
    rows = [row for row in quantized.facts["models"] if row["id"] != "student_int8_io"]
    without = Artifact(quantized.path, quantized.digest, {**quantized.facts, "models": rows})
    with pytest.raises(RecipeError, match=r"variant int8_io; add it to quantize.variants"):
        bundle(
            without,
            images,
            verified,
            Bundle(onnx=True),
            tmp_path,
            recipe_name="x",
            teacher=Teacher(),
            student=Distill(),
        )


def test_a_model_that_cannot_be_converted_is_told(runtime: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    with pytest.raises(ConversionError, match=r'^"broken.tflite" cannot be converted to ONNX: \S[^\n]*$'):
        onnx_export.to_onnx(tmp_path / "broken.tflite", tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_without_the_setting_there_is_no_onnx(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "bundle")
    assert "onnx" not in manifest
    assert not (tmp_path / "bundle" / ONNX).exists()
