"""The drop-in asset: model, labels, manifest, and golden inputs with the outputs they must give."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from edgekd import goldens, host, onnx_export, provenance, tflite
from edgekd._litert import KERNELS
from edgekd.artifact import FACTS_FILE, Artifact, read_json, sha256_file, write_json
from edgekd.claims import INTEGER, shipped_of
from edgekd.config.bundle import Bundle
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
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
)
from edgekd.preprocessing import MAX_PIXELS, SIXTEEN_BIT_MAX
from edgekd.serving import report as serving
from edgekd.tasks import TASKS, THRESHOLD
from edgekd.tflite import describe_tensor

NPU_FIELDS = ("version", "accelerator", "system", "memory", "input", "output")


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
    candidates, source = goldens.candidates(config, data, seed)
    golden = {
        "schema_version": SCHEMA_VERSION,
        "kernels": list(KERNELS),
        "tolerance": TOLERANCE,
        "source": source,
        "vectors": goldens.write_vectors(model, config.num_golden, candidates, out_dir, TASKS[data.facts["task"]].head),
        "pictures": goldens.write_pictures(data.facts["image_size"], data.facts["resize"], out_dir, seed),
    }
    write_json(out_dir / GOLDEN_FILE, golden)
    manifest = {
        **_about_model(model, data, config),
        **provenance.origin(data, verification, shipped, teacher, student, recipe_name, seed),
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


def _write_onnx(quantized: Artifact, entries: dict[str, Any], out_dir: Path) -> dict[str, Any]:
    """Convert the form with int8 input and output; say how its numbers are meant."""
    if INTEGER not in entries:
        raise RecipeError("bundle.onnx = true is made from the variant int8_io; add it to quantize.variants")
    source = quantized.path / entries[INTEGER]["file"]
    onnx_export.to_onnx(source, out_dir / ONNX_FILE)
    view = tflite.open_view(source)
    return {
        "path": ONNX_FILE,
        "opset": onnx_export.OPSET,
        "versions": onnx_export.versions(),
        "input": {
            **describe_tensor(view.inputs[0]),
            "colour_order": "RGB",
            "meaning": "pixel - 128, channels last",
        },
        "output": {**describe_tensor(view.outputs[0]), "meaning": "logits"},
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
        "input": {**describe_tensor(view.inputs[0]), "colour_order": "RGB", "range": list(pixels.range)},
        "output": {**describe_tensor(view.outputs[0]), "meaning": pixels.answer},
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
