"""What the stage that writes a bundle and the runtime that reads it agree on. Needs numpy and Pillow alone.

::

    model.tflite  labels.txt  edgekd_manifest.json
    model_int8_io.onnx            where the recipe asks for it
    npu/model_vela.tflite         compiled by Arm's Vela, where the target has an Ethos-U
    cloud/                        a SavedModel and ONNX, where the target is a server
    golden/golden.json            what each input must give
    golden/input_NN.bin           raw uint8 RGB, height x width x 3, rows from the top
    golden/image_N.png .bin       a picture, and the tensor that preprocessing must make of it

``schemas/manifest.schema.json`` describes ``edgekd_manifest.json`` in full. What reads a bundle checks the fields that
it uses with :func:`parse_manifest` and :func:`parse_golden`, which need no other package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import DataError
from edgekd.preprocessing import RESIZES
from edgekd.tasks import MULTI_CLASS, TASKS, THRESHOLD, Task

SCHEMA_VERSION = 1
MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
MANIFEST_FILE = "edgekd_manifest.json"
GOLDEN_FILE = "golden/golden.json"
ONNX_FILE = "model_int8_io.onnx"
FILTER = "pillow-bilinear"
TOLERANCE = 2 / 256
MAX_SIDE = 4096

Document = Mapping[str, Any]


class Pixels(NamedTuple):
    """How a model takes pixels, and what it answers: all at scale 1.

    Attributes:
        zero_point, range: of the input; a pixel goes in as pixel + zero_point.
        output: type of the answer.
        answer: what it means; logits are ``scale * (q - zero_point)``, and go through the task's head.
    """

    zero_point: int
    range: tuple[int, int]
    output: str
    answer: str


PIXELS: Mapping[str, Pixels] = {
    "uint8": Pixels(0, (0, 255), "float32", "probabilities"),
    "int8": Pixels(-128, (-128, 127), "int8", "logits"),
}
"""By type of the input; int8 is for targets that take integers alone."""


def golden_holds(probs: NDArray[np.floating], vector: Document, tolerance: float = TOLERANCE) -> bool:
    """Whether a device's answer to a golden input passes.

    Every probability lies within the envelope of the three kernels plus the tolerance, and the class is the same where
    the margin between the first two exceeds what the envelope and the tolerance allow.

    Args:
        probs: the device's, shape ``(K,)``.
        vector: entry of ``golden.json``, with ``low``, ``high``, ``top1`` and ``decisive``.
        tolerance: in probability.
    """
    low, high = np.array(vector["low"]), np.array(vector["high"])
    inside = np.all((probs >= low - tolerance) & (probs <= high + tolerance))
    return bool(inside and (not vector["decisive"] or int(np.argmax(probs)) == vector["top1"]))


def parse_manifest(text: str | bytes, where: str) -> dict[str, Any]:
    """Read a manifest and hold what an edgekd bundle needs against its rules.

    Args:
        text: content of ``edgekd_manifest.json``.
        where: the bundle, for messages.

    Raises:
        DataError: no JSON object, another schema version, or a field that is missing or out of range, by its name.
    """
    manifest = _parse(text, f'bundle "{where}": {MANIFEST_FILE}')
    version: Any = manifest.get("schema_version")
    if not _is_int(version) or version < 1:
        raise DataError(f'bundle "{where}": {MANIFEST_FILE} has no schema_version; copy the bundle again')
    if version > SCHEMA_VERSION:
        raise DataError(
            f'bundle "{where}" has manifest version {version}, this edgekd reads {SCHEMA_VERSION}; update edgekd'
        )
    check_manifest(manifest, where)
    return manifest


def check_manifest(manifest: Document, where: str) -> None:
    """Raise DataError unless every field that running a bundle depends on is there and sound."""
    read = _Reader(manifest, f'bundle "{where}": {MANIFEST_FILE}')
    labels = read("labels", _is_labels, "a list of at least two names")
    if "task" in manifest:
        read("task", lambda value: isinstance(value, str) and value in TASKS, " or ".join(TASKS))
    task = task_of(manifest)
    size = read("preprocessing.size", lambda value: _is_int(value) and 1 <= value <= MAX_SIDE, f"1 to {MAX_SIDE}")
    read("preprocessing.resize", lambda value: value in RESIZES, " or ".join(RESIZES))
    if "sixteen_bit_max" in manifest["preprocessing"]:
        read("preprocessing.sixteen_bit_max", lambda value: _is_int(value) and 255 <= value <= 65535, "255 to 65535")
    read("preprocessing.filter", lambda value: value == FILTER, FILTER)
    read("preprocessing.exif_rotation", lambda value: value is True, "true")
    read("min_confidence", lambda value: _is_number(value) and 0 <= value <= 1, "0 to 1")
    # A self-test that lets everything pass would prove nothing.
    read("tolerance", lambda value: _is_number(value) and 0 <= value <= TOLERANCE, f"0 to {TOLERANCE}")
    for name in ("recipe", "intended_use", "golden_source.kind", "data.licence", "figures.dataset", "figures.split"):
        read(name, lambda value: isinstance(value, str), "text")
    read("figures.n", lambda value: _is_int(value) and value >= 1, "a count of images")
    read(f"figures.{task.accuracy}", lambda value: _is_number(value) and 0 <= value <= 1, "0 to 1")
    if task.several:
        read("decision.threshold", lambda value: value == THRESHOLD, f"{THRESHOLD}")
    dtype = read("input.dtype", lambda value: isinstance(value, str) and value in PIXELS, " or ".join(PIXELS))
    pixels = PIXELS[dtype]
    read("input.shape", lambda value: value == [1, size, size, 3], f"[1, {size}, {size}, 3]")
    read("input.scale", lambda value: _is_number(value) and value == 1, "1")
    wanted = f"{pixels.zero_point} for {dtype}"
    read("input.zero_point", lambda value: _is_int(value) and value == pixels.zero_point, wanted)
    read("input.colour_order", lambda value: value == "RGB", "RGB")
    read("output.dtype", lambda value: value == pixels.output, f"{pixels.output} for {dtype} input")
    read("output.shape", lambda value: value == [1, len(labels)], f"[1, {len(labels)}] for {len(labels)} labels")
    files = read("files", lambda value: isinstance(value, list) and bool(value), "a list of files")
    for index, row in enumerate(files):
        entry = _Reader(row if isinstance(row, Mapping) else {}, f"{read.title} files[{index}]")
        entry("path", is_inside, f"a path inside the bundle, with / between folders, and not {MANIFEST_FILE}")
        entry("sha256", _is_digest, "64 hexadecimal digits in lower case")
        entry("bytes", lambda value: _is_int(value) and value >= 0, "a count of bytes")
    names = [row["path"] for row in files]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{read.title} names {name} twice; bundle it again")
    read("golden", lambda value: isinstance(value, str) and value in names, "one of files")
    if "onnx" in manifest:
        read("onnx.path", lambda value: isinstance(value, str) and value in names, "one of files")
    for name in (MODEL_FILE, LABELS_FILE):
        if name not in names:
            raise DataError(f"{read.title} does not name {name}; bundle it again")


def task_of(manifest: Document) -> Task:
    """What is asked of an image; bundles of before edgekd knew several tasks are multi-class."""
    return TASKS[manifest.get("task", MULTI_CLASS.name)]


def parse_golden(text: str | bytes, manifest: Document, where: str) -> dict[str, Any]:
    """Read ``golden.json``; raise DataError unless each field that the self-test uses is there and sound."""
    golden = _parse(text, f'bundle "{where}": {manifest["golden"]}')
    read = _Reader(golden, f'bundle "{where}": {manifest["golden"]}')
    names, count = {row["path"] for row in manifest["files"]}, len(manifest["labels"])

    def is_file(value: Any) -> bool:
        return isinstance(value, str) and value in names

    def is_probs(value: Any) -> bool:
        return isinstance(value, list) and len(value) == count and all(_is_number(prob) for prob in value)

    for kind, fields in (("vectors", ("input",)), ("pictures", ("picture", "tensor"))):
        rows = read(kind, lambda value: isinstance(value, list) and bool(value), "a list that is not empty")
        for index, row in enumerate(rows):
            entry = _Reader(row if isinstance(row, Mapping) else {}, f"{read.title} {kind}[{index}]")
            for name in fields:
                entry(name, is_file, "one of the bundle's files")
            if kind == "vectors":
                for name in ("low", "high"):
                    entry(name, is_probs, f"a list of {count} probabilities")
                entry("top1", lambda value: _is_int(value) and 0 <= value < count, f"0 to {count - 1}")
                for name in ("decisive", "fails_with_flipped_sign"):
                    entry(name, lambda value: isinstance(value, bool), "true or false")
    return golden


def is_inside(path: Any) -> bool:
    """Whether a manifest's path is a plain relative one that cannot lead out of the bundle on any system."""
    if not isinstance(path, str) or not path or "\\" in path or "\0" in path:
        return False
    parts = path.split("/")
    relative = not PurePosixPath(path).is_absolute() and not PureWindowsPath(path).drive
    return relative and not {"", ".", ".."} & set(parts) and path != MANIFEST_FILE


class _Reader:
    """Reads fields by dotted name; the message of a wrong one says which, what it holds and what is wanted."""

    def __init__(self, document: Document, title: str):
        self.document, self.title = document, title

    def __call__(self, dotted: str, holds: Callable[[Any], bool], wanted: str) -> Any:
        value: Any = self.document
        for name in dotted.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise DataError(f"{self.title} lacks {dotted}; bundle it again")
            value = value[name]
        if not holds(value):
            raise DataError(f"{self.title} says {dotted} = {_short(value)}; {wanted} is wanted; bundle it again")
        return value


def _parse(text: str | bytes, title: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{title} cannot be read ({error}); copy the bundle again") from None
    if not isinstance(document, dict):
        raise DataError(f"{title} is not a JSON object; copy the bundle again")
    return document


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_labels(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 2 and all(isinstance(label, str) and label for label in value)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")
