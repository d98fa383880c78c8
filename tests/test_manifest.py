from __future__ import annotations

import copy
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from bundles import tiny_bundle

from edgekd.errors import DataError
from edgekd.manifest import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    check_manifest,
    golden_holds,
    is_inside,
    parse_golden,
    parse_manifest,
    task_of,
)

SCHEMA = json.loads((resources.files("edgekd") / "schemas" / "manifest.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def manifest() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tiny_bundle() / MANIFEST_FILE).read_text())
    return content


@pytest.fixture
def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tiny_bundle() / "golden" / "golden.json").read_text())
    return content


def change(document: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy with one field replaced; numbers in the name are places in a list, ``...`` removes the field."""
    changed = copy.deepcopy(document)
    place: Any = changed
    *parents, last = (int(name) if name.isdigit() else name for name in dotted.split("."))
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return changed


# Three kernels gave 0.60 to 0.62 for the first class; 2/256 = 0.0078 is allowed on either side.
VECTOR = {"low": [0.60, 0.37], "high": [0.62, 0.40], "top1": 0, "decisive": True}


@pytest.mark.parametrize(
    ("probs", "passes"),
    [
        ([0.61, 0.39], True),
        ([0.5925, 0.4075], True),
        ([0.592, 0.40], False),
        ([0.6275, 0.3725], True),
        ([0.628, 0.38], False),
        ([0.61, 0.408], False),
        ([float("nan"), 0.39], False),
    ],
)
def test_an_answer_passes_within_the_envelope_and_two_256ths(probs: list[float], passes: bool) -> None:
    assert golden_holds(np.array(probs), VECTOR) is passes


def test_the_class_counts_only_where_the_margin_decides() -> None:
    close = {"low": [0.49, 0.49], "high": [0.51, 0.51], "top1": 0}
    answer = np.array([0.497, 0.503])
    assert golden_holds(answer, {**close, "decisive": False})
    assert not golden_holds(answer, {**close, "decisive": True})


def test_no_tolerance_leaves_the_envelope_alone() -> None:
    assert golden_holds(np.array([0.60, 0.40]), VECTOR, tolerance=0.0)
    assert not golden_holds(np.array([0.599, 0.40]), VECTOR, tolerance=0.0)


def test_the_schema_is_a_schema_and_the_bundle_follows_it(manifest: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(manifest, SCHEMA)
    parse_manifest(json.dumps(manifest), "x")


def test_schema_and_code_are_of_one_version() -> None:
    assert SCHEMA["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


# Field, a value that breaks it, and what the message wants in its place.
BROKEN = [
    ("labels", ["one"], "a list of at least two names"),
    ("labels", "red, green, blue", "a list of at least two names"),
    ("preprocessing.size", 0, "1 to 4096"),
    ("preprocessing.size", 16.0, "1 to 4096"),
    ("preprocessing.size", True, "1 to 4096"),
    ("preprocessing.resize", "squash", "stretch or center_crop"),
    ("preprocessing.filter", "android-bilinear", "pillow-bilinear"),
    ("preprocessing.exif_rotation", False, "true"),
    ("min_confidence", 1.5, "0 to 1"),
    ("min_confidence", "0.5", "0 to 1"),
    ("min_confidence", float("nan"), "0 to 1"),
    ("tolerance", 1.0, "0 to 0.0078125"),
    ("input.dtype", "int16", "uint8"),
    ("input.shape", [1, 16, 16, 1], r"\[1, 16, 16, 3\]"),
    ("input.scale", 0.5, "1"),
    ("input.zero_point", -128, "0"),
    ("input.colour_order", "BGR", "RGB"),
    ("output.dtype", "uint8", "float32"),
    ("output.shape", [1, 4], r"\[1, 3\] for 3 labels"),
    ("recipe", 3, "text"),
    ("golden_source.kind", None, "text"),
    ("figures.n", 0, "a count of images"),
    ("figures.top1", 60, "0 to 1"),
    ("golden", "golden/other.json", "one of files"),
    ("files", {}, "a list of files"),
    ("files.0.path", "../model.tflite", "a path inside the bundle"),
    ("files.0.sha256", "ABC", "64 hexadecimal digits"),
    ("files.0.bytes", -1, "a count of bytes"),
]


def test_integers_in_and_out_go_together(manifest: dict[str, Any]) -> None:
    """For targets that take integers alone: pixel - 128 in, logits out. One without the other is no such model."""
    integers = {"input.dtype": "int8", "input.zero_point": -128, "output.dtype": "int8"}
    whole = manifest
    for field, value in integers.items():
        whole = change(whole, field, value)
    check_manifest(whole, "x")
    for field, wanted in (("input.zero_point", "-128 for int8"), ("output.dtype", "int8 for int8 input")):
        before = change(whole, field, manifest[field.split(".")[0]][field.split(".")[1]])
        with pytest.raises(DataError, match=f"{field} = .*; {wanted} is wanted"):
            check_manifest(before, "x")


@pytest.mark.parametrize(("field", "value", "wanted"), BROKEN, ids=[f"{row[0]}={row[1]}" for row in BROKEN])
def test_a_broken_field_is_named_with_what_is_wanted(
    field: str, value: Any, wanted: str, manifest: dict[str, Any]
) -> None:
    name = field.rpartition(".")[2] if field.startswith("files.") else field
    with pytest.raises(DataError, match=rf'bundle "x": edgekd_manifest.json.* says {name} = .*; {wanted}'):
        check_manifest(change(manifest, field, value), "x")


@pytest.mark.parametrize("field", sorted({row[0] for row in BROKEN}))
def test_a_missing_field_is_named(field: str, manifest: dict[str, Any]) -> None:
    name = field.rpartition(".")[2] if field.startswith("files.") else field
    with pytest.raises(DataError, match=rf"lacks {name}; bundle it again"):
        check_manifest(change(manifest, field, ...), "x")


@pytest.mark.parametrize("field", ["labels", "input", "preprocessing", "files", "weights", "golden_source", "claims"])
def test_the_schema_wants_these_fields_too(field: str, manifest: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="is a required property"):
        jsonschema.validate(change(manifest, field, ...), SCHEMA)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../x", "a//x", "./x", "", "a\\x"])
def test_the_schema_refuses_paths_that_lead_out(path: str, manifest: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="does not match"):
        jsonschema.validate(change(manifest, "files.0.path", path), SCHEMA)


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("model.tflite", True),
        ("golden/input_00.bin", True),
        ("..model", True),
        ("/etc/passwd", False),
        ("..", False),
        ("../model.tflite", False),
        ("golden/../../x", False),
        ("golden//x", False),
        ("golden/", False),
        ("./x", False),
        ("", False),
        ("..\\x", False),
        ("C:x", False),
        ("//server/share/x", False),
        ("a\0b", False),
        (MANIFEST_FILE, False),
        (3, False),
    ],
)
def test_which_paths_stay_inside(path: Any, inside: bool) -> None:
    assert is_inside(path) is inside


def test_a_file_that_is_named_twice(manifest: dict[str, Any]) -> None:
    again = {**manifest, "files": [*manifest["files"], manifest["files"][0]]}
    with pytest.raises(DataError, match=r"names golden/golden.json twice"):
        check_manifest(again, "x")


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt"])
def test_files_that_no_bundle_can_do_without(name: str, manifest: dict[str, Any]) -> None:
    rest = [row for row in manifest["files"] if row["path"] != name]
    with pytest.raises(DataError, match=f"does not name {name}"):
        check_manifest({**manifest, "files": rest}, "x")


def test_a_newer_schema_says_update() -> None:
    with pytest.raises(DataError, match=r'"x" has manifest version 2, this edgekd reads 1; update edgekd'):
        parse_manifest('{"schema_version": 2}', "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        (b"\xff\xfe\xff", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "is not a JSON object"),
        ("{}", "has no schema_version"),
        ('{"schema_version": "1"}', "has no schema_version"),
        ('{"schema_version": 0}', "has no schema_version"),
        ('{"schema_version": true}', "has no schema_version"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_manifest(text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_manifest(text, "x")


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("vectors", [], "a list that is not empty"),
        ("pictures", None, "a list that is not empty"),
        ("vectors.0.input", "golden/none.bin", "one of the bundle's files"),
        ("vectors.0.low", [0.5], "a list of 3 probabilities"),
        ("vectors.0.high", [0.5, 0.5, "0"], "a list of 3 probabilities"),
        ("vectors.0.top1", 3, "0 to 2"),
        ("vectors.0.decisive", 1, "true or false"),
        ("vectors.0.fails_with_flipped_sign", None, "true or false"),
        ("pictures.0.picture", 7, "one of the bundle's files"),
        ("pictures.0.tensor", "../x", "one of the bundle's files"),
    ],
)
def test_broken_goldens_are_named(
    field: str, value: Any, wanted: str, golden: dict[str, Any], manifest: dict[str, Any]
) -> None:
    parse_golden(json.dumps(golden), manifest, "x")
    with pytest.raises(DataError, match=rf'bundle "x": golden/golden.json.* = .*; {wanted}'):
        parse_golden(json.dumps(change(golden, field, value)), manifest, "x")
    with pytest.raises(DataError, match=r"golden/golden.json.* lacks "):
        parse_golden(json.dumps(change(golden, field, ...)), manifest, "x")


def test_paths_are_written_with_slashes(manifest: dict[str, Any]) -> None:
    there = {path.relative_to(tiny_bundle()).as_posix() for path in Path(tiny_bundle()).rglob("*") if path.is_file()}
    assert {row["path"] for row in manifest["files"]} == there - {MANIFEST_FILE}


def several(manifest: dict[str, Any]) -> dict[str, Any]:
    """The same bundle as one of several labels would be described."""
    made = change(manifest, "task", "multi-label")
    made["decision"] = {"rule": "probability > threshold", "threshold": 0.5}
    for figures in (made["figures"], made["figures"]["val"]):
        figures["label_accuracy"] = figures.pop("top1")
    return made


def test_a_manifest_of_several_labels(manifest: dict[str, Any]) -> None:
    made = several(manifest)
    jsonschema.validate(made, SCHEMA)
    check_manifest(made, "x")
    assert task_of(made).name == "multi-label"
    with pytest.raises(DataError, match=r"lacks figures\.label_accuracy"):
        check_manifest(change(manifest, "task", "multi-label"), "x")
    with pytest.raises(DataError, match=r"decision.threshold = 0.9; 0.5 is wanted"):
        check_manifest(change(made, "decision.threshold", 0.9), "x")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(change(made, "figures.top1", 0.5), SCHEMA)


def test_a_manifest_of_before_the_tasks_is_multi_class(manifest: dict[str, Any]) -> None:
    old = change(manifest, "task", ...)
    jsonschema.validate(old, SCHEMA)
    check_manifest(old, "x")
    assert task_of(old).name == "multi-class"
    with pytest.raises(
        DataError, match=r'task = "regression"; binary or multi-class or ordinal or multi-label is wanted'
    ):
        check_manifest(change(manifest, "task", "regression"), "x")
