"""Hold a prepared data set against its copies: drop them where that is asked, refuse too many, and say what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgekd.artifact import Artifact
from edgekd.config.data import Data
from edgekd.config.report import Report
from edgekd.data import leaks
from edgekd.data.contact_sheet import contact_sheet
from edgekd.data.decode import rearrange
from edgekd.data.fingerprint import Fingerprints
from edgekd.data.source import Source, SourceSplit, are_pixels

NEAR_FILE = "near_duplicates.png"
NEAR_SHOWN = 24


@dataclass(frozen=True)
class Checked:
    """A data set after the check.

    Attributes:
        source: without what was dropped.
        warnings: for the report.
        facts: ``leaks`` of the artifact.
    """

    source: Source
    warnings: Sequence[str]
    facts: Mapping[str, Any]


def check_leaks(source: Source, prints: Mapping[str, Fingerprints], config: Data, out_dir: Path) -> Checked:
    """Find images that stand in two splits, or under two labels, by the pixels they were decoded to.

    With ``deduplicate``, rows of the written images are dropped. Pairs that are nearly the same are drawn into
    :data:`NEAR_FILE`.

    Args:
        source: with readable pictures alone.
        prints: fingerprints by split.
        config: what is dropped, and how many are allowed.
        out_dir: folder of the artifact, with ``<split>_images.npy``.

    Raises:
        DataError: more of a split stand in an earlier one than ``max_duplicates`` allows.
    """
    parts = {
        name: leaks.Part(_names(name, source.splits[name], config), _labels(source.splits[name], source), found)
        for name, found in prints.items()
    }
    splits, dropped = dict(source.splits), dict[str, int]()
    if config.deduplicate:
        kept = {
            name: mask for name, mask in leaks.without_copies(parts, leaks.same_images(parts)).items() if not mask.all()
        }
        dropped = {name: int((~mask).sum()) for name, mask in kept.items()}
        rearrange(
            out_dir, {name: [(name, row) for row in np.flatnonzero(mask).tolist()] for name, mask in kept.items()}
        )
        splits |= {name: splits[name].take(mask) for name, mask in kept.items()}
        parts |= {name: parts[name].take(mask) for name, mask in kept.items()}
    same = leaks.same_images(parts)
    shared, opposed = leaks.between(parts, same), leaks.conflicts(parts, same)
    leaks.check_limit(parts, shared, config.max_duplicates)
    _draw_near(out_dir, shared)
    warnings = leaks.warnings(shared, opposed)
    if dropped:
        counts = ", ".join(f"{count} image(s) of {name}" for name, count in dropped.items())
        warnings.insert(0, f"left out by data.deduplicate, as they stand in a later split too: {counts}")
    facts = {
        "max_duplicates": config.max_duplicates,
        "dropped": dropped,
        **leaks.to_json(parts, shared, opposed),
    }
    return Checked(replace(source, splits=splits), warnings, facts)


def near_picture(data: Artifact, config: Report) -> Path | None:
    """The picture of pairs that are nearly the same, where there is one and the recipe lets it be shown."""
    path = data.path / NEAR_FILE
    return path if config.shows(bool(data.facts["public"])) and path.exists() else None


def _names(name: str, split: SourceSplit, config: Data) -> Sequence[str]:
    """What messages call the images: their files, but by number where the files' names tell the patients."""
    by_number = config.patient_pattern or are_pixels(split.pictures)
    return [f"{name}[{index}]" if by_number else split.name(index) for index in range(len(split.labels))]


def _labels(split: SourceSplit, source: Source) -> Sequence[str]:
    if split.labels.ndim == 1:
        return [source.class_names[label] for label in split.labels]
    return [" | ".join(np.array(source.class_names)[row == 1]) for row in split.labels]


def _draw_near(out_dir: Path, shared: Sequence[leaks.Between]) -> None:
    """Pairs that are nearly the same, side by side."""
    pairs = [(row, pair) for row in shared for pair in row.near][:NEAR_SHOWN]
    images = {
        name: np.load(out_dir / f"{name}_images.npy", mmap_mode="r", allow_pickle=False)
        for name in {name for row, _ in pairs for name in (row.first, row.second)}
    }
    tiles = [
        Image.fromarray(np.asarray(images[name][index]))
        for row, pair in pairs
        for name, index in zip((row.first, row.second), pair, strict=True)
    ]
    if tiles:
        contact_sheet(tiles, 6).save(out_dir / NEAR_FILE)
