"""What kind of model a file is."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from edgekd.errors import ModelError

KINDS: Mapping[str, str] = {
    "keras2": "a Keras 2 model",
    "keras3": "a Keras 3 model",
    "saved_model": "a SavedModel",
    "onnx": "an ONNX model",
    "tflite": "a TensorFlow Lite model",
    "logits": "stored logits",
}


def kind_of(path: Path) -> str:
    """What a file is, by its name and, for those of Keras, by the version within.

    Raises:
        ModelError: no such file, or of no kind in ``KINDS``.
    """
    if not path.exists():
        raise ModelError(f'teacher.model = "{path}": no such file; give a path, or the name of a network')
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise ModelError(f'teacher.model = "{path}": a folder without saved_model.pb; a SavedModel has one')
    kinds = {".h5": "keras2", ".hdf5": "keras2", ".onnx": "onnx", ".tflite": "tflite", ".npz": "logits"}
    if path.suffix == ".keras":
        return "keras2" if _keras_version(path).startswith("2.") else "keras3"
    if path.suffix in (".h5", ".hdf5") and _hdf5_keras_version(path).startswith("3."):
        return "keras3"
    if path.suffix not in kinds:
        known = ", ".join([*kinds, ".keras"])
        raise ModelError(f'teacher.model = "{path}": known are {known} and the folder of a SavedModel')
    return kinds[path.suffix]


def runtime_of(kind: str) -> str | None:
    """What runs a kind of file beyond the packages that every result names, with its version."""
    package = {"onnx": "onnxruntime", "keras3": "keras"}.get(kind)
    return f"{package} {version(package)}" if package else None


def _keras_version(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f'teacher.model = "{path}": not a .keras file ({error})') from None


def _hdf5_keras_version(path: Path) -> str:
    """Empty where the file says none, or is no such file: what reads it will say so."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version = file.attrs.get("keras_version", "")
            return version.decode() if isinstance(version, bytes) else str(version)
    except OSError:
        return ""
