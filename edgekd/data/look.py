"""Look at data before anything is made of it: every picture is decoded, and one that cannot be is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.config.data import Data
from edgekd.data import leaks
from edgekd.data.dataset import SPLITS
from edgekd.data.fingerprint import near_pairs_within
from edgekd.data.source import Listing, Source
from edgekd.data.sources import find, finish
from edgekd.data.spelling import confusable
from edgekd.data.tally import NONE, UNDIVIDED, Heap, Histogram, Tally, heaps, tally
from edgekd.errors import EdgekdError
from edgekd.progress import Progress

COMMON_SIZES = 10


@dataclass(frozen=True)
class Look:
    """What there is.

    Attributes:
        document: plain values, see :func:`look`.
        heaps: the pictures by split.
        readable: by split, numbers of the pictures that can be read.
        near: pairs that are nearly the same, as places in the heaps.
        public: whether the images may be shown to anyone.
    """

    document: Mapping[str, Any]
    heaps: Mapping[str, Heap]
    readable: Mapping[str, Sequence[int]]
    near: Sequence[Sequence[leaks.Place]]
    public: bool


def look(config: Data, *, progress: Progress | None = None) -> Look:
    """Decode every picture of a data set, and count.

    The document: ``name``, ``public``, ``num_images``, ``splits`` (name to count), ``classes[]`` (``name``, ``counts``
    by split, ``intensities``), ``imbalance`` (images of the largest class for one of the smallest), ``sizes``
    (``smallest``, ``median``, ``largest`` as width and height, ``common[]``), ``modes`` (Pillow's), ``intensities`` by
    split (mean, standard deviation, 1st and 99th percentile of the grey levels 0..255), ``num_blank`` (images of one
    colour), ``unreadable[]`` (``name``, ``reason``), ``duplicates[]``, ``conflicts[]`` and ``near[]`` (``images``,
    ``splits``, ``labels``: the same pixel for pixel; of these, those with several labels; pairs that are nearly the
    same, across splits or, where there are none, anywhere), ``between[]`` (``splits``; how many of the second stand in
    the first, ``exact`` and ``near``), ``lookalike_classes``, ``warnings``, ``notes``, and ``refused``: why a build
    would not take the data, or None.

    Args:
        config: which data.
        progress: where the task is shown.

    Raises:
        DataError: nothing at the path, or a table or file that cannot be read at all.
    """
    found = find(config)
    piles = heaps(found)
    with (progress or Progress()).task("images", sum(len(heap.names) for heap in piles.values())) as task:
        tallies = {name: tally(heap, config, task) for name, heap in piles.items()}
    parts = {name: _part(heap, tallies[name]) for name, heap in piles.items()}
    same = leaks.same_images(parts)
    shared = leaks.between(parts, same)
    near = [((row.first, one), (row.second, two)) for row in shared for one, two in row.near]
    if UNDIVIDED in parts:
        near = [((UNDIVIDED, one), (UNDIVIDED, two)) for one, two in near_pairs_within(parts[UNDIVIDED].prints)]
    public = isinstance(found, Source) and found.public
    document = {
        "name": found.name,
        "public": public,
        "num_images": sum(len(heap.names) for heap in piles.values()),
        "splits": {name: len(heap.names) for name, heap in piles.items()},
        **_classes(piles, tallies),
        "sizes": _sizes(sum((Counter(one.sizes) for one in tallies.values()), Counter[tuple[int, int]]())),
        "modes": dict(sum((Counter(one.modes) for one in tallies.values()), Counter[str]()).most_common()),
        "intensities": {name: _intensities(one.histogram) for name, one in tallies.items()},
        "num_blank": sum(one.num_blank for one in tallies.values()),
        "unreadable": [
            {"name": heap.names[index], "reason": reason}
            for name, heap in piles.items()
            for index, reason in tallies[name].unreadable.items()
        ],
        "duplicates": [_group(parts, group) for group in same],
        "conflicts": [_group(parts, group) for group in leaks.conflicts(parts, same)],
        "near": [_group(parts, pair) for pair in near],
        "between": [
            {"splits": [row.first, row.second], "exact": len(row.exact), "near": len(row.near)} for row in shared
        ],
        "lookalike_classes": confusable(
            chain.from_iterable(chain.from_iterable(heap.labels for heap in piles.values()))
        ),
        "warnings": list(found.warnings),
        "notes": list(found.notes),
        "refused": _refusal(found, config, parts, sum(len(one.unreadable) for one in tallies.values())),
    }
    readable = {name: one.readable for name, one in tallies.items()}
    places = [[(name, readable[name][index]) for name, index in pair] for pair in near]
    return Look(document, piles, readable, places, public)


def _part(heap: Heap, counted: Tally) -> leaks.Part:
    """The readable pictures of a heap."""
    return leaks.Part(
        [heap.names[index] for index in counted.readable],
        [" | ".join(heap.labels[index]) for index in counted.readable],
        counted.prints,
    )


def _classes(piles: Mapping[str, Heap], tallies: Mapping[str, Tally]) -> dict[str, Any]:
    counts = {
        name: Counter(label for labels in heap.labels for label in labels or (NONE,)) for name, heap in piles.items()
    }
    names = sorted(set().union(*counts.values()), key=lambda name: (name == NONE, name))
    totals = [sum(count[name] for count in counts.values()) for name in names if name != NONE]
    levels = {
        name: sum((one.histograms[name] for one in tallies.values() if name in one.histograms), np.zeros(256, np.int64))
        for name in names
    }
    return {
        "classes": [
            {
                "name": name,
                "counts": {split: count[name] for split, count in counts.items()},
                "intensities": _intensities(levels[name]),
            }
            for name in names
        ],
        "imbalance": round(max(totals) / min(totals), 2) if totals else None,
    }


def _intensities(histogram: Histogram) -> dict[str, float] | None:
    """Mean, standard deviation, 1st and 99th percentile of grey levels; None of no pixels."""
    total = int(histogram.sum())
    if not total:
        return None
    levels, shares = np.arange(256), np.cumsum(histogram) / total
    mean = float(histogram @ levels) / total
    deviation = float(np.sqrt(histogram @ (levels - mean) ** 2 / total))
    low, high = (int(np.searchsorted(shares, share)) for share in (0.01, 0.99))
    return {"mean": round(mean, 1), "std": round(deviation, 1), "p1": low, "p99": high}


def _sizes(sizes: Counter[tuple[int, int]]) -> dict[str, Any]:
    if not sizes:
        return {"smallest": None, "median": None, "largest": None, "common": []}
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    middle = np.searchsorted(np.cumsum([sizes[size] for size in by_area]), sizes.total() / 2)
    return {
        "smallest": list(by_area[0]),
        "median": list(by_area[int(middle)]),
        "largest": list(by_area[-1]),
        "common": [
            {"width": width, "height": height, "count": count}
            for (width, height), count in sizes.most_common(COMMON_SIZES)
        ],
    }


def _group(parts: leaks.Parts, group: Sequence[leaks.Place]) -> dict[str, list[str]]:
    return {
        "images": [parts[name].names[index] for name, index in group],
        "splits": [name for name, _ in group],
        "labels": [parts[name].labels[index] for name, index in group],
    }


def _refusal(found: Source | Listing, config: Data, parts: leaks.Parts, num_unreadable: int) -> str | None:
    """Why a build would not take the data; a path to it is not repeated."""
    try:
        pixels = {
            name: digest.hex()
            for part in parts.values()
            for name, digest in zip(part.names, part.prints.digests, strict=True)
        }
        source = finish(found, config, pixels)
        divided = _drawn(source, parts[UNDIVIDED]) if UNDIVIDED in parts else parts
        if not config.deduplicate:
            same = leaks.same_images(divided)
            leaks.check_limit(divided, leaks.between(divided, same, near=False), config.max_duplicates)
    except EdgekdError as error:
        return str(error).replace(str(Path(config.path)), found.name) if config.path else str(error)
    if num_unreadable and not config.skip_unreadable:
        return f"{num_unreadable} unreadable image(s); mend or remove them, or --set data.skip_unreadable=true"
    return None


def _drawn(source: Source, part: leaks.Part) -> dict[str, leaks.Part]:
    """The images by the splits that a build would draw."""
    split_of = {split.name(index): name for name, split in source.splits.items() for index in range(len(split.labels))}
    names = np.array([split_of[name] for name in part.names])
    return {name: part.take(names == name) for name in SPLITS}
