"""Architecture search with shared weights: the space, the network that holds all of it, and the choice."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgekd.config.budget import Budget
from edgekd.config.training import Training
from edgekd.errors import RecipeError
from edgekd.options import option


@dataclass(frozen=True)
class Nas:
    """``edgekd nas``: networks around ``distill.blocks``, which gives the stages, their strides and widest channels."""

    widths: tuple[float, ...] = option(
        (0.5, 0.75, 1.0),
        "channels of a stage, as shares of distill.blocks.channels times distill.width_multiplier; multiples of 8",
        above=0,
        maximum=4,
    )
    depths: tuple[int, ...] = option(
        (1, 2, 3), "blocks of a stage; 0 leaves it out, but never the last one", minimum=0, maximum=16
    )
    kernels: tuple[int, ...] = option((3, 5), "sides of the depthwise filters of a stage: odd", minimum=3, maximum=11)
    expansions: tuple[int, ...] = option(
        (3, 6), "channels inside the blocks of a stage for each outside", minimum=1, maximum=16
    )
    training: Training = field(default_factory=lambda: Training(keep="last"))
    subnets_per_step: int = option(
        2, "subnets drawn at random in every step, beside the largest and the smallest", minimum=0, maximum=16
    )
    inplace_weight: float = option(
        0.5,
        "share of the largest network's answers in what the others learn from; the rest is what distill says",
        minimum=0,
        maximum=1,
    )
    num_batchnorm_images: int = option(
        256, "training images that every candidate's batch normalization is estimated on", minimum=2, maximum=4096
    )
    num_val_images: int = option(512, "images of val that every candidate is judged on", minimum=2)
    num_candidates: int = option(256, "candidates that the evolution looks at", minimum=1, maximum=1_000_000)
    population: int = option(32, "candidates that are alive at a time", minimum=2, maximum=10_000)
    sample_size: int = option(8, "of these, how many compete to be the parent of the next", minimum=1, maximum=10_000)
    num_finalists: int = option(
        3, "of the candidates, the best that are trained on and measured for real", minimum=1, maximum=100
    )
    finetune_epochs: int = option(
        0, "epochs of a finalist, from its weights of the supernet on; 0: distill.training.epochs", minimum=0
    )
    finetune_learning_rate: float | None = option(
        None, "learning rate of these epochs; not set: distill.training.learning_rate", above=0, maximum=10
    )
    table_processes: int = option(
        5,
        "fresh processes that time each form of block for the latency table; now and then one is a third slower "
        "throughout, which the median of few does not bear",
        minimum=1,
        maximum=1000,
    )


def check_nas(nas: Nas) -> None:
    """Raise RecipeError where a list of the space is empty or says a thing twice, or a kernel has no middle."""
    for name in ("widths", "depths", "kernels", "expansions"):
        values = getattr(nas, name)
        if not values or len(set(values)) < len(values):
            raise RecipeError(f"nas.{name} = {list(values)}: at least one value, each at most once")
    if any(kernel % 2 == 0 for kernel in nas.kernels):
        raise RecipeError(f"nas.kernels = {list(nas.kernels)}: odd ones, which have a middle")
    if not any(nas.depths):
        raise RecipeError("nas.depths = [0]: the last stage is never left out; add 1 or more")
    if nas.sample_size > nas.population:
        raise RecipeError(f"nas.sample_size = {nas.sample_size}: at most nas.population, {nas.population}")


def check_nas_budget(budget: Budget) -> None:
    """Raise RecipeError where nothing keeps the search from its largest network."""
    if budget.max_tflite_bytes is None and budget.max_p50_ms is None:
        raise RecipeError(
            "edgekd nas looks for the most accurate network within a cost; set budget.max_tflite_bytes, "
            "budget.max_p50_ms, or both"
        )
