"""What a build times: its models on prepared images, and what an app does before; for the report with the spread."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

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

NUM_IMAGES = 64
"""That models are timed on, in turn."""


SPREAD = ("latency_distributions", "preprocessing")
"""What the report shows of the facts beside the figures of each model."""


def time_build(
    models: Mapping[str, Path],
    prepared: NDArray[np.uint8],
    originals: Pictures,
    recipe: Recipe,
    progress: Progress,
) -> Artifact:
    """Run the benchmark stage of a build.

    Args:
        models: files by id.
        prepared: images of test in the models' form, ``(n, s, s, 3)``.
        originals: images of test as they came.
        recipe: as resolved.
        progress: where the task is shown.

    Returns:
        The stage's artifact, whose files are gone. Its facts are those of the benchmark, ``latency_distributions``, and
        ``preprocessing`` where a picture could be read.
    """
    before = preprocessing_times(originals, recipe.data)
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
        facts = {**measured.facts, "latency_distributions": distributions(read_json(Path(folder) / RUNS_FILE))}
        return Artifact.seal(Path(folder), facts | ({"preprocessing": before} if before else {}))
