"""What a recipe has to know of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekd.config.data import Data
from edgekd.data import SPLITS, load_source, probe


@dataclass(frozen=True)
class Seen:
    """What was seen of a data set.

    Attributes:
        name: of it.
        task: a name in :data:`edgekd.tasks.TASKS`.
        median_side: median of the shorter side, in pixels.
        num_train, num_val, num_test: images, with splits drawn where there are none.
        class_counts: training images by class name (of several labels an image: with each label).
        warnings: what a user has to know.
    """

    name: str
    task: str
    median_side: int
    num_train: int
    num_val: int
    num_test: int
    class_counts: Mapping[str, int]
    warnings: tuple[str, ...]

    @property
    def imbalance(self) -> float:
        """Images of the largest class for one of the smallest."""
        counts = self.class_counts.values()
        return max(counts) / max(1, min(counts))


def look(config: Data) -> Seen:
    """Read labels and headers. Raises DataError as the loaders do."""
    found = probe(config)
    source = load_source(config)
    labels = source.splits["train"].labels
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(source.class_names))
    num = {f"num_{name}": len(source.splits[name].labels) for name in SPLITS}
    return Seen(
        source.name,
        found.task,
        found.median_side,
        **num,
        class_counts=dict(zip(source.class_names, map(int, counts), strict=True)),
        warnings=source.warnings,
    )
