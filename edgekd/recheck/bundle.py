"""What a bundle promises: its files, its tensors, its labels and the answers to its goldens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekd import apart
from edgekd.errors import DataError, ModelError
from edgekd.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE
from edgekd.recheck.check import Check, all_or_faults, gate_faults, schema_faults
from edgekd.runtime import TensorFacts, file_faults, label_faults, read_manifest, tensor_faults
from edgekd.tflite.metadata_reader import read_metadata
from edgekd.tflite.view import Tensor, View, open_view


def manifest_of(folder: Path) -> tuple[Mapping[str, Any] | None, list[Check]]:
    """The manifest, or None where it cannot be used, and what is to be said of it."""
    try:
        manifest = read_manifest(folder)
    except DataError as error:
        return None, [Check("manifest", False, str(error))]
    faults = schema_faults(manifest, "manifest.schema.json", MANIFEST_FILE)
    return (None if faults else manifest), list(
        all_or_faults("manifest", faults, f"{MANIFEST_FILE} follows its schema")
    )


def bundle_checks(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Check]:
    """Check everything that a bundle says of itself.

    The digests come first: a model whose bytes are not those that the manifest names is not looked into, and not run.
    What is run, is run in a process of its own.
    """
    faults = file_faults(folder, manifest)
    count = len(manifest["files"])
    yield from all_or_faults("files", faults.values(), f"{count} files are those that the manifest names (SHA-256)")
    if LABELS_FILE not in faults:
        held = f"{LABELS_FILE} names the classes of the manifest"
        yield from all_or_faults("labels", label_faults(folder, manifest), held)
    held = "the verdicts in the manifest follow from its figures"
    yield from all_or_faults("gates", gate_faults(manifest["gates"]), held)
    if MODEL_FILE in faults:
        for about in ("tensors", "metadata", "goldens"):
            yield Check(about, None, f"{MODEL_FILE} is not the file that was bundled and is left closed")
        return
    yield from _model_checks(folder / MODEL_FILE, manifest)
    broken = [name for name in faults if name.startswith("golden/")]
    if broken:
        yield Check("goldens", None, f"{broken[0]} is not the file that was bundled")
    else:
        yield from _golden_checks(folder)


def _model_checks(path: Path, manifest: Mapping[str, Any]) -> Iterator[Check]:
    """By the bounds-checked view; the interpreter is not opened."""
    try:
        view = open_view(path)
        held = "types, shapes and quantization are as the manifest says"
        yield from all_or_faults("tensors", _tensor_faults(view, manifest), held)
        if manifest["input"]["dtype"] == "uint8":  # a model of integers alone is for those who read no metadata
            held = f"the labels inside {MODEL_FILE} are those of the manifest"
            yield from all_or_faults("metadata", _metadata_faults(view, manifest), held)
    except ModelError as error:
        yield Check("tensors", False, str(error))
    size, stated = path.stat().st_size, manifest["figures"].get("tflite_bytes")
    if stated is not None:
        faults = [] if size == stated else [f"{MODEL_FILE} has {size:,} bytes, figures.tflite_bytes says {stated:,}"]
        yield from all_or_faults("size", faults, f"{size:,} bytes, as stated")


def _tensor_faults(view: View, manifest: Mapping[str, Any]) -> list[str]:
    inputs, outputs = ([_facts(tensor) for tensor in tensors] for tensors in (view.inputs, view.outputs))
    return tensor_faults(manifest, inputs, outputs)


def _facts(tensor: Tensor) -> TensorFacts:
    scale = tensor.scale[0] if len(tensor.scale) == 1 else 0.0
    zero_point = tensor.zero_point[0] if len(tensor.zero_point) == 1 else 0
    return TensorFacts(tensor.dtype, list(tensor.shape), scale, zero_point)


def _metadata_faults(view: View, manifest: Mapping[str, Any]) -> list[str]:
    metadata = read_metadata(view)
    if metadata is None:
        return [f"{MODEL_FILE} has no metadata; bundle it again"]
    if list(metadata.labels) != manifest["labels"]:
        return [f"the labels inside {MODEL_FILE} are not those of the manifest; bundle it again"]
    return []


def _golden_checks(folder: Path) -> Iterator[Check]:
    try:
        answer = apart.ask("self_test", {"bundle": str(folder)}, MODEL_FILE)
    except ModelError as error:
        yield Check("goldens", False, str(error))
        return
    faults = [f"{kernel} kernels: {text}" for kernel, texts in answer["failures"].items() for text in texts]
    kernels = ", ".join(answer["failures"])
    yield from all_or_faults("goldens", faults, f"every golden answer lies where it must, on {kernels}")
