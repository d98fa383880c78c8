"""What a loader gives: pictures that are not preprocessed yet, their labels, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.preprocessing import Picture, open_image, shorter_side


@dataclass(frozen=True)
class FileRef:
    """A picture that still lies on disk.

    Attributes:
        path: of the file.
        name: relative to the data folder; what messages and reports show.
    """

    path: Path
    name: str

    def read(self) -> Picture:
        """Decode it. Raises DataError."""
        return open_image(self.path, self.name)

    def shorter_side(self) -> int:
        """Shorter side in pixels, from the header. Raises DataError."""
        return shorter_side(self.path, self.name)


Pictures = NDArray[np.uint8] | Sequence[FileRef]


@dataclass(frozen=True)
class SourceSplit:
    """Pictures (an array ``(n, h, w[, 3])``, or files) and their class numbers ``(n,)`` or 0/1 labels ``(n, K)``."""

    pictures: Pictures
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """A data set as it was found.

    Attributes:
        name: of the data set.
        class_names: in the order of the class numbers.
        splits: ``train``, ``val``, ``test``.
        sha256: digest of the source bytes; stands for the data in cache keys.
        licence, origin, attribution: for the report and the manifest.
        public: whether the images may be shown to anyone.
        warnings: what a user has to know about them.
        task: a name in :data:`edgekd.tasks.TASKS`; empty: what the labels look like.
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, SourceSplit]
    sha256: str
    licence: str
    origin: str
    attribution: str = ""
    public: bool = False
    warnings: tuple[str, ...] = field(default_factory=tuple)
    task: str = ""
