"""What the report shows of images of two splits that are nearly the same: who they are, and side by side."""

from __future__ import annotations

from typing import Any

from edgekd.artifact import Artifact
from edgekd.config.report import Report
from edgekd.data.dataset import Dataset
from edgekd.evidence import thumbnail

SHOWN = 24
"""Pairs of the report; ``edgekd data inspect`` names all."""


def lookalikes(data: Artifact, config: Report) -> dict[str, Any]:
    """The pairs that the leak check found, the first :data:`SHOWN` one by one.

    Args:
        data: of the data stage.
        config: says whether the images may be shown.

    Returns:
        ``{"near_duplicates": {"num_pairs", "pairs": [{"splits", "names", "thumbnails"}]}}``, each of a pair's fields
        with two entries; thumbnails are ``data:`` addresses, or None where they may not be shown. Nothing where there
        are no pairs.
    """
    found = data.facts["leaks"]["near"]
    if not found:
        return {}
    dataset, shown = Dataset.open(data), config.shows(bool(data.facts["public"]))
    pairs = [
        {
            "splits": row["splits"],
            "names": names,
            "thumbnails": [
                thumbnail(getattr(dataset, split).images[index])
                for split, index in zip(row["splits"], places, strict=True)
            ]
            if shown
            else None,
        }
        for row in found
        for names, places in list(zip(row["pairs"], row["places"], strict=True))[:SHOWN]
    ]
    return {"near_duplicates": {"num_pairs": sum(row["num_images"] for row in found), "pairs": pairs[:SHOWN]}}
