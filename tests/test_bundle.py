"""The stage that writes a bundle: what is in it, that it is the measured model, and that the goldens can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import LICENCE, NAMES, artifacts, integer_bundle, tiny_bundle, write_bundle
from PIL import Image
from tflite_models import SIDE

from edgekd import android, tflite
from edgekd._litert import KERNELS, open_interpreter, predict_probs, run
from edgekd.artifact import sha256_file
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.data import Dataset
from edgekd.errors import UserError
from edgekd.goldens import make_pictures
from edgekd.manifest import MANIFEST_FILE, golden_holds
from edgekd.recheck.bundle import bundle_checks
from edgekd.runtime import load_bundle


@pytest.fixture(scope="module")
def folder() -> Path:
    return tiny_bundle()


@pytest.fixture(scope="module")
def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
    return content


@pytest.fixture(scope="module")
def golden(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "golden" / "golden.json").read_text())
    return content


@pytest.fixture(scope="module")
def inputs(folder: Path, golden: dict[str, Any]) -> np.ndarray:
    raw = [np.frombuffer((folder / row["input"]).read_bytes(), np.uint8) for row in golden["vectors"]]
    return np.stack(raw).reshape(-1, SIDE, SIDE, 3)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_bundling_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "again")
    assert content_of(tmp_path / "again") == content_of(folder)


def test_the_model_is_the_measured_file(folder: Path) -> None:
    quantized, _, _ = artifacts()
    assert (folder / "model.tflite").read_bytes() == (quantized.path / "student_int8.tflite").read_bytes()


def test_of_a_target_that_takes_integers_alone_the_bundle_says_so() -> None:
    """int8 is pixel - 128 at scale 1; the goldens are the same network's answers, and the runtime gives them."""
    folder = integer_bundle()
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    quantized, _, _ = artifacts()
    assert (folder / "model.tflite").read_bytes() == (quantized.path / "student_int8_io.tflite").read_bytes()
    told = manifest["input"]
    assert (told["dtype"], told["scale"], told["zero_point"], told["range"]) == ("int8", 1, -128, [-128, 127])
    assert (manifest["output"]["dtype"], manifest["output"]["meaning"]) == ("int8", "logits")
    loaded = load_bundle(folder)
    assert [loaded.self_test(kernel) for kernel in KERNELS] == [[], [], []]
    # A picture that is all red, and its probabilities: from the logits, by the formula of the manifest.
    red = np.zeros((SIDE, SIDE, 3), np.uint8)
    red[..., 0] = 255
    (found,) = loaded.predict([red])
    (raw,) = run(open_interpreter(folder / "model.tflite"), red[None])
    logits = manifest["output"]["scale"] * (raw.astype(float) - manifest["output"]["zero_point"])
    assert found.label == "red"
    np.testing.assert_allclose(found.probs, np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
    assert not [check.about for check in bundle_checks(folder, manifest) if not check.held]


def test_the_app_gets_no_bundle_that_takes_integers_alone(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "build.gradle.kts").write_text("")
    with pytest.raises(UserError, match="takes int8: it was built for a microcontroller or an NPU"):
        android.lay_into(load_bundle(integer_bundle()), tmp_path)


def test_every_file_has_its_digest_and_size(folder: Path, manifest: dict[str, Any]) -> None:
    named = {row["path"]: (row["sha256"], row["bytes"]) for row in manifest["files"]}
    there = {name: folder / name for name in content_of(folder) if name != MANIFEST_FILE}
    assert named == {name: (sha256_file(path), path.stat().st_size) for name, path in there.items()}


def test_labels_are_in_the_order_of_the_classes(folder: Path, manifest: dict[str, Any]) -> None:
    assert (folder / "labels.txt").read_bytes() == b"red\ngreen\nblue\n"
    assert manifest["labels"] == list(NAMES)
    assert tflite.open_view(folder / "model.tflite").associated_files["labels.txt"].split() == [
        b"red",
        b"green",
        b"blue",
    ]


def test_manifest_says_what_the_app_must_do(manifest: dict[str, Any]) -> None:
    shape = [1, SIDE, SIDE, 3]
    assert manifest["input"] == {
        **{"name": "pixels", "shape": shape, "dtype": "uint8", "scale": 1.0, "zero_point": 0},
        **{"colour_order": "RGB", "range": [0, 255]},
    }
    assert manifest["output"] == {"name": "probs", "shape": [1, 3], "dtype": "float32", "meaning": "probabilities"}
    assert manifest["preprocessing"] == {
        **{"exif_rotation": True, "resize": "stretch", "filter": "pillow-bilinear", "size": SIDE},
        **{"grey": "replicated", "sixteen_bit": "upper byte", "alpha": "over black", "max_pixels": 64_000_000},
    }
    assert manifest["medical_device"] is False
    assert "Not a medical device" in manifest["intended_use"]
    assert {"python", "tensorflow", "ai-edge-litert", "numpy", "pillow"} <= set(manifest["versions"])


def test_manifest_carries_the_figures_of_the_report(manifest: dict[str, Any]) -> None:
    _, _, verified = artifacts()
    measured = verified.facts["models"]["student_int8"]
    figures = manifest["figures"]
    assert {name: figures[name] for name in measured["test"]} == measured["test"]
    assert figures["val"] == measured["val"]
    assert (figures["dataset"], figures["split"], figures["n"]) == ("colours", "test", 90)
    assert [gate["id"] for gate in manifest["gates"]] == ["min_top1"]


def test_manifest_names_licence_and_source_of_the_data(manifest: dict[str, Any]) -> None:
    assert (manifest["data"]["licence"], manifest["data"]["source"]) == (LICENCE, "drawn")


@pytest.mark.parametrize(
    ("teacher", "start", "licence"),
    [
        (Teacher(), "none", None),
        (Teacher(model="resnet50", weights="imagenet"), "imagenet", "MIT"),
        (Teacher(model="resnet50", weights="ab" * 32), "file", ""),
    ],
)
def test_manifest_names_the_weights_the_teacher_started_from(
    teacher: Teacher, start: str, licence: str | None, tmp_path: Path
) -> None:
    weights = write_bundle(tmp_path / "bundle", teacher=teacher)["weights"]
    assert weights["teacher_start"] == start
    assert weights["teacher"] == teacher.model
    assert weights["sha256"] == ("ab" * 32 if start == "file" else None)
    if licence is None:
        assert weights["licence"] is None
    else:
        assert weights["licence"].startswith(licence)
    assert ("Kaiming He" in (weights["attribution"] or "")) == (start == "imagenet")


def test_manifest_names_the_weights_of_an_ensemble_s_members(tmp_path: Path) -> None:
    members = {"a": Teacher(model="densenet121", weights="imagenet"), "b": Teacher()}
    weights = write_bundle(tmp_path / "bundle", teacher=Teacher(model="ensemble", members=members))["weights"]
    assert (weights["teacher"], weights["teacher_start"]) == ("ensemble", "members")
    assert weights["members"]["a"]["licence"].startswith("BSD-3-Clause")
    assert "Gao Huang" in weights["members"]["a"]["attribution"]
    assert weights["members"]["b"]["teacher_start"] == "none"


@pytest.mark.parametrize(
    ("weights", "start", "sha256", "licence"),
    [
        ("none", "none", None, None),
        ("imagenet", "imagenet", None, "Apache-2.0"),
        ("ab" * 32, "file", "ab" * 32, ""),
    ],
)
def test_manifest_names_the_weights_the_student_started_from(
    weights: str, start: str, sha256: str | None, licence: str | None, tmp_path: Path
) -> None:
    found = write_bundle(tmp_path / "bundle", student=Distill(student="mobilenet_v1", weights=weights))["weights"]
    assert (found["student_start"], found["student_sha256"], found["teacher_start"]) == (start, sha256, "none")
    assert (found["student_licence"] or "").startswith(licence or "")
    assert (found["student_licence"] is None) == (licence is None) == (found["student_attribution"] is None)
    assert ("Andrew Howard" in (found["student_attribution"] or "")) == (start == "imagenet")


def test_settings_of_the_recipe_arrive(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "bundle", num_golden=16, min_confidence=0.75, intended_use="For tests.")
    assert (manifest["min_confidence"], manifest["intended_use"]) == (0.75, "For tests.")
    assert manifest["abstention"]["rule"] == "largest probability < min_confidence"
    golden = json.loads((tmp_path / "bundle" / "golden" / "golden.json").read_text())
    assert len(golden["vectors"]) == 16


def test_goldens_are_made_unless_a_licence_is_named(
    manifest: dict[str, Any], golden: dict[str, Any], inputs: np.ndarray
) -> None:
    made = {"kind": "made", "licence": "CC0-1.0", "split": None}
    assert manifest["golden_source"] == golden["source"] == made
    drawn = {picture.tobytes() for picture in make_pictures(256, SIDE, SIDE, 0)}
    assert all(picture.tobytes() in drawn for picture in inputs)


def test_a_licence_brings_images_of_the_test_split(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "bundle", golden_images_licence="CC BY 4.0")
    golden = json.loads((tmp_path / "bundle" / "golden" / "golden.json").read_text())
    assert manifest["golden_source"] == {"kind": "images", "licence": "CC BY 4.0", "split": "test"}
    assert golden["source"] == manifest["golden_source"]
    _, images, _ = artifacts()
    test = {image.tobytes() for image in Dataset.open(images).test.images}
    raw = [(tmp_path / "bundle" / row["input"]).read_bytes() for row in golden["vectors"]]
    assert len(set(raw)) == 8
    assert set(raw) <= test
    assert all(row["decisive"] and row["fails_with_flipped_sign"] for row in golden["vectors"])


@pytest.mark.parametrize("kernel", KERNELS)
def test_goldens_hold_what_each_kernel_gives(
    kernel: str, folder: Path, golden: dict[str, Any], inputs: np.ndarray
) -> None:
    probs = predict_probs(folder / "model.tflite", inputs, kernel)
    stored = np.array([row["probs"][kernel] for row in golden["vectors"]], np.float32)
    np.testing.assert_array_equal(stored, probs)
    assert all(golden_holds(answer, row) for answer, row in zip(probs, golden["vectors"], strict=True))


def test_envelope_and_margin_follow_from_the_three_kernels(golden: dict[str, Any]) -> None:
    for row in golden["vectors"]:
        columns = list(zip(*(row["probs"][kernel] for kernel in KERNELS), strict=True))
        assert row["low"] == [min(column) for column in columns]
        assert row["high"] == [max(column) for column in columns]
        others = [value for place, value in enumerate(row["high"]) if place != row["top1"]]
        assert row["margin"] == pytest.approx(row["low"][row["top1"]] - max(others))
        assert row["decisive"] == (row["margin"] > 4 / 256)


def test_goldens_tell_right_from_wrong(folder: Path, golden: dict[str, Any], inputs: np.ndarray) -> None:
    assert {row["top1"] for row in golden["vectors"]} == {0, 1, 2}
    flipped = predict_probs(folder / "model.tflite", inputs ^ np.uint8(0x80))
    for row, answer in zip(golden["vectors"], flipped, strict=True):
        assert row["decisive"]
        assert row["fails_with_flipped_sign"]
        assert not golden_holds(answer, row)


def test_swapped_colours_are_noticed(folder: Path, golden: dict[str, Any], inputs: np.ndarray) -> None:
    probs = predict_probs(folder / "model.tflite", np.ascontiguousarray(inputs[..., ::-1]))
    assert not all(golden_holds(answer, row) for answer, row in zip(probs, golden["vectors"], strict=True))


def test_pictures_are_larger_and_their_tensors_pillows(folder: Path, golden: dict[str, Any]) -> None:
    for row in golden["pictures"]:
        image = Image.open(folder / row["picture"])
        assert image.size == (row["width"], row["height"])
        assert min(image.size) > SIDE
        expected = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes()
        assert (folder / row["tensor"]).read_bytes() == expected


def test_no_time_and_no_place_is_written(folder: Path, manifest: dict[str, Any]) -> None:
    text = (folder / MANIFEST_FILE).read_text() + (folder / "golden" / "golden.json").read_text()
    assert str(artifacts()[0].path.parent) not in text
    assert not {"time", "date", "host"} & set(manifest)
