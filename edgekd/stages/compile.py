"""Compile the student for the NPU of its target, by Arm's Vela."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from edgekd import vela
from edgekd.artifact import Artifact, sha256_file
from edgekd.target import Npu
from edgekd.tflite.view import Tensor, open_view

FORM = "student_int8_io"
FILE = "npu/model_vela.tflite"
"""In the bundle."""


def compile_student(quantized: Artifact, config: Npu, out_dir: Path) -> Artifact:
    """Compile the form with int8 input and output.

    Args:
        quantized: with that form.
        config: the accelerator and its system.
        out_dir: where ``model_vela.tflite`` goes.

    Returns:
        Facts of :func:`edgekd.vela.compile_for`, and ``model``, ``file``, ``sha256``, ``bytes``, ``input``, ``output``.

    Raises:
        MissingRequirementError: Vela is not installed.
        ModelError: Vela refuses the model.
    """
    path = out_dir / PurePosixPath(FILE).name
    found = vela.compile_for(config, quantized.path / f"{FORM}.tflite", path)
    view = open_view(path)
    file = {"model": FORM, "file": FILE, "sha256": sha256_file(path), "bytes": path.stat().st_size}
    ends = {"input": _tensor(view.inputs[0]), "output": _tensor(view.outputs[0])}
    summary = f"{vela.in_words(found)}. {vela.estimates_in_words(found)}"
    return Artifact.seal(out_dir, {**file, **ends, **found, "summary": summary})


def _tensor(tensor: Tensor) -> dict[str, Any]:
    quantization = {"scale": tensor.scale[0], "zero_point": tensor.zero_point[0]}
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype, **quantization}
