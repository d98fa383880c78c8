"""What a build times: its models on prepared images, and what an app does before; for the report with the spread."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import attribution
from edgekd.artifact import Artifact, read_json
from edgekd.data.source import Pictures
from edgekd.distributions import distributions
from edgekd.preprocessing_times import preprocessing_times
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.stages.benchmark import RUNS_FILE, benchmark


def time_build(
    models: Mapping[str, Path],
    prepared: NDArray[np.uint8],
    originals: Pictures,
    recipe: Recipe,
    progress: Progress,
) -> tuple[Artifact, dict[str, Any]]:
    """Run the benchmark stage of a build.

    Args:
        models: files by id.
        prepared: images of test in the models' form, ``(n, s, s, 3)``.
        originals: images of test as they came.
        recipe: as resolved.
        progress: where the task is shown.

    Returns:
        The stage's artifact, whose files are gone; and what the report shows beside its facts:
        ``latency_distributions``, and ``preprocessing`` where a picture could be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        measured = benchmark(
            models,
            prepared,
            recipe.benchmark,
            Path(folder),
            pairs=attribution.pairs(models),
            seed=recipe.seed,
            progress=progress,
        )
        shown: dict[str, Any] = {"latency_distributions": distributions(read_json(Path(folder) / RUNS_FILE))}
    before = preprocessing_times(originals, recipe.data)
    return measured, shown | ({"preprocessing": before} if before else {})
