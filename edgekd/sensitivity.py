"""``edgekd sensitivity``: how much can each layer of a recipe's student lose?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd import host, pipeline, recipe
from edgekd.artifact import Artifact, write_json
from edgekd.cache import Cache
from edgekd.errors import ModelError, UserError, did_you_mean, writing_to
from edgekd.options import to_table
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.sensitivity_plot import plot
from edgekd.sensitivity_table import markdown

KINDS: Mapping[str, Mapping[str, Any]] = {
    "weights": {"method": "weight", "allocation": "sensitivity", "initial_sparsity": 0.0, "final_sparsity": 0.0},
    "channels": {"method": "channel", "criterion": "sensitivity", "keep_macs": 1.0, "rounds": 1},
}
"""What the recipe's ``[prune]`` is changed to, so that the chain comes to the analysis; nothing is pruned."""

DATASET_FIELDS = ("name", "num_val", "sha256")
LAST_STAGE = "sensitivity"


def analyse(
    recipe_: Recipe, kinds: Sequence[str], out: Path, *, cache: Cache, progress: Progress | None = None
) -> dict[str, Any]:
    """Train the recipe's student up to its pruning, or take it from the cache, and measure each layer's sensitivity.

    Args:
        recipe_: validated; ``prune.protected_layers`` get no curve.
        kinds: names in ``KINDS``.
        out: folder of ``sensitivity.json``, ``sensitivity.md``, and a plot of each kind as ``.svg`` and ``.png``.
        cache: store of finished stages; a build that prunes by sensitivity finds the analysis there.
        progress: where long work is shown.

    Returns:
        What ``sensitivity.json`` holds: ``analyses`` by kind (the facts of :mod:`edgekd.stages.sensitivity`), recipe as
        resolved, data set, host, versions, commit.

    Raises:
        UserError: an unknown kind, or none.
        EdgekdError: see :mod:`edgekd.errors`.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f'unknown kind "{kind}"{did_you_mean(kind, KINDS)}')
    if not kinds:
        raise UserError(f"no kind of sensitivity is named{did_you_mean('', KINDS)}")
    with writing_to(out, "name another folder with --out"):
        out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    made: Mapping[str, Artifact] = {}
    for kind in dict.fromkeys(kinds):
        try:
            made, _ = pipeline.artifacts(variant(recipe_, kind), cache=cache, progress=progress, until=LAST_STAGE)
        except ModelError as error:
            if kind == "weights":
                raise
            raise ModelError(f"{error}; the weights alone: --of weights") from None
        found[kind] = dict(made[LAST_STAGE].facts)
    resolved, _ = pipeline.resolve(recipe_)
    document: dict[str, Any] = {
        "recipe": to_table(resolved),
        "dataset": {name: made["data"].facts[name] for name in DATASET_FIELDS},
        "analyses": found,
        "host": host.host(),
        "versions": host.versions(),
        "commit": host.commit(),
    }
    name = document["dataset"]["name"]
    with writing_to(out, "what is measured is kept; give the same command again"):
        write_json(out / "sensitivity.json", document)
        parts = [markdown(analysis, name) for analysis in found.values()]
        text = "\n".join([f"# {resolved.name}: sensitivity of the student's layers\n", *parts])
        (out / "sensitivity.md").write_text(text, encoding="utf-8")
        for analysis in found.values():
            plot(analysis, out, name)
    return document


def variant(recipe_: Recipe, kind: str) -> Recipe:
    """The recipe with an analysis of a kind before its pruning."""
    table = to_table(recipe_)
    table["prune"] |= KINDS[kind]
    table["distill"]["train_alone"] = False
    return recipe.from_table(table)
