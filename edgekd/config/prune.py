"""Pruning, of single weights or of whole channels, and clustering of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekd.config.training import Training
from edgekd.errors import RecipeError
from edgekd.options import option


@dataclass(frozen=True)
class Prune:
    """Pruning with the distillation loss kept: of single weights (Zhu and Gupta 2017), or of whole channels.

    Clustering of weights (Han et al. 2016) stands in the same place of the chain.
    """

    method: str = option(
        "none",
        "none; weight: single weights become zero; channel: whole channels go, and a smaller and faster model remains; "
        "cluster: the weights of each layer share few values",
        choices=("none", "weight", "channel", "cluster"),
    )
    initial_sparsity: float = option(0.0, "weight: fraction of zeros at the first pruning step", minimum=0, below=1)
    final_sparsity: float = option(0.5, "weight: fraction of zeros at the end", minimum=0, below=1)
    allocation: str = option(
        "uniform",
        "weight: uniform: every layer has final_sparsity; sensitivity: all layers together have it, each as many zeros "
        "as cost least by an analysis of the student on val (table sensitivity)",
        choices=("uniform", "sensitivity"),
    )
    end_fraction: float = option(
        0.6, "weight: share of the steps after which the final sparsity is reached; the rest heals", above=0, maximum=1
    )
    frequency: int = option(20, "weight: steps between two updates of the masks", minimum=1)
    schedule: str = option(
        "polynomial",
        "weight: polynomial: the sparsity rises from initial_sparsity over end_fraction of the steps (Zhu and Gupta "
        "2017); constant: it is final_sparsity from the first step on, and the masks may change for as long",
        choices=("polynomial", "constant"),
    )
    pattern: str = option(
        "unstructured",
        "weight: unstructured: any weight of a layer; 2:4: two of each four neighbours along the input channels, "
        "chosen at the first step, in layers that have a multiple of four of these; some accelerators run 2:4 faster, "
        "LiteRT on a CPU does not",
        choices=("unstructured", "2:4"),
    )
    layer_sparsities: Mapping[str, float] = field(
        default_factory=dict,
        metadata={
            "doc": "weight: fraction of zeros of a layer, by its name; 0 keeps it dense. The rest has final_sparsity",
            "minimum": 0,
            "below": 1,
        },
    )
    keep_macs: float = option(
        0.5, "channel: fraction of the student's multiply-accumulates that may stay", above=0, maximum=1
    )
    layer_channel_ratios: Mapping[str, float] = field(
        default_factory=dict,
        metadata={
            "doc": "channel: fraction of the channels that go of a layer, by its name, and of those that can only go "
            "with it; or of all that a pattern fits (block_1_*); a name before a pattern, a longer pattern before a "
            "shorter. The others go as far as keep_macs wants; at 1 they stay whole",
            "minimum": 0,
            "below": 1,
        },
    )
    criterion: str = option(
        "taylor",
        "channel: what a channel is worth: l1 (size of its weights), bn_scale (its factor in batch normalization), "
        "taylor (what the distillation loss on training views would change by without it); sensitivity: how many go "
        "of each layer is chosen by what val loses without them (table sensitivity), and which by taylor",
        choices=("l1", "bn_scale", "taylor", "sensitivity"),
    )
    rounds: int = option(
        1,
        "channel: removals, with training after each; 1: all at once. training.epochs are shared out, most of them to "
        "the last round, and the learning rate runs its course in each",
        minimum=1,
        maximum=1000,
    )
    channel_multiple: int = option(
        8, "channel: layers keep all channels or a multiple of this; kernels like 8", minimum=1, maximum=1024
    )
    protected_layers: tuple[str, ...] = option(
        (),
        "names of layers that are left alone: weight: they get no zeros; cluster: their values stay free; channel: "
        "they keep all their channels (and so do layers that are added to them)",
    )
    num_clusters: int = option(
        16, "cluster: values that the weights of a layer may take, at most", minimum=2, maximum=256
    )
    training: Training = field(default_factory=lambda: Training(learning_rate=0.01, warmup_epochs=0.0))

    @property
    def analysis(self) -> str:
        """The kind of sensitivity that it takes: ``weights``, ``channels``, or empty for none."""
        if self.method == "weight" and self.allocation == "sensitivity":
            return "weights"
        return "channels" if self.method == "channel" and self.criterion == "sensitivity" else ""


def check_prune(prune: Prune) -> None:
    """Raise RecipeError where sparsities contradict each other, the schedule or the pattern."""
    if prune.initial_sparsity > prune.final_sparsity:
        raise RecipeError(
            f"prune.initial_sparsity = {prune.initial_sparsity}: at most prune.final_sparsity, {prune.final_sparsity}"
        )
    gradual = prune.schedule == "polynomial" and prune.pattern == "unstructured"
    if prune.initial_sparsity and not gradual:
        key, value = ("schedule", prune.schedule) if prune.schedule != "polynomial" else ("pattern", prune.pattern)
        raise RecipeError(
            f'prune.initial_sparsity = {prune.initial_sparsity}: prune.{key} = "{value}" has its sparsity from the '
            "first step on; leave it at 0"
        )
    if prune.layer_channel_ratios and prune.rounds > 1:
        raise RecipeError(
            f"prune.rounds = {prune.rounds}: prune.layer_channel_ratios say what goes at once; set prune.rounds = 1"
        )
    if prune.pattern == "2:4":
        if prune.allocation == "sensitivity":
            raise RecipeError(
                'prune.allocation = "sensitivity": prune.pattern = "2:4" has half of each layer; set it to uniform'
            )
        _check_half("prune.final_sparsity", prune.final_sparsity, (0.5,))
        for name, fraction in prune.layer_sparsities.items():
            _check_half(f'prune.layer_sparsities."{name}"', fraction, (0.0, 0.5))


def _check_half(key: str, fraction: float, allowed: tuple[float, ...]) -> None:
    if fraction not in allowed:
        raise RecipeError(f'{key} = {fraction}: prune.pattern = "2:4" makes it {" or ".join(map(str, allowed))}')
