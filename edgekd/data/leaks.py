"""Images that stand in two splits, or under two labels: found by their pixels, counted, and held against a limit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data.fingerprint import Fingerprints, near_pairs
from edgekd.errors import DataError, listed

MAX_NAMED = 200
"""Pairs and groups of each kind that are named one by one; all are counted."""
SHOWN = 3

Place = tuple[str, int]
"""An image: its part (a split), and its number there."""


@dataclass(frozen=True)
class Part:
    """A split, as far as this module needs it.

    Attributes:
        names: what the images are called.
        labels: in words.
        prints: their fingerprints.
    """

    names: Sequence[str]
    labels: Sequence[str]
    prints: Fingerprints

    def take(self, kept: NDArray[np.bool_]) -> Part:
        """Only those images that a mask ``(n,)`` keeps."""
        rows = np.flatnonzero(kept).tolist()
        return Part([self.names[row] for row in rows], [self.labels[row] for row in rows], self.prints.take(kept))


Parts = Mapping[str, Part]
"""By name, the one that is trained on first."""


@dataclass(frozen=True)
class Between:
    """What two splits share.

    Attributes:
        first, second: their names.
        exact: ``(in first, in second)`` for every image of the second that stands in the first pixel for pixel.
        near: the same for those that nearly do.
    """

    first: str
    second: str
    exact: tuple[tuple[int, int], ...]
    near: tuple[tuple[int, int], ...]


def same_images(parts: Parts) -> list[list[Place]]:
    """Groups of images that are the same pixel for pixel, within a part or across, in the order of the parts."""
    groups: dict[bytes, list[Place]] = defaultdict(list)
    for name, part in parts.items():
        for index, digest in enumerate(part.prints.digests):
            groups[digest].append((name, index))
    return [group for group in groups.values() if len(group) > 1]


def conflicts(parts: Parts, groups: Sequence[Sequence[Place]]) -> list[Sequence[Place]]:
    """Those groups of the same image in which it has several labels."""
    return [group for group in groups if len({parts[name].labels[index] for name, index in group}) > 1]


def between(parts: Parts, groups: Sequence[Sequence[Place]], *, near: bool = True) -> list[Between]:
    """What each two parts share; ``groups`` as :func:`same_images` gives them. Near ones are looked for if asked."""
    exact: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for group in groups:
        earliest: dict[str, int] = {}
        for name, index in group:
            for other, partner in earliest.items():
                if other != name:
                    exact[other, name].append((partner, index))
            earliest.setdefault(name, index)
    return [
        Between(
            first,
            second,
            tuple(sorted(exact[first, second], key=lambda pair: pair[1])),
            tuple(near_pairs(parts[first].prints, parts[second].prints) if near else ()),
        )
        for first, second in combinations(parts, 2)
    ]


def without_copies(parts: Parts, groups: Sequence[Sequence[Place]]) -> dict[str, NDArray[np.bool_]]:
    """Masks that drop from each part what also stands in a later one: from train before val, from val before test."""
    order = list(parts)
    kept = {name: np.ones(len(part.names), bool) for name, part in parts.items()}
    for group in groups:
        last = max((name for name, _ in group), key=order.index)
        for name, index in group:
            kept[name][index] = name == last
    return kept


def check_limit(parts: Parts, found: Sequence[Between], limit: float) -> None:
    """Raise DataError where more than ``limit`` of a part's images stand in earlier ones, pixel for pixel."""
    for name, part in parts.items():
        into = [row for row in found if row.second == name and row.exact]
        leaked = {index for row in into for _, index in row.exact}
        if len(leaked) > limit * len(part.names):
            named = [
                f'"{parts[row.first].names[partner]}" = "{part.names[index]}"'
                for row in into
                for partner, index in row.exact
            ]
            raise DataError(
                f"{len(leaked)} of {len(part.names)} {name} images ({len(leaked) / len(part.names):.1%}) stand in "
                f"{' or '.join(row.first for row in into)} too, pixel for pixel, more than data.max_duplicates = "
                f"{limit:g} allows: {listed(named, SHOWN)}. The figures would be too good: leave them out of train "
                "with --set data.deduplicate=true, or mend the splits"
            )


def warnings(found: Sequence[Between], opposed: Sequence[Sequence[Place]]) -> list[str]:
    """Say what was found, in numbers; which images they are stands in the facts and in ``edgekd data inspect``."""
    texts = []
    for row in found:
        if row.exact:
            texts.append(
                f"{len(row.exact)} image(s) of {row.second} stand in {row.first} too, pixel for pixel; "
                "--set data.deduplicate=true leaves them out of training"
            )
        if row.near:
            texts.append(
                f"{len(row.near)} image(s) of {row.second} are nearly the same as one of {row.first} (by a perceptual "
                "hash): copies, or one patient in two splits? edgekd data inspect names them"
            )
    if opposed:
        texts.append(
            f"{len(opposed)} image(s) have several labels, pixel for pixel the same image; edgekd data inspect names "
            "them"
        )
    return texts


def to_json(parts: Parts, found: Sequence[Between], opposed: Sequence[Sequence[Place]]) -> dict[str, Any]:
    """What was found, by the names of the images: ``{"exact": [...], "near": [...], "conflicts": [...]}``.

    Of two splits: ``{"splits", "num_images", "pairs": [[name, name], ...], "places": [[number, number], ...]}``, the
    numbers within the splits; of a conflict: ``{"images": [...], "labels": [...]}``.
    """

    def pairs(kind: str) -> list[dict[str, Any]]:
        rows = []
        for row in found:
            twins = getattr(row, kind)
            names, others = parts[row.first].names, parts[row.second].names
            places = [list(pair) for pair in twins[:MAX_NAMED]]
            shown = {"pairs": [[names[one], others[two]] for one, two in places], "places": places}
            if twins:
                rows.append({"splits": [row.first, row.second], "num_images": len(twins), **shown})
        return rows

    return {
        "exact": pairs("exact"),
        "near": pairs("near"),
        "conflicts": [
            {
                "images": [parts[name].names[index] for name, index in group],
                "labels": [parts[name].labels[index] for name, index in group],
            }
            for group in opposed[:MAX_NAMED]
        ],
    }
