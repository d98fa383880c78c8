"""Run a bundle where no tensorflow is installed: a Raspberry Pi, a server. Needs numpy, Pillow and ai-edge-litert."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._litert import Kernel, predict_probs
from edgekd.artifact import sha256_file
from edgekd.errors import DataError, ModelError
from edgekd.manifest import GOLDEN_FILE, LABELS_FILE, MANIFEST_FILE, MODEL_FILE, SCHEMA_VERSION, golden_holds
from edgekd.preprocessing import Picture, open_image, preprocess


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        label: name of the most probable class; of equal ones the first.
        confidence: its probability.
        probs: of every class, shape ``(K,)``, in the order of the labels.
        low_confidence: whether ``confidence`` is below the bundle's threshold.
    """

    label: str
    confidence: float
    probs: NDArray[np.float32]
    low_confidence: bool


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle whose files are those that its manifest names.

    Attributes:
        path: the folder.
        manifest: as read.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the output."""
        return list(self.manifest["labels"])

    def predict(self, images: Sequence[Picture | str | Path] | Picture | str | Path) -> list[Prediction]:
        """Classify images.

        Args:
            images: paths, Pillow images or uint8 arrays ``(h, w)`` or ``(h, w, 3)``; one or a list of them.

        Raises:
            DataError: an image that cannot be read, is empty or too large.
        """
        pictures: list[Any] = list(images) if isinstance(images, (list, tuple)) else [images]
        if not pictures:
            return []
        rule = self.manifest["preprocessing"]
        tensors = np.stack([preprocess(_open(picture), rule["size"], rule["resize"]) for picture in pictures])
        threshold = self.manifest["min_confidence"]
        predictions = []
        for probs in predict_probs(self.path / MODEL_FILE, tensors):
            best = int(np.argmax(probs))
            confidence = float(probs[best])
            predictions.append(Prediction(self.labels[best], confidence, probs, confidence < threshold))
        return predictions

    def self_test(self, kernel: Kernel = "xnnpack") -> list[str]:
        """Run the golden inputs and pictures; return what failed, in words. Empty means that all passed."""
        golden = json.loads((self.path / GOLDEN_FILE).read_text(encoding="utf-8"))
        rule = self.manifest["preprocessing"]
        shape = (rule["size"], rule["size"], 3)
        failures = []
        for row in golden["pictures"]:
            expected = np.frombuffer((self.path / row["tensor"]).read_bytes(), np.uint8).reshape(shape)
            found = preprocess(open_image(self.path / row["picture"]), rule["size"], rule["resize"])
            if not np.array_equal(found, expected):
                failures.append(f"{row['picture']}: {int(np.sum(found != expected))} values differ after preprocessing")
        inputs = [(self.path / row["input"]).read_bytes() for row in golden["vectors"]]
        tensors = np.stack([np.frombuffer(content, np.uint8).reshape(shape) for content in inputs])
        probs = predict_probs(self.path / MODEL_FILE, tensors, kernel=kernel)
        failures += [
            f"{row['input']}: the answer is outside of what the three kernels give"
            for row, answer in zip(golden["vectors"], probs, strict=True)
            if not golden_holds(answer, row)
        ]
        return failures


def load_bundle(path: str | Path) -> LoadedBundle:
    """Open a bundle after checking every file against the manifest's digests.

    Raises:
        DataError: no bundle, a file that is missing, extra or changed, a manifest of a newer edgekd.
        ModelError: a model that is not what the manifest says.
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    named = {row["path"]: row["sha256"] for row in manifest["files"]}
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} - {MANIFEST_FILE}
    for name in sorted(set(named) - there):
        raise DataError(f'bundle "{folder}": {name} is missing; copy the whole folder again')
    for name in sorted(there - set(named)):
        raise DataError(f'bundle "{folder}": {name} is not named by the manifest; remove it')
    for name, digest in named.items():
        if sha256_file(folder / name) != digest:
            raise DataError(f'bundle "{folder}": {name} is not the file that was bundled (SHA-256); copy it again')
    _check_model(folder, manifest)
    return LoadedBundle(folder, manifest)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except OSError:
        raise DataError(f'"{folder}" is not a bundle: it has no {MANIFEST_FILE}') from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'bundle "{folder}": {MANIFEST_FILE} cannot be read ({error}); copy the bundle again') from None
    if version != SCHEMA_VERSION:
        raise DataError(
            f'bundle "{folder}" has manifest version {version}, this edgekd reads {SCHEMA_VERSION}; update edgekd'
        )
    missing = {"files", "labels", "preprocessing", "min_confidence", "input", "output"} - set(manifest)
    if missing:
        raise DataError(f'bundle "{folder}": {MANIFEST_FILE} lacks {", ".join(sorted(missing))}; bundle it again')
    return manifest


def _check_model(folder: Path, manifest: Mapping[str, Any]) -> None:
    from edgekd._litert import open_interpreter

    labels = (folder / LABELS_FILE).read_text(encoding="utf-8").splitlines()
    if labels != manifest["labels"]:
        raise ModelError(f'bundle "{folder}": {LABELS_FILE} and the manifest name other classes; bundle it again')
    interpreter = open_interpreter(folder / MODEL_FILE)
    found_input, found_output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    size = manifest["preprocessing"]["size"]
    if found_input["dtype"] != np.uint8 or list(found_input["shape"]) != [1, size, size, 3]:
        raise ModelError(
            f'bundle "{folder}": the model takes {np.dtype(found_input["dtype"]).name} of shape '
            f"{list(found_input['shape'])}, the manifest says uint8 of shape [1, {size}, {size}, 3]"
        )
    if found_output["dtype"] != np.float32 or int(found_output["shape"][-1]) != len(labels):
        raise ModelError(
            f'bundle "{folder}": {len(labels)} labels for a model that gives {np.dtype(found_output["dtype"]).name} '
            f"of shape {list(found_output['shape'])}"
        )


def _open(picture: Picture | str | Path) -> Picture:
    return open_image(Path(picture)) if isinstance(picture, (str, Path)) else picture
