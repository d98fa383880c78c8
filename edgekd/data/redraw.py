"""Draw splits again where decoding showed that copies of one image had fallen into several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekd.config.data import Data
from edgekd.data.dataset import SPLITS
from edgekd.data.decode import rearrange
from edgekd.data.fingerprint import Fingerprints
from edgekd.data.source import Listing, Source
from edgekd.data.sources import finish

Prints = Mapping[str, Fingerprints]


def keep_copies_together(
    source: Source, prints: Prints, found: Source | Listing, config: Data, out_dir: Path
) -> tuple[Source, Prints]:
    """Draw once more by pixels, and move the written images, unless no copy stands in two splits or all are given.

    Files that are equal byte for byte were kept together already, without decoding them; what is left are copies in
    another format or with another header. The digest of the source stays: it is of the files.

    Args:
        source: with readable pictures alone.
        prints: their fingerprints, by split.
        found: what the source was made of.
        config: how splits are drawn.
        out_dir: folder with ``<split>_images.npy``.

    Raises:
        DataError: a class with too few different images.
    """
    given = not isinstance(found, Listing) or {item.split for item in found.items} >= set(SPLITS)
    if given or not _divided(prints):
        return source, prints
    places = {source.splits[name].name(row): (name, row) for name in SPLITS for row in range(len(prints[name].digests))}
    pixels = {name: prints[split].digests[row].hex() for name, (split, row) in places.items()}
    again, chosen = finish(found, config, pixels), {}
    splits = dict(again.splits)
    for name, split in again.splits.items():
        names = [split.name(row) for row in range(len(split.labels))]
        splits[name] = split.take(np.array([one in places for one in names], bool))
        chosen[name] = [places[one] for one in names if one in places]
    rearrange(out_dir, chosen)
    moved = {
        name: Fingerprints(
            [prints[split].digests[row] for split, row in rows],
            np.stack([prints[split].thumbnails[row] for split, row in rows]),
        )
        for name, rows in chosen.items()
    }
    return replace(again, splits=splits, sha256=source.sha256), moved


def _divided(prints: Prints) -> bool:
    """Whether the same pixels stand in two splits."""
    different = [set(found.digests) for found in prints.values()]
    return sum(map(len, different)) > len(set().union(*different))
