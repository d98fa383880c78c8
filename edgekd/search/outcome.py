"""The folder that a search leaves, whichever way it searched: figures, a page, a plot, and the recipe to build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import host, recipe
from edgekd.artifact import write_json
from edgekd.errors import writing_to
from edgekd.recipe import Recipe
from edgekd.search import space

BEST_FILE = "best.toml"
REMEDY = "name another folder with --out. What is finished is kept"


@dataclass(frozen=True)
class Found:
    """What a search left.

    Attributes:
        path: the folder.
        document: everything that was found, with host and versions, as ``<name>.json`` has it.
        held: whether what was chosen keeps the recipe's budget; false where nothing was.
    """

    path: Path
    document: dict[str, Any]
    held: bool


def write(
    recipe_: Recipe, found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], page: str, out: Path, name: str
) -> Found:
    """Write ``<name>.json``, ``<name>.md``, and ``best.toml`` where there is something to build.

    Args:
        recipe_: that was searched from.
        found: ``chosen`` is the number of a row, or None.
        rows: what was built and measured: ``{"number", "changes", "held"}`` among others.
        page: in Markdown.
        out: folder, which exists.
        name: of the files.
    """
    document = {**found, "host": host.host(), "versions": host.versions()}
    chosen = next((row for row in rows if row["number"] == found["chosen"]), None)
    with writing_to(out, REMEDY):
        write_json(out / f"{name}.json", document)
        (out / f"{name}.md").write_text(page, encoding="utf-8")
        (out / BEST_FILE).unlink(missing_ok=True)
        if chosen is not None:
            (out / BEST_FILE).write_text(recipe.to_toml(space.changed(recipe_, chosen["changes"])), encoding="utf-8")
    return Found(out, document, chosen is not None and chosen["held"])
