"""Stages that a target asks for by its profile: a model compiled for its NPU, and the forms that a server takes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgekd import data, onnx_export, vela
from edgekd.artifact import Artifact
from edgekd.config.benchmark import Benchmark
from edgekd.serving import report as serving
from edgekd.stage_runner import StageRunner
from edgekd.target import ONNX, Target
from edgekd.timing import NUM_IMAGES


def compiled(runner: StageRunner, small: Artifact, profile: Target) -> None:
    """Compile the student where the target has an NPU."""
    from edgekd.stages.compile import compile_student

    if profile.npu.accelerator:
        runner.cached("compile", compile_student, small, config=profile.npu, ingredients={"vela": vela.require()})


def served(
    runner: StageRunner, images: Artifact, small: Artifact, profile: Target, config: Benchmark
) -> dict[str, Any] | None:
    """Write the forms that a server takes and time them on images of the test split; None where it is no server.

    Returns:
        ``serving`` of the report.
    """
    from edgekd.stages.export import export
    from edgekd.stages.quantize import KERAS_FOLDER
    from edgekd.stages.throughput import throughput

    if not profile.exports:
        return None
    packages = {"packages": onnx_export.versions() if ONNX in profile.exports else {}}
    forms = list(profile.exports)
    made = runner.cached("export", export, images, small, config=forms, ingredients=packages, folder=KERAS_FOLDER)

    def measure(images: Artifact, exported: Artifact) -> Artifact:
        pictures = data.Dataset.open(images).test.images[:NUM_IMAGES]
        with tempfile.TemporaryDirectory() as folder:
            out_dir, seed = Path(folder), runner.seed
            return throughput(exported, pictures, config, profile, out_dir, seed=seed, progress=runner.progress)

    return serving.entry(made.facts, runner.fresh("throughput", measure, images, made).facts)
