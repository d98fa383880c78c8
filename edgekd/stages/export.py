"""The student for a server: a SavedModel and ONNX, each held against the student itself on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import _keras, _litert, onnx_export, tflite
from edgekd.artifact import Artifact, digest_folder, sha256_file
from edgekd.claims import INTEGER
from edgekd.data import Dataset
from edgekd.limits import limit
from edgekd.manifest import ONNX_FILE
from edgekd.models.foreign import open_foreign
from edgekd.serving import saved_model
from edgekd.target import ONNX, SAVED_MODEL
from edgekd.tasks import probabilities
from edgekd.tflite import describe_tensor
from edgekd.training import make_predict

NUM_IMAGES = 256
NUM_ALONE = 8
# Of a probability. Sums of float32 in another order, over some fifty layers, leave 1e-6 or so.
TOLERANCE = 1e-4
ONNX_INT8 = "onnx_int8"
PATHS = {SAVED_MODEL: "saved_model", ONNX: "model_fp32.onnx", ONNX_INT8: ONNX_FILE}


def export(data: Artifact, quantized: Artifact, config: Sequence[str], out_dir: Path, *, folder: str) -> Artifact:
    """Write the forms that a server takes, and compare their answers.

    ========================  =================================  ====================================================
    path                      in, any number of images           out
    ========================  =================================  ====================================================
    ``saved_model/``          uint8 RGB, as preprocessing gives  float32 probabilities
    ``model_fp32.onnx``       the same                           the same
    ``model_int8_io.onnx``    int8, pixel - 128                  int8 logits; where the recipe has the variant int8_io
    ========================  =================================  ====================================================

    The first two are compared with the Keras student, by probabilities; the last with the .tflite that it is made of,
    by units, since what INT8 itself costs is the verify stage's to tell. Images go in all at once, and some alone.

    Args:
        data: for the test images.
        quantized: holds the student, temperature inside, and its int8_io form.
        config: which: ``saved_model``, ``onnx``.
        out_dir: of the artifact.
        folder: of the Keras student in ``quantized``.

    Returns:
        Facts ``{"num_images", "forms": [...], "limits": [...], "warnings": [...]}``. A limit that is not kept is a
        warning, and fails the build at its end, when everything is there to be looked into.

    Raises:
        ConversionError: tf2onnx cannot convert the student.
        MissingRequirementError: the extra ``onnx`` is not installed.
        ModelError: a form does not run.
    """
    dataset = Dataset.open(data)
    images = dataset.test.images
    chosen = np.unique(np.linspace(0, len(images) - 1, min(NUM_IMAGES, len(images))).round().astype(int))
    pictures = np.array(images[chosen])
    _keras.reset(0)
    model = _keras.load_model(quantized.path / folder)
    wanted = probabilities(make_predict(model)(pictures), dataset.task.head)
    side, count = pictures.shape[1], wanted.shape[1]
    pixels = {"name": saved_model.INPUT, "dtype": "uint8", "shape": [None, side, side, 3]}
    probs = {"name": saved_model.OUTPUT, "dtype": "float32", "shape": [None, count], "meaning": "probabilities"}
    ends = {"input": {**pixels, "colour_order": "RGB", "range": [0, 255]}, "output": probs}

    served = out_dir / PATHS[SAVED_MODEL]
    saved_model.save(model, dataset.task.head, served)
    forms = [_form(SAVED_MODEL, served, {"tensorflow": version("tensorflow")}, signature=saved_model.SIGNATURE, **ends)]
    limits = [_held(SAVED_MODEL, _furthest(SAVED_MODEL, served, pictures, wanted), TOLERANCE)]
    if ONNX in config:
        about = {"opset": onnx_export.OPSET}
        path = out_dir / PATHS[ONNX]
        onnx_export.to_onnx(served, path)
        forms.append(_form(ONNX, path, onnx_export.versions(), **about, **ends))
        limits.append(_held(ONNX, _furthest(ONNX, path, pictures, wanted), TOLERANCE))
        source = quantized.path / f"{INTEGER}.tflite"
        if source.is_file():
            path = out_dir / PATHS[ONNX_INT8]
            onnx_export.to_onnx(source, path, any_batch=True)
            forms.append(_form(ONNX_INT8, path, onnx_export.versions(), **about, **_integer_ends(source)))
            answers = _litert.run(_litert.open_interpreter(source), pictures).astype(np.float64)
            shifted = _litert.in_type(pictures, np.int8)
            limits.append(_held(ONNX_INT8, _furthest(ONNX, path, shifted, answers), onnx_export.MAX_UNITS))
    warnings = [
        f"{row['id']}: {row['measured']:.3g} on {len(pictures)} test images, {row['limit']:g} is allowed; do not serve "
        "this form, and compare the versions of its runtime with those that edgekd is tested with"
        for row in limits
        if not row["held"]
    ]
    return Artifact.seal(out_dir, {"num_images": len(pictures), "forms": forms, "limits": limits, "warnings": warnings})


def _furthest(kind: str, path: Path, inputs: NDArray[Any], wanted: NDArray[np.float64]) -> float:
    """Largest difference of one number between what a form answers, in a process of its own, and what it should."""
    with open_foreign(kind, path, f'"{path.name}"') as served:
        together = served.run(inputs)
        alone = np.concatenate([served.run(inputs[index : index + 1]) for index in range(min(NUM_ALONE, len(inputs)))])
    return float(max(np.abs(together - wanted).max(), np.abs(alone - wanted[: len(alone)]).max()))


def _held(id: str, furthest: float, most: float) -> dict[str, Any]:
    unit = "units" if id == ONNX_INT8 else "difference"
    return limit(f"max_{id}_{unit}", most, furthest, at_most=True)


def _form(id: str, path: Path, versions: dict[str, str], **about: Any) -> dict[str, Any]:
    digest: Callable[[Path], str] = digest_folder if path.is_dir() else sha256_file
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    return {"id": id, "path": PATHS[id], "sha256": digest(path), "bytes": size, "versions": versions, **about}


def _integer_ends(source: Path) -> dict[str, Any]:
    view = tflite.open_view(source)
    taken, given = (
        {**describe_tensor(tensor), "shape": [None, *tensor.shape[1:]]} for tensor in (view.inputs[0], view.outputs[0])
    )
    return {
        "input": {**taken, "colour_order": "RGB", "meaning": "pixel - 128"},
        "output": {**given, "meaning": "logits"},
    }
