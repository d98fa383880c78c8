"""What a loader gives: pictures that are not preprocessed yet, their labels, and where they come from.

Every loader of files lists :class:`Item`; :func:`edgekd.data.arrange.arrange` makes splits of them. A picture is
decoded when it is asked for, by its reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import sha256_file
from edgekd.data.archive import ArchivedImages
from edgekd.preprocessing import Picture, open_image, shorter_side

if TYPE_CHECKING:
    from typing_extensions import TypeIs


class PictureRef(Protocol):
    """A picture that still lies on disk.

    Attributes:
        name: relative to the data folder; what messages and reports show.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - an attribute, described above

    def read(self) -> Picture:
        """Decode it. Raises DataError."""
        ...

    def shorter_side(self) -> int:
        """Shorter side in pixels. Raises DataError."""
        ...

    def digest(self) -> str:
        """SHA-256 of the bytes it is decoded from. Raises OSError."""
        ...


@dataclass(frozen=True)
class FileRef:
    """An image file: a :class:`PictureRef`.

    Attributes:
        path: of the file.
        name: relative to the data folder.
    """

    path: Path
    name: str

    def read(self) -> Picture:
        """Decode it. Raises DataError."""
        return open_image(self.path, self.name)

    def shorter_side(self) -> int:
        """Shorter side in pixels, from the header. Raises DataError."""
        return shorter_side(self.path, self.name)

    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256_file(self.path)


@dataclass(frozen=True)
class Item:
    """A picture and what is known of it.

    Attributes:
        picture: where it is.
        labels: names of its classes; one, or of a multi-label task any number.
        split: ``train``, ``val`` or ``test`` where the data says so; else empty.
        group: what must not be divided among splits, a patient: a hashed name
            (:func:`edgekd.data.groups.hasher`) that means something within this listing alone; empty: not known.
        columns: subgroups that it belongs to, ``{"sex": "F"}``.
    """

    picture: PictureRef
    labels: tuple[str, ...]
    split: str = ""
    group: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """What was found at a place, before it is divided.

    Attributes:
        name: of the data.
        where: the folder or file, quoted, as messages begin.
        items: every picture, in any order.
        several: whether an image may have any number of labels.
        warnings: what the report has to say.
        notes: what was guessed; printed, no cause for alarm.
    """

    name: str
    where: str
    items: Sequence[Item]
    several: bool = False
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Images = NDArray[np.uint8] | ArchivedImages
"""Pixels as they are, of one size: in memory, or in a file from which they are best read one after the other."""
Pictures = Images | Sequence[PictureRef]


def are_pixels(pictures: Pictures) -> TypeIs[Images]:
    """Whether pictures need no decoding, and have no names but their numbers."""
    return isinstance(pictures, (np.ndarray, ArchivedImages))


@dataclass(frozen=True)
class SourceSplit:
    """Pictures and what is known of them.

    Attributes:
        pictures: pixels ``(n, h, w[, 3])``, or references.
        labels: class numbers ``(n,)``, or 0/1 labels ``(n, K)``.
        columns: subgroups, each ``(n,)`` texts.
        groups: a number for each patient, int64 ``(n,)``, which is no identifier; None: patients are not known.
    """

    pictures: Pictures
    labels: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None

    def name(self, index: int) -> str:
        """What messages call a picture: its relative file name, or its number in an array."""
        return f"[{index}]" if are_pixels(self.pictures) else self.pictures[index].name

    def take(self, kept: NDArray[np.bool_]) -> SourceSplit:
        """Only those pictures that a mask ``(n,)`` keeps."""
        pictures: Pictures
        if isinstance(self.pictures, np.ndarray):
            pictures = self.pictures[kept]
        elif isinstance(self.pictures, ArchivedImages):
            pictures = self.pictures.take(kept)
        else:
            pictures = [picture for picture, wanted in zip(self.pictures, kept, strict=True) if wanted]
        columns = {name: values[kept] for name, values in self.columns.items()}
        return SourceSplit(pictures, self.labels[kept], columns, None if self.groups is None else self.groups[kept])


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
        notes: what was guessed about the layout; printed.
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
    notes: tuple[str, ...] = field(default_factory=tuple)
