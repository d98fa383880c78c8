"""Compile the student for the NPU of its target, by Arm's Vela."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from edgekd import vela
from edgekd.artifact import Artifact, sha256_file
from edgekd.claims import INTEGER
from edgekd.target import Npu
from edgekd.tflite import describe_tensor
from edgekd.tflite.view import open_view

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
    found = vela.compile_for(config, quantized.path / f"{INTEGER}.tflite", path)
    view = open_view(path)
    file = {"model": INTEGER, "file": FILE, "sha256": sha256_file(path), "bytes": path.stat().st_size}
    ends = {"input": describe_tensor(view.inputs[0]), "output": describe_tensor(view.outputs[0])}
    summary = f"{vela.in_words(found)}. {vela.estimates_in_words(found)}"
    return Artifact.seal(out_dir, {**file, **ends, **found, "summary": summary})
