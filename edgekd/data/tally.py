"""Decode a heap of pictures and count what they are; the pixels themselves are not kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.config.data import Data
from edgekd.data.archive import ArchivedImages
from edgekd.data.dataset import SPLITS
from edgekd.data.fingerprint import Fingerprint, Fingerprints, fingerprint
from edgekd.data.pool import ordered
from edgekd.data.source import Listing, Pictures, Source, are_pixels
from edgekd.errors import DataError, MissingRequirementError
from edgekd.preprocessing import Picture, to_rgb
from edgekd.progress import Task

UNDIVIDED = "all"
"""What the images are called where the data gives no splits."""
NONE = "none of them"
"""The class of an image without a label, of a multi-label task."""

Histogram = NDArray[np.int64]
"""How often each grey level from 0 to 255 occurs."""


@dataclass(frozen=True)
class Heap:
    """Pictures of one split, or of data without splits.

    Attributes:
        pictures: pixels, or references.
        names: what messages call them.
        labels: names of the classes of each; of a multi-label task any number.
    """

    pictures: Pictures
    names: Sequence[str]
    labels: Sequence[tuple[str, ...]]

    def read(self, indices: Sequence[int]) -> Iterator[Picture]:
        """Decode some pictures, by ascending numbers. Raises DataError."""
        if isinstance(self.pictures, ArchivedImages):
            return self.pictures.pick(np.asarray(indices, np.int64))
        found = (self.pictures[index] for index in indices)
        return (picture if isinstance(picture, np.ndarray) else picture.read() for picture in found)


@dataclass(frozen=True)
class Tally:
    """What a heap's pictures are.

    Attributes:
        readable: numbers of those that can be decoded.
        unreadable: the others, and why.
        prints: fingerprints of the readable ones.
        modes: Pillow's, and how many have it; ``I;16`` is grey of 16 bits.
        sizes: width and height.
        histograms: by class, of the grey levels.
        histogram: of all.
        num_blank: how many are of one colour.
    """

    readable: Sequence[int]
    unreadable: Mapping[int, str]
    prints: Fingerprints
    modes: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    histograms: Mapping[str, Histogram]
    histogram: Histogram
    num_blank: int


@dataclass(frozen=True)
class _Seen:
    mode: str
    size: tuple[int, int]
    prints: Fingerprint
    histogram: Histogram


def heaps(found: Source | Listing) -> dict[str, Heap]:
    """The pictures by split, in the order train, val, test; by :data:`UNDIVIDED` where the data has none."""
    if isinstance(found, Source):
        return {name: _of_split(found, name) for name in SPLITS}
    items = sorted(found.items, key=lambda item: item.picture.name)
    by_split = {name: [item for item in items if item.split == name] for name in (*SPLITS, "")}
    return {
        name or UNDIVIDED: Heap(
            [item.picture for item in chosen],
            [item.picture.name for item in chosen],
            [item.labels for item in chosen],
        )
        for name, chosen in by_split.items()
        if chosen
    }


def _of_split(source: Source, name: str) -> Heap:
    split, classes = source.splits[name], source.class_names
    numbers = split.labels[:, None].tolist() if split.labels.ndim == 1 else map(np.flatnonzero, split.labels)
    labels = [tuple(classes[number] for number in row) for row in numbers]
    prefix = name if are_pixels(split.pictures) else ""
    return Heap(split.pictures, [f"{prefix}{split.name(index)}" for index in range(len(labels))], labels)


def tally(heap: Heap, config: Data, task: Task) -> Tally:
    """Decode every picture of a heap; those that cannot be are counted, too.

    Args:
        heap: the pictures.
        config: how grey of 16 bits is read.
        task: counts every picture.
    """
    readable, unreadable, prints = list[int](), dict[int, str](), list[Fingerprint]()
    modes, sizes, histograms, num_blank = Counter[str](), Counter[tuple[int, int]](), dict[str, Histogram](), 0
    histogram: Histogram = np.zeros(256, np.int64)
    for index, one in enumerate(_see(heap, config)):
        task.advance(1)
        if isinstance(one, str):
            unreadable[index] = one
            continue
        readable.append(index)
        prints.append(one.prints)
        modes[one.mode] += 1
        sizes[one.size] += 1
        num_blank += int(np.count_nonzero(one.histogram) == 1)
        histogram += one.histogram
        for label in heap.labels[index] or (NONE,):
            histograms[label] = histograms.get(label, np.zeros(256, np.int64)) + one.histogram
    return Tally(readable, unreadable, Fingerprints.of(prints), modes, sizes, histograms, histogram, num_blank)


def _see(heap: Heap, config: Data) -> Iterator[_Seen | str]:
    pictures = heap.pictures

    def see(picture: Picture) -> _Seen:
        rgb = to_rgb(picture, config.sixteen_bit_max)
        mode = picture.mode if isinstance(picture, Image.Image) else ("L" if picture.ndim == 2 else "RGB")
        return _Seen(mode, rgb.size, fingerprint(rgb), np.array(rgb.convert("L").histogram(), np.int64))

    if are_pixels(pictures):
        return map(see, pictures)

    def read(index: int) -> _Seen | str:
        try:
            return see(pictures[index].read())
        except (DataError, MissingRequirementError) as error:
            return str(error)

    return ordered(read, len(pictures))
