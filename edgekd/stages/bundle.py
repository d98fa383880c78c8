"""The drop-in asset: model, labels, manifest, and golden inputs with the outputs they must give."""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd import host, tflite
from edgekd._litert import KERNELS, predict_probs
from edgekd.artifact import Artifact, sha256_file, write_json
from edgekd.manifest import (
    GOLDEN_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    SCHEMA_VERSION,
    TOLERANCE,
    golden_holds,
)
from edgekd.preprocessing import preprocess
from edgekd.recipe import Bundle

logger = logging.getLogger("edgekd")

SHIPPED = "student_int8"
NUM_CANDIDATES = 256
PICTURE_SIZES = ((97, 61), (131, 173))  # width, height: odd, one wide and one tall


def bundle(
    quantized: Artifact,
    data: Artifact,
    verification: Artifact,
    config: Bundle,
    out_dir: Path,
    *,
    recipe_name: str,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the bundle; equal arguments give equal bytes.

    The golden inputs are made, not patients' images. They are chosen so that the kernels agree on the class by a
    margin, that several classes appear where the model lets them, and that the same bytes with their sign bit flipped
    (the mix-up of int8 and uint8) fail.

    Args:
        quantized: artifact with the shipped model.
        data: for names, licence and preprocessing.
        verification: for the figures.
        config: how many goldens, the threshold, the intended use.
        out_dir: an empty folder.
        recipe_name: for the manifest.
        seed: of the made inputs.

    Returns:
        The manifest.
    """
    entry = next(row for row in quantized.facts["models"] if row["id"] == SHIPPED)
    model = out_dir / MODEL_FILE
    shutil.copyfile(quantized.path / entry["file"], model)
    class_names: list[str] = data.facts["class_names"]
    (out_dir / LABELS_FILE).write_text("\n".join(class_names) + "\n", encoding="utf-8")
    (out_dir / "golden").mkdir()
    golden = {
        "vectors": _write_vectors(model, config.num_golden, data.facts["image_size"], out_dir, seed),
        "pictures": _write_pictures(data.facts["image_size"], data.facts["resize"], out_dir, seed),
    }
    write_json(out_dir / GOLDEN_FILE, golden)
    manifest = _manifest(model, entry, data, verification, config, recipe_name, seed)
    manifest["files"] = [
        {"path": path.relative_to(out_dir).as_posix(), "sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(out_dir.rglob("*"))
        if path.is_file()
    ]
    write_json(out_dir / MANIFEST_FILE, manifest)
    return manifest


def make_pictures(count: int, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Made pictures ``(n, h, w, 3)``: gradients, soft blobs and noise, of varied brightness and contrast."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(width, height)
    pictures = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        angle = generator.uniform(0, 2 * np.pi)
        field = generator.uniform(-1, 1) * (np.cos(angle) * x + np.sin(angle) * y)
        for _ in range(generator.integers(1, 6)):
            centre, radius = generator.uniform(0, 1, 2), generator.uniform(0.05, 0.4)
            field = field + generator.uniform(-1.5, 1.5) * np.exp(
                -((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2
            )
        colour = 1 + generator.uniform(-0.4, 0.4, 3) * generator.integers(0, 2)
        pixels = generator.uniform(60, 200) + generator.uniform(30, 110) * field[..., None] * colour
        noise = generator.normal(0, generator.uniform(0, 25), pixels.shape)
        pictures[index] = np.clip(np.rint(pixels + noise), 0, 255)
    return pictures


def _write_vectors(model: Path, count: int, size: int, out_dir: Path, seed: int) -> list[dict[str, Any]]:
    candidates = make_pictures(NUM_CANDIDATES, size, size, seed)
    chosen = _choose(predict_probs(model, candidates), predict_probs(model, candidates ^ np.uint8(0x80)), count)
    inputs = candidates[chosen]
    probs = {kernel: predict_probs(model, inputs, kernel=kernel).astype(np.float64) for kernel in KERNELS}
    flipped = predict_probs(model, inputs ^ np.uint8(0x80))
    vectors = []
    for index, pixels in enumerate(inputs):
        answers = np.stack([probs[kernel][index] for kernel in KERNELS])
        low, high = answers.min(axis=0), answers.max(axis=0)
        top1 = int(np.argmax(answers[0]))
        # The runner-up cannot overtake within what passes.
        margin = float(low[top1] - np.max(np.delete(high, top1)))
        path = f"golden/input_{index:02d}.bin"
        (out_dir / path).write_bytes(pixels.tobytes())
        vector = {
            "input": path,
            "probs": {kernel: probs[kernel][index].tolist() for kernel in KERNELS},
            "low": low.tolist(),
            "high": high.tolist(),
            "top1": top1,
            "margin": margin,
            "decisive": margin > 2 * TOLERANCE,
        }
        vectors.append({**vector, "fails_with_flipped_sign": not golden_holds(flipped[index], vector)})
    weak = sum(not (row["decisive"] and row["fails_with_flipped_sign"]) for row in vectors)
    if weak:
        logger.warning(
            f"{weak} of {count} golden inputs tell right from wrong use only weakly: "
            "the model answers alike to most made pictures"
        )
    return vectors


def _choose(probs: NDArray[np.float32], flipped: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The candidates that the sign flip moves most, in turn over the classes that the model gives; in fixed order."""
    ordered = np.sort(probs.astype(np.float64), axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    moved = np.abs(probs - flipped).max(axis=1)
    quality = np.minimum(margin, moved)
    predicted = np.argmax(probs, axis=1)
    queues = [
        list(members[np.argsort(-quality[members], kind="stable")])
        for members in (np.flatnonzero(predicted == label) for label in np.unique(predicted))
    ]
    useful = 4 * TOLERANCE
    chosen: list[int] = []
    for least in (useful, -1.0):  # the weak ones only where there are not enough others
        while len(chosen) < count:
            before = len(chosen)
            for queue in queues:
                if queue and quality[queue[0]] > least and len(chosen) < count:
                    chosen.append(int(queue.pop(0)))
            if len(chosen) == before:
                break
    return np.asarray(sorted(chosen), np.int64)


def _write_pictures(size: int, resize: str, out_dir: Path, seed: int) -> list[dict[str, Any]]:
    rows = []
    for index, (width, height) in enumerate(PICTURE_SIZES):
        pixels = make_pictures(1, width, height, seed + 1 + index)[0]
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        picture, tensor = f"golden/image_{index}.png", f"golden/image_{index}.bin"
        (out_dir / picture).write_bytes(buffer.getvalue())
        (out_dir / tensor).write_bytes(preprocess(pixels, size, resize).tobytes())
        rows.append({"picture": picture, "width": width, "height": height, "tensor": tensor})
    return rows


def _manifest(
    model: Path,
    entry: dict[str, Any],
    data: Artifact,
    verification: Artifact,
    config: Bundle,
    recipe_name: str,
    seed: int,
) -> dict[str, Any]:
    view = tflite.open_view(model)
    facts, figures = data.facts, verification.facts["models"][SHIPPED]["test"]
    versions = host.versions()
    return {
        "schema_version": SCHEMA_VERSION,
        "edgekd_version": versions.pop("edgekd", "unknown"),
        "versions": versions,
        "recipe": recipe_name,
        "seed": seed,
        "intended_use": config.intended_use,
        "medical_device": False,
        "input": {**_tensor(view.inputs), "colour_order": "RGB", "range": [0, 255]},
        "output": {**_tensor(view.outputs), "meaning": "probabilities"},
        "preprocessing": {
            "exif_rotation": True,
            "resize": facts["resize"],
            "filter": "pillow-bilinear",
            "size": facts["image_size"],
        },
        "labels": facts["class_names"],
        "min_confidence": config.min_confidence,
        "tolerance": TOLERANCE,
        "figures": {
            "dataset": facts["name"],
            "split": "test",
            "n": figures["n"],
            "top1": figures["top1"],
            "auc": figures["auc"],
            "tflite_bytes": entry["tflite_bytes"],
        },
        "data": {name: facts[name] for name in ("name", "licence", "source", "attribution", "sha256")},
        "golden": GOLDEN_FILE,
    }


def _tensor(tensors: Sequence[Any]) -> dict[str, Any]:
    tensor = tensors[0]
    quantization = {"scale": 1.0, "zero_point": 0} if tensor.dtype == "uint8" else {}
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype, **quantization}
