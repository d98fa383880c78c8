"""The drop-in asset: model, labels, manifest, and golden inputs with the outputs they must give."""

from __future__ import annotations

import functools
import io
import logging
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd import host, onnx_export, tflite
from edgekd._litert import KERNELS, predict_probs
from edgekd.artifact import FACTS_FILE, Artifact, read_json, sha256_file, write_json
from edgekd.claims import shipped_of
from edgekd.config.bundle import Bundle
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.data import Dataset
from edgekd.errors import RecipeError
from edgekd.manifest import (
    FILTER,
    GOLDEN_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    ONNX_FILE,
    PIXELS,
    SCHEMA_VERSION,
    TOLERANCE,
    check_manifest,
    golden_holds,
)
from edgekd.models import APPLICATIONS, PUBLISHED, Application
from edgekd.preprocessing import MAX_PIXELS, SIXTEEN_BIT_MAX, preprocess
from edgekd.serving import report as serving
from edgekd.tasks import TASKS, THRESHOLD

logger = logging.getLogger("edgekd")

IO = "student_int8_io"
NUM_CANDIDATES = 256
NPU_FIELDS = ("version", "accelerator", "system", "memory", "input", "output")
MADE_LICENCE = "CC0-1.0"
PICTURE_SIZES = ((97, 61), (131, 173))  # width, height: odd, one wide and one tall


def bundle(
    quantized: Artifact,
    data: Artifact,
    verification: Artifact,
    config: Bundle,
    out_dir: Path,
    *,
    recipe_name: str,
    teacher: Teacher,
    student: Distill,
    seed: int = 0,
    compiled: Artifact | None = None,
    exported: Artifact | None = None,
) -> dict[str, Any]:
    """Write the bundle; equal arguments give equal bytes.

    The golden inputs are made, not patients' images, unless the recipe names the licence under which images of the test
    split may be passed on. They are chosen so that the kernels agree on the class by a margin, that several classes
    appear where the model lets them, and that the same bytes with their sign bit flipped (the mix-up of int8 and uint8)
    fail. The larger pictures are always made.

    Args:
        quantized: artifact with the shipped model.
        data: for names, licence and preprocessing, and for the golden images where they are allowed.
        verification: for the figures.
        config: how many goldens, from where, the threshold, the intended use, whether ONNX goes along.
        out_dir: an empty folder.
        recipe_name: for the manifest.
        teacher: which network taught and from which weights it started; of an own file, its SHA-256 in the place of the
            path.
        student: the same of the student.
        seed: of the made inputs.
        compiled: of the compile stage, where the target has an NPU: its file goes into ``npu/``.
        exported: of the export stage, where the target is a server: its forms go into ``cloud/``.

    Returns:
        The manifest.

    Raises:
        MissingRequirementError: ``config.onnx`` without the packages it needs.
        RecipeError: ``config.onnx`` without the variant it is made from.
    """
    entries = {row["id"]: row for row in quantized.facts["models"]}
    shipped = shipped_of([quantized])
    model = out_dir / MODEL_FILE
    shutil.copyfile(quantized.path / shipped["file"], model)
    class_names: list[str] = data.facts["class_names"]
    (out_dir / LABELS_FILE).write_text("\n".join(class_names) + "\n", encoding="utf-8", newline="\n")
    (out_dir / "golden").mkdir()
    candidates, source = _candidates(config, data, seed)
    golden = {
        "schema_version": SCHEMA_VERSION,
        "kernels": list(KERNELS),
        "tolerance": TOLERANCE,
        "source": source,
        "vectors": _write_vectors(model, config.num_golden, candidates, out_dir, TASKS[data.facts["task"]].head),
        "pictures": _write_pictures(data.facts["image_size"], data.facts["resize"], out_dir, seed),
    }
    write_json(out_dir / GOLDEN_FILE, golden)
    manifest = {
        **_about_model(model, data, config),
        **_about_origin(data, verification, config, shipped, teacher, student, recipe_name, seed),
        "golden": GOLDEN_FILE,
        "golden_source": source,
    }
    if config.onnx:
        manifest["onnx"] = _write_onnx(quantized, entries, out_dir)
    if compiled is not None:
        place = out_dir / compiled.facts["file"]
        place.parent.mkdir()
        shutil.copyfile(compiled.path / place.name, place)
        manifest["npu"] = {name: compiled.facts[name] for name in NPU_FIELDS} | {"path": compiled.facts["file"]}
    if exported is not None:
        manifest["cloud"] = serving.in_manifest(exported.facts)
        ignored = shutil.ignore_patterns(FACTS_FILE)
        shutil.copytree(exported.path, out_dir / serving.FOLDER, ignore=ignored)
    manifest["files"] = [
        {"path": path.relative_to(out_dir).as_posix(), "sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(out_dir.rglob("*"))
        if path.is_file()
    ]
    check(manifest)
    write_json(out_dir / MANIFEST_FILE, manifest)
    return manifest


def check(manifest: dict[str, Any]) -> None:
    """Raise ``jsonschema.ValidationError`` or DataError unless the manifest follows the schema in the package."""
    import jsonschema

    schema = read_json(Path(str(resources.files("edgekd") / "schemas" / "manifest.schema.json")))
    jsonschema.validate(manifest, schema)
    check_manifest(manifest, "new")


def _candidates(config: Bundle, data: Artifact, seed: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """What the golden inputs are chosen from, and what the manifest says of it."""
    if not config.golden_images_licence:
        size = data.facts["image_size"]
        return make_pictures(NUM_CANDIDATES, size, size, seed), {"kind": "made", "licence": MADE_LICENCE, "split": None}
    images = Dataset.open(data).test.images
    order = np.random.default_rng(seed).permutation(len(images))[:NUM_CANDIDATES]
    return images[np.sort(order)], {"kind": "images", "licence": config.golden_images_licence, "split": "test"}


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


def _write_vectors(
    model: Path, count: int, candidates: NDArray[np.uint8], out_dir: Path, head: str
) -> list[dict[str, Any]]:
    predict = functools.partial(predict_probs, model, head=head)
    chosen = _choose(predict(candidates), predict(candidates ^ np.uint8(0x80)), count)
    inputs = candidates[chosen]
    probs = {kernel: predict(inputs, kernel=kernel).astype(np.float64) for kernel in KERNELS}
    flipped = predict(inputs ^ np.uint8(0x80))
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
            "the model answers alike to most of the pictures they were chosen from"
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


def _write_onnx(quantized: Artifact, entries: dict[str, Any], out_dir: Path) -> dict[str, Any]:
    """Convert the form with int8 input and output; say how its numbers are meant."""
    if IO not in entries:
        raise RecipeError("bundle.onnx = true is made from the variant int8_io; add it to quantize.variants")
    source = quantized.path / entries[IO]["file"]
    onnx_export.to_onnx(source, out_dir / ONNX_FILE)
    view = tflite.open_view(source)
    return {
        "path": ONNX_FILE,
        "opset": onnx_export.OPSET,
        "versions": onnx_export.versions(),
        "input": {**_tensor(view.inputs[0]), "colour_order": "RGB", "meaning": "pixel - 128, channels last"},
        "output": {**_tensor(view.outputs[0]), "meaning": "logits"},
    }


def _about_model(model: Path, data: Artifact, config: Bundle) -> dict[str, Any]:
    """What a program needs to run the model and to read its answer."""
    view = tflite.open_view(model)
    versions = host.versions()
    several, pixels = TASKS[data.facts["task"]].several, PIXELS[view.inputs[0].dtype]
    return {
        "schema_version": SCHEMA_VERSION,
        "edgekd_version": versions.pop("edgekd", "unknown"),
        "versions": versions,
        "intended_use": config.intended_use,
        "medical_device": False,
        "model": MODEL_FILE,
        # The shipped model takes pixels as they are, or less 128: scale 1, which the converter checks.
        "input": {**_tensor(view.inputs[0]), "colour_order": "RGB", "range": list(pixels.range)},
        "output": {**_tensor(view.outputs[0]), "meaning": pixels.answer},
        "preprocessing": {
            "exif_rotation": True,
            "resize": data.facts["resize"],
            "filter": FILTER,
            "size": data.facts["image_size"],
            "grey": "replicated",
            **_sixteen_bit(data.facts.get("sixteen_bit_max", SIXTEEN_BIT_MAX)),
            "alpha": "over black",
            "max_pixels": MAX_PIXELS,
        },
        "task": data.facts["task"],
        "labels": data.facts["class_names"],
        **({"decision": {"rule": "probability > threshold", "threshold": THRESHOLD}} if several else {}),
        "min_confidence": config.min_confidence,
        "abstention": {"rule": "largest probability < min_confidence", "answer": "low confidence"},
        "tolerance": TOLERANCE,
    }


def _sixteen_bit(white: int) -> dict[str, Any]:
    if white == SIXTEEN_BIT_MAX:
        return {"sixteen_bit": "upper byte"}
    return {"sixteen_bit": "min(value, max) * 256 // (max + 1)", "sixteen_bit_max": white}


def _about_origin(
    data: Artifact,
    verification: Artifact,
    config: Bundle,
    entry: Mapping[str, Any],
    teacher: Teacher,
    student: Distill,
    recipe_name: str,
    seed: int,
) -> dict[str, Any]:
    """Where the model comes from and what was measured of it."""
    facts, figures = data.facts, verification.facts["models"][entry["id"]]
    return {
        "recipe": recipe_name,
        "seed": seed,
        "figures": {
            "dataset": facts["name"],
            "split": "test",
            **figures["test"],
            "val": figures["val"],
            "tflite_bytes": entry["tflite_bytes"],
        },
        "gates": verification.facts["gates"],
        "claims": verification.facts["claims"],
        "warnings": [*facts["warnings"], *verification.facts["warnings"]],
        "data": {name: facts[name] for name in ("name", "licence", "source", "attribution", "sha256")},
        "weights": {**_teacher_start(teacher), **_student_start(student)},
    }


def _teacher_start(teacher: Teacher) -> dict[str, Any]:
    """The weights from which the teacher's training started, or its members' did."""
    if teacher.members:
        members = {name: _teacher_start(member) for name, member in teacher.members.items()}
        nothing = {"sha256": None, "licence": None, "attribution": None}
        return {"teacher": teacher.model, "teacher_start": "members", "members": members, **nothing}
    found = _start(teacher.model, teacher.weights, APPLICATIONS.get(teacher.model))
    return {"teacher": teacher.model, "teacher_start": found.pop("start"), **found}


def _student_start(student: Distill) -> dict[str, Any]:
    application = PUBLISHED[student.student].application if student.student in PUBLISHED else None
    found = _start(student.student, student.weights, application)
    return {f"student_{name}": value for name, value in found.items()}


def _start(name: str, weights: str, application: Application | None) -> dict[str, Any]:
    """What kind of weights a network started from, and their licence and attribution."""
    if weights == "none":
        return {"start": "none", "sha256": None, "licence": None, "attribution": None}
    if weights != "imagenet":
        return {"start": "file", "sha256": weights, "licence": "", "attribution": "not stated"}
    images = "trained on ImageNet, whose images are for non-commercial research"
    start = {"start": "imagenet", "sha256": None}
    if application is None:
        return {**start, "licence": "", "attribution": f"not stated by whoever registers {name}; {images}"}
    return {
        **start,
        "licence": f"{application.licence} (Keras Applications); {images}",
        "attribution": f"{application.constructor} weights of Keras Applications, after {application.paper}; "
        "ImageNet, https://www.image-net.org",
    }


def _tensor(tensor: tflite.Tensor) -> dict[str, Any]:
    quantization = {"scale": tensor.scale[0], "zero_point": tensor.zero_point[0]} if tensor.scale else {}
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype, **quantization}
