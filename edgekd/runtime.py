"""Run a bundle where no tensorflow is installed: a Raspberry Pi, a server. Needs numpy, Pillow and ai-edge-litert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd._litert import Kernel, open_interpreter, predict_probs
from edgekd.artifact import sha256_file
from edgekd.errors import DataError, ModelError
from edgekd.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, golden_holds, parse_golden, parse_manifest, task_of
from edgekd.preprocessing import SIXTEEN_BIT_MAX, Picture, open_image, preprocess
from edgekd.tasks import Task


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        label: name of the most probable class, or finding; of equal ones the first.
        confidence: its probability.
        probs: of every class, shape ``(K,)``, in the order of the labels.
        low_confidence: whether ``confidence`` is below the bundle's threshold.
        findings: what the answer is: ``label`` alone, or of a multi-label bundle every label whose probability is above
            1/2, the most probable first; empty where there is none.
    """

    label: str
    confidence: float
    probs: NDArray[np.float32]
    low_confidence: bool
    findings: tuple[str, ...] = ()


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

    @property
    def task(self) -> Task:
        """What is asked of an image."""
        return task_of(self.manifest)

    def predict(self, images: Sequence[Picture | str | Path] | Picture | str | Path) -> list[Prediction]:
        """Classify images.

        Args:
            images: paths, Pillow images or uint8 arrays ``(h, w)`` or ``(h, w, 3)``; one, a list of them, or one array
                ``(n, h, w, 3)``.

        Raises:
            DataError: an image that cannot be read, is empty or too large.
        """
        several = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)
        pictures: list[Any] = list(images) if several else [images]  # type: ignore[arg-type]
        if not pictures:
            return []
        tensors = np.stack([self.preprocess(_open(picture)) for picture in pictures])
        return [self._prediction(probs) for probs in self._probs(tensors)]

    def preprocess(self, picture: Picture) -> NDArray[np.uint8]:
        """The model's input of a picture, ``(size, size, 3)``, by the rules of the manifest. Raises DataError."""
        rule = self.manifest["preprocessing"]
        return preprocess(picture, rule["size"], rule["resize"], rule.get("sixteen_bit_max", SIXTEEN_BIT_MAX))

    def _probs(self, tensors: NDArray[np.uint8], kernel: Kernel = "xnnpack") -> NDArray[np.float32]:
        return predict_probs(self.path / MODEL_FILE, tensors, kernel=kernel, head=self.task.head)

    def _prediction(self, probs: NDArray[np.float32]) -> Prediction:
        order = np.argsort(-probs, kind="stable")
        best = int(order[0])
        found = order[: int(np.sum(self.task.decisions(probs[None])))] if self.task.several else order[:1]
        findings = tuple(self.labels[index] for index in found)
        confidence = float(probs[best])
        return Prediction(self.labels[best], confidence, probs, confidence < self.manifest["min_confidence"], findings)

    def self_test(self, kernel: Kernel = "xnnpack") -> list[str]:
        """Run the golden inputs and pictures; return what failed, in words. Empty means that all passed.

        An input whose answer shows the mix-up of int8 and uint8 is run a second time with its sign bits flipped, and
        must fail then.

        Raises:
            DataError: goldens that are not sound.
        """
        golden = parse_golden((self.path / self.manifest["golden"]).read_bytes(), self.manifest, str(self.path))
        tolerance = self.manifest["tolerance"]
        failures = []
        for row in golden["pictures"]:
            expected = self._tensor(row["tensor"])
            found = self.preprocess(open_image(self.path / row["picture"]))
            if not np.array_equal(found, expected):
                failures.append(f"{row['picture']}: {int(np.sum(found != expected))} values differ after preprocessing")
        tensors = np.stack([self._tensor(row["input"]) for row in golden["vectors"]])
        probs, flipped = (self._probs(pixels, kernel) for pixels in (tensors, tensors ^ np.uint8(0x80)))
        for row, answer, wrong in zip(golden["vectors"], probs, flipped, strict=True):
            if not golden_holds(answer, row, tolerance):
                failures.append(f"{row['input']}: the answer is outside of what the three kernels give")
            if row["fails_with_flipped_sign"] and golden_holds(wrong, row, tolerance):
                failures.append(f"{row['input']}: the answer to the same bytes with flipped sign bits passes too")
        return failures

    def _tensor(self, name: str) -> NDArray[np.uint8]:
        size = self.manifest["preprocessing"]["size"]
        content = (self.path / name).read_bytes()
        if len(content) != size * size * 3:
            raise DataError(
                f'bundle "{self.path}": {name} has {len(content)} bytes, {size} x {size} x 3 are wanted; '
                "bundle it again"
            )
        return np.frombuffer(content, np.uint8).reshape(size, size, 3)


def load_bundle(path: str | Path) -> LoadedBundle:
    """Open a bundle after checking every file against the manifest's digests.

    Raises:
        DataError: no bundle, a file that is missing, extra or changed, a manifest of a newer edgekd or one that breaks
            its schema.
        ModelError: a model that is not what the manifest says.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    for fault in file_faults(folder, manifest).values():
        raise DataError(f'bundle "{folder}": {fault}')
    for fault in label_faults(folder, manifest):
        raise ModelError(f'bundle "{folder}": {fault}')
    interpreter = open_interpreter(folder / MODEL_FILE)
    sides = [_tensors(details) for details in (interpreter.get_input_details(), interpreter.get_output_details())]
    for fault in tensor_faults(manifest, *sides):
        raise ModelError(f'bundle "{folder}": {fault}')
    return LoadedBundle(folder, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the bundle at ``folder``. Raises DataError: there is none, or it cannot be used."""
    try:
        content = (folder / MANIFEST_FILE).read_bytes()
    except OSError:
        raise DataError(f'"{folder}" is not a bundle: it has no {MANIFEST_FILE}') from None
    return parse_manifest(content, str(folder))


def file_faults(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the files of a bundle, by name: missing, extra, no ordinary file, or not those bytes."""
    named = {row["path"]: row for row in manifest["files"]}
    there, faults = set(), {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        # A link could lead anywhere.
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            faults[name] = f"{name} is no ordinary file; copy the files themselves"
        elif path.is_file():
            there.add(name)
    for name in sorted(set(named) - there - set(faults)):
        faults[name] = f"{name} is missing; copy the whole folder again"
    for name in sorted(there - set(named) - {MANIFEST_FILE}):
        faults[name] = f"{name} is not named by the manifest; remove it"
    for name, row in named.items():
        path = folder / name
        if name in there and (path.stat().st_size != row["bytes"] or sha256_file(path) != row["sha256"]):
            faults[name] = f"{name} is not the file that was bundled (SHA-256); copy it again"
    return faults


def label_faults(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Whether the labels file names other classes than the manifest."""
    # Not splitlines, which would also split at a form feed or a Unicode separator inside a name.
    lines = (folder / LABELS_FILE).read_bytes().decode("utf-8", errors="replace").removesuffix("\n").split("\n")
    return (
        [] if lines == manifest["labels"] else [f"{LABELS_FILE} and the manifest name other classes; bundle it again"]
    )


class TensorFacts(NamedTuple):
    """An input or output of a model, as the interpreter or the file tells it."""

    dtype: str
    shape: list[int]
    scale: float
    zero_point: int


def tensor_faults(
    manifest: Mapping[str, Any], inputs: Sequence[TensorFacts], outputs: Sequence[TensorFacts]
) -> list[str]:
    """How the inputs and outputs of the model differ from those that the manifest names."""
    faults = []
    for side, found in (("input", inputs), ("output", outputs)):
        wanted = manifest[side]
        if len(found) != 1:
            faults.append(f"the model has {len(found)} {side}s, one is wanted")
        elif (found[0].dtype, found[0].shape) != (wanted["dtype"], wanted["shape"]):
            faults.append(
                f"the {side} of the model is {found[0].dtype} of shape {found[0].shape}, "
                f"the manifest says {wanted['dtype']} of shape {wanted['shape']}; bundle it again"
            )
    wanted = manifest["input"]
    if len(inputs) == 1 and inputs[0][2:] != (wanted["scale"], wanted["zero_point"]):
        faults.append(
            f"the input of the model has scale {inputs[0].scale:g} and zero point {inputs[0].zero_point}, "
            f"the manifest says {wanted['scale']:g} and {wanted['zero_point']}; bundle it again"
        )
    return faults


def _tensors(details: Sequence[Mapping[str, Any]]) -> list[TensorFacts]:
    return [
        TensorFacts(np.dtype(row["dtype"]).name, [int(side) for side in row["shape"]], *row["quantization"])
        for row in details
    ]


def _open(picture: Any) -> Picture:
    if isinstance(picture, (str, Path)):
        return open_image(Path(picture))
    if isinstance(picture, (Image.Image, np.ndarray)):
        return picture
    raise DataError(f"an image of type {type(picture).__name__}: a path, a Pillow image or a uint8 array is wanted")
