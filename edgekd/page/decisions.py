"""Single decisions, arranged for the page: who was taken for whom, and which images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.page.figures import Document, task_of

MOST_CLASSES = 12
"""Up to which a table of counts can be read; more classes are a picture and a list."""

MOST_PAIRS = 15


def confusion(document: Document) -> dict[str, Any]:
    """What the template needs: ``kind`` (``table``, ``picture`` or ``labels``), and the models' counts in that form."""
    names, found = document["dataset"]["class_names"], document["confusion"]
    if task_of(document).several:
        labels = [
            {
                "name": name,
                "models": [
                    {"found": table[1][1], "missed": table[1][0], "false": table[0][1]}
                    for table in (row["counts"][place] for row in found)
                ],
            }
            for place, name in enumerate(names)
        ]
        return {"kind": "labels", "labels": labels, "names": names}
    if len(names) <= MOST_CLASSES:
        models = [{"model": row["model"], "rows": _shares(row["counts"], names)} for row in found]
        return {"kind": "table", "models": models, "names": names}
    models = [
        {"model": row["model"], "cells": _cells(row["counts"]), "pairs": _pairs(row["counts"], names)} for row in found
    ]
    return {"kind": "picture", "models": models, "names": names}


def cases(document: Document) -> list[dict[str, Any]]:
    """``{"title", "text", "rows"}`` of mistakes and of changed decisions, as far as there are any."""
    found = document["cases"]
    what = "labels of images" if task_of(document).several else "images"
    groups = [
        {
            "title": "Surest mistakes",
            "text": f"{found['model']} decides {found['num_mistakes']:,} of {found['num_decisions']:,} {what} wrongly; "
            "these with the highest probability.",
            "rows": found["mistakes"],
        }
    ]
    if found["before"]:
        other = found["num_changed"] - found["num_mended"] - found["num_broken"]
        parts = [f"{found['num_broken']:,} from right to wrong", f"{found['num_mended']:,} from wrong to right"]
        parts += [f"{other:,} from wrong to otherwise wrong"] if other else []
        text = f"{found['model']} decides {found['num_changed']:,} of {found['num_decisions']:,} {what} otherwise than "
        text += f"{found['before']}{': ' if found['num_changed'] else ''}"
        text += f"{', '.join(parts) if found['num_changed'] else ''}."
        groups.append({"title": "Decisions changed by compression", "text": text, "rows": found["changed"]})
    return groups


def _shares(counts: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "cells": [
                {"count": count, "share": count / max(1, sum(row)), "right": place == column}
                for column, count in enumerate(row)
            ],
        }
        for place, (name, row) in enumerate(zip(names, counts, strict=True))
    ]


def _cells(counts: Sequence[Sequence[int]]) -> list[Mapping[str, Any]]:
    return [
        {"x": column, "y": place, "share": round(count / sum(row), 3), "right": place == column}
        for place, row in enumerate(counts)
        for column, count in enumerate(row)
        if count
    ]


def _pairs(counts: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The commonest confusions."""
    found: list[dict[str, Any]] = [
        {"label": names[place], "decided": names[column], "count": count, "n": sum(row)}
        for place, row in enumerate(counts)
        for column, count in enumerate(row)
        if count and place != column
    ]
    return sorted(found, key=lambda pair: (-pair["count"], pair["label"], pair["decided"]))[:MOST_PAIRS]
