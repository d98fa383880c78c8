"""Contact sheets of a look: one for each class, and one of the pairs that are nearly the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edgekd.config.data import Data
from edgekd.data.contact_sheet import contact_sheet
from edgekd.data.leaks import Place
from edgekd.data.look import Look
from edgekd.data.tally import NONE, Heap
from edgekd.preprocessing import to_rgb

PER_CLASS = 64
PAIRS = 24
NEAR_FILE = "near_duplicates.png"


def write_sheets(found: Look, config: Data, folder: Path) -> dict[str, str]:
    """Write ``class_<number>.png`` with up to 64 images of each class, and the first near pairs side by side.

    Images of a class are taken evenly from all of it, in the order train, val, test.

    Args:
        found: what was looked at.
        config: how the pictures are read.
        folder: which is there.

    Returns:
        What each file shows, by its name.
    """
    written = {}
    for number, row in enumerate(found.document["classes"]):
        places = _of_class(found.heaps, found.readable, row["name"])
        if not places:
            continue
        chosen = [places[index] for index in np.linspace(0, len(places) - 1, min(PER_CLASS, len(places))).astype(int)]
        file = f"class_{number:02d}.png"
        contact_sheet(_pictures(found, chosen, config), 8).save(folder / file)
        written[file] = f'{len(chosen)} of {len(places)} images of class "{row["name"]}"'
    if found.near:
        pairs = found.near[:PAIRS]
        contact_sheet(_pictures(found, [place for pair in pairs for place in pair], config), 6).save(folder / NEAR_FILE)
        written[NEAR_FILE] = f"{len(pairs)} of {len(found.near)} pairs that are nearly the same, side by side"
    return written


def _of_class(heaps: Mapping[str, Heap], readable: Mapping[str, Sequence[int]], name: str) -> list[Place]:
    return [
        (split, index)
        for split, heap in heaps.items()
        for index in readable[split]
        if name in (heap.labels[index] or (NONE,))
    ]


def _pictures(found: Look, places: Sequence[Place], config: Data) -> list[Image.Image]:
    """Small ones, so that a sheet of large images takes little memory; each split is read in one go."""
    small = {}
    for split in dict.fromkeys(split for split, _ in places):
        indices = sorted({index for name, index in places if name == split})
        for index, picture in zip(indices, found.heaps[split].read(indices), strict=True):
            small[split, index] = to_rgb(picture, config.sixteen_bit_max)
            small[split, index].thumbnail((256, 256))
    return [small[place] for place in places]
