"""What the student is on its way through the chain: its forms before the shipped one, and what was done to each."""

from __future__ import annotations

import dataclasses

from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.recipe import Recipe

# What the student was on its way, measured so that the report can say what each step brought: the stage that made it,
# and the folder of its Keras model.
FORMS = {"distilled": ("distill", "model"), "pruned": ("prune", "cut")}


def steps_of(distilled: Artifact) -> list[str]:
    """What was done to the student that distillation left."""
    finetuning = distilled.facts["finetuning"]
    return ["distilled", "finetuned"] if finetuning and finetuning["kept"] else ["distilled"]


def on_the_way(recipe_: Recipe) -> dict[str, tuple[str, ...]]:
    """Forms of the student before the one that is shipped, in their order, and the files of each."""
    if recipe_.prune.method == "none":
        return {"distilled": ("fp32",)} if recipe_.quantize.method == "qat" else {}
    cut = {"pruned": ("fp32",)} if recipe_.prune.method == "channel" else {}
    return {"distilled": ("fp32", "int8"), **cut}


def alone(config: Distill) -> Distill:
    """The student without the teacher, for as many epochs: what distillation has to be better than."""
    return dataclasses.replace(
        config,
        mode="stored",
        loss={},
        temperature=1.0,
        temperature_end=None,
        hard_loss_weight=1.0,
        hard_loss_weight_end=None,
        num_views=1,
        train_alone=False,
    )
