"""The prepared data set: preprocessed images as memory-mapped arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import Artifact, read_json
from edgekd.tasks import MULTI_CLASS, TASKS, Task

SPLITS = ("train", "val", "test")
COLUMNS_FILE = "columns.json"


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Attributes:
        images: uint8 RGB, shape ``(n, s, s, 3)``.
        labels: int64 class numbers, shape ``(n,)``; of a multi-label task 0 or 1, shape ``(n, K)``.
        num_classes: ``K``, at least 2.
        task: what the labels mean.
        columns: subgroups that the images belong to, each ``(n,)`` texts; without any, empty.
        groups: a number for each patient, int64 ``(n,)``, which says no more than which images are of one; None where
            that is not known.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_classes: int
    task: Task = MULTI_CLASS
    columns: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None

    def targets(self, indices: NDArray[np.integer] | slice = slice(None)) -> NDArray[np.float32]:
        """What the losses on labels take: a row a sample, float32 ``(n, K)``."""
        return self.task.targets(self.labels[indices], self.num_classes)


@dataclass(frozen=True)
class Dataset:
    """A prepared data set.

    Attributes:
        train, val, test: the splits.
        calibration_images: uint8, shape ``(m, s, s, 3)``; a part of train.
        facts: name, licence, source, task, class names, counts, warnings.
    """

    train: Split
    val: Split
    test: Split
    calibration_images: NDArray[np.uint8]
    facts: Mapping[str, Any]

    @property
    def class_names(self) -> list[str]:
        """Names in the order of the class numbers."""
        return list(self.facts["class_names"])

    @property
    def num_classes(self) -> int:
        """At least 2."""
        return len(self.facts["class_names"])

    @property
    def task(self) -> Task:
        """What is asked of an image."""
        return TASKS[self.facts["task"]]

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return int(self.facts["image_size"])

    @classmethod
    def open(cls, artifact: Artifact) -> Dataset:
        """Map the arrays of a data artifact; nothing is unpickled."""

        def array(name: str) -> NDArray[Any]:
            loaded: NDArray[Any] = np.load(artifact.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            return loaded

        num_classes, task = len(artifact.facts["class_names"]), TASKS[artifact.facts["task"]]
        subgroups = artifact.path / COLUMNS_FILE
        columns = read_json(subgroups) if subgroups.exists() else {name: {} for name in SPLITS}
        grouped = (artifact.path / "train_groups.npy").exists()
        splits = {
            name: Split(
                array(f"{name}_images"),
                np.asarray(array(f"{name}_labels")),
                num_classes,
                task,
                {key: np.array(cells, np.str_) for key, cells in columns[name].items()},
                np.asarray(array(f"{name}_groups")) if grouped else None,
            )
            for name in SPLITS
        }
        calibration = splits["train"].images[np.asarray(array("calibration_indices"))]
        return cls(**splits, calibration_images=calibration, facts=artifact.facts)
