"""A small bundle that the tests of bundle, runtime and Android share: three classes, told apart by colour."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tflite_models import SIDE, keras_logits, smooth_images, tiny_cnn

from edgekd import _keras, data, tflite
from edgekd.artifact import Artifact, sha256_file, write_json
from edgekd.config.bundle import Bundle
from edgekd.config.data import Data
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.config.verify import Gates, Verify
from edgekd.goldens import make_pictures
from edgekd.manifest import MANIFEST_FILE
from edgekd.stages.bundle import bundle
from edgekd.stages.verify import verify

NAMES = ("red", "green", "blue")
LICENCE = "CC BY 4.0"


def colours(images: Any) -> Any:
    """The class of an image: the colour of which it holds most."""
    return images.reshape(len(images), -1, 3).sum(axis=1, dtype=np.int64).argmax(axis=1)


def colour_images(count: int, seed: int) -> Any:
    """Coloured clouds, and made pictures as those that goldens are chosen from."""
    return np.concatenate([smooth_images(count - count // 2, seed=seed), make_pictures(count // 2, SIDE, SIDE, seed)])


@functools.cache
def colour_model() -> Any:
    """The tiny network with a last layer fitted to the colours by least squares."""
    model = tiny_cnn()
    features = _keras.tf_keras.Model(model.input, model.get_layer("pool").output)
    images = colour_images(1200, 11)
    inputs = keras_logits(features, images)
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    targets = 8 * np.eye(3)[colours(images)]
    ridge = 0.1 * np.eye(inputs.shape[1])
    weights = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ targets)
    model.get_layer("logits").set_weights([weights[:-1].astype(np.float32), weights[-1].astype(np.float32)])
    return model


@functools.cache
def artifacts() -> tuple[Artifact, Artifact, Artifact]:
    """What the bundle stage reads: the quantized models, the data and the verification."""
    root = Path(tempfile.mkdtemp(prefix="edgekd-bundle-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    arrays = {}
    for seed, (split, count) in enumerate({"train": 60, "val": 60, "test": 90}.items()):
        arrays[f"{split}_images"] = colour_images(count, seed)
        arrays[f"{split}_labels"] = colours(arrays[f"{split}_images"]).astype(np.uint8)
    np.savez(root / "colours.npz", **arrays)
    for name in ("data", "quantized", "verified"):
        (root / name).mkdir()
    config = Data(
        path=str(root / "colours.npz"), image_size=SIDE, num_calibration_samples=60, licence=LICENCE, source="drawn"
    )
    images = data.prepare(config, root / "data")
    facts = {**images.facts, "class_names": list(NAMES)}
    images = Artifact(images.path, images.digest, facts)
    (root / "data" / "facts.json").unlink()
    images = Artifact.seal(root / "data", facts)
    frozen = tflite.freeze(colour_model())
    rows = []
    for variant in ("int8", "int8_io"):
        content = tflite.convert(frozen, variant, colour_images(128, 7))
        if variant == "int8":
            content = tflite.add_metadata(content, labels=NAMES, name="colours", description="for tests")
        path = root / "quantized" / f"student_{variant}.tflite"
        path.write_bytes(content)
        rows.append(tflite.describe(path, id=path.stem, role="student", steps=["ptq"], shipped=variant == "int8"))
    quantized = Artifact.seal(root / "quantized", {"models": rows, "temperature": 1.0})
    verified = verify(images, [quantized], Verify(), root / "verified", gates=Gates(min_top1=0.5))
    return quantized, images, verified


def write_bundle(out_dir: Path, **settings: Any) -> dict[str, Any]:
    """Run the bundle stage; return the manifest."""
    out_dir.mkdir(parents=True)
    quantized, images, verified = artifacts()
    trained = {
        "teacher": settings.pop("teacher", Teacher()),
        "student": settings.pop("student", Distill()),
    }
    config = Bundle(**settings)
    return bundle(quantized, images, verified, config, out_dir, recipe_name="colours", **trained)


@functools.cache
def integer_bundle() -> Path:
    """The same of a target that takes integers alone: ``student_int8_io`` is shipped; nobody writes into it."""
    root = Path(tempfile.mkdtemp(prefix="edgekd-bundle-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    quantized, images, _ = artifacts()
    rows = [{**row, "shipped": row["id"] == "student_int8_io"} for row in quantized.facts["models"]]
    other = Artifact(quantized.path, quantized.digest, {**quantized.facts, "models": rows})
    for name in ("verified", "bundle"):
        (root / name).mkdir()
    verified = verify(images, [other], Verify(), root / "verified", gates=Gates(min_top1=0.5))
    trained: dict[str, Any] = {"teacher": Teacher(), "student": Distill(), "recipe_name": "colours"}
    bundle(other, images, verified, Bundle(), root / "bundle", **trained)
    return root / "bundle"


@functools.cache
def tiny_bundle() -> Path:
    """The bundle with the settings as they are by default, once for all tests; nobody writes into it."""
    root = Path(tempfile.mkdtemp(prefix="edgekd-bundle-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write_bundle(root / "bundle")
    return root / "bundle"


def copy_of_bundle(to: Path) -> Path:
    """A copy that a test may break."""
    shutil.copytree(tiny_bundle(), to)
    return to


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Change fields by dotted name (dots written as two underscores); a value of None removes one."""
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        place = manifest
        for name in parents:
            place = place[name]
        if value is None:
            del place[last]
        else:
            place[last] = value
    write_json(folder / MANIFEST_FILE, manifest)


def sign_anew(folder: Path) -> None:
    """Write the digests of the files as they are now into the manifest, as someone who rebuilds by hand would."""
    files = [
        {"path": path.relative_to(folder).as_posix(), "sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST_FILE
    ]
    edit_manifest(folder, files=files)
