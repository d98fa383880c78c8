"""How long ``verify`` and ``inspect`` take: the stage, and ``edgekd verify`` and ``edgekd inspect`` as whole processes.

Takes a finished run, its data, and a model to inspect. The stage is run on the run's own files.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _host

from edgekd import api, data
from edgekd._litert import KERNELS
from edgekd.artifact import Artifact, read_json
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.stages.verify import verify


def seconds(function: Callable[[], Any], repeats: int) -> dict[str, list[float]]:
    """Wall and processor times of several calls, children counted; the wall of a busy host says little."""
    found: dict[str, list[float]] = {"wall_s": [], "processor_s": []}
    for _ in range(repeats):
        start, before = time.perf_counter(), sum(os.times()[:4])
        function()
        found["wall_s"].append(round(time.perf_counter() - start, 2))
        found["processor_s"].append(round(sum(os.times()[:4]) - before, 2))
    return found


def stage_of(run: Path, recipe: Recipe, folder: Path) -> Callable[[], Artifact]:
    """The verify stage on what a run left."""
    (folder / "data").mkdir()
    (folder / "models").mkdir()
    images = data.prepare(recipe.data, folder / "data")
    rows = []
    for row in read_json(run / "report.json")["models"]:
        shutil.copyfile(run / row["file"], folder / "models" / f"{row['id']}.tflite")
        rows.append({**row, "file": f"{row['id']}.tflite"})
    models = Artifact.seal(folder / "models", {"models": rows})

    def once() -> Artifact:
        with tempfile.TemporaryDirectory() as out:
            return verify(images, [models], recipe.verify, Path(out), gates=recipe.gates)

    return once


def command(*words: str) -> Callable[[], int]:
    """A whole process of ``edgekd``; 1 is a broken promise, which takes as long to find."""

    def once() -> int:
        done = subprocess.run([sys.executable, "-m", "edgekd", *words], stdout=subprocess.DEVNULL, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"edgekd {words[0]} ended with {done.returncode}")
        return done.returncode

    return once


def main() -> None:
    parser = _host.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="a run folder of edgekd build")
    parser.add_argument("--data", required=True, help="its data, by name or path")
    parser.add_argument("--model", type=Path, required=True, help="a .tflite to inspect")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is timed")
    asked: argparse.Namespace = parser.parse_args()
    recipe = api.load_recipe(str(asked.run / "recipe.toml"), data=asked.data)
    with tempfile.TemporaryDirectory() as folder:
        stage = stage_of(asked.run, recipe, Path(folder))
        facts = stage().facts
        measured = {
            "stage": seconds(stage, asked.repeats),
            "edgekd_verify": seconds(command("verify", str(asked.run), "--data", asked.data), asked.repeats),
            "edgekd_inspect": seconds(command("inspect", str(asked.model)), asked.repeats),
        }
    _host.report(
        {
            "benchmark": "verify_speed",
            "what": "seconds of each repeat; the commands as whole processes",
            "run": {
                **{"student": recipe.distill.student, "width_multiplier": recipe.distill.width_multiplier},
                **{"teacher": recipe.teacher.model, "image_size": recipe.data.image_size},
                **{"num_models": len(facts["models"]), "num_test": facts["kernels"]["num_images"]},
                **{"kernels": list(KERNELS), "verify": to_table(recipe.verify)},
            },
            "inspected": {"file": asked.model.name, "tflite_bytes": asked.model.stat().st_size},
            "seconds": measured,
            "load": _host.load(),
        },
        asked.out,
    )


if __name__ == "__main__":
    main()
