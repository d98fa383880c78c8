"""Which layers of a student get zeros, and how many each, as a recipe says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgekd.allocation import allocate
from edgekd.config.prune import Prune
from edgekd.curves import Curve
from edgekd.errors import RecipeError, did_you_mean
from edgekd.kernels import is_prunable
from edgekd.zeros import GROUP


def prunable(model: Any, protected_layers: Iterable[str] = ()) -> list[str]:
    """Names of the layers that get zeros, in the model's order.

    Args:
        model: the student.
        protected_layers: stay dense; one that has no kernel stays so anyway.

    Raises:
        RecipeError: a protected layer that does not exist, or nothing that is left to prune.
    """
    names = {layer.name for layer in model.layers}
    for name in protected_layers:
        if name not in names:
            raise RecipeError(
                f'prune.protected_layers: protected layer "{name}" is not in the model{did_you_mean(name, names)}'
            )
    found = [layer.name for layer in model.layers if is_prunable(layer) and layer.name not in set(protected_layers)]
    if not found:
        raise RecipeError(
            "prune.protected_layers: no convolution or dense layer is left to prune; protect fewer layers"
        )
    return found


def layer_sparsities(model: Any, config: Prune, curves: Sequence[Curve] | None = None) -> dict[str, float]:
    """The fraction of zeros of each layer that may be pruned; 0 where it stays dense.

    What ``layer_sparsities`` of the recipe says goes first; the others have ``final_sparsity``. The pattern 2:4 wants a
    multiple of four input channels, so that a layer of three (a stem that looks at RGB) stays dense.

    Args:
        model: the student.
        config: ``final_sparsity`` for all, or shared out.
        curves: of the analysis, for ``allocation = "sensitivity"``.

    Raises:
        RecipeError: as :func:`prunable`; a layer with a sparsity of its own that does not exist or cannot have it.
    """
    names = prunable(model, config.protected_layers)
    for name, sparsity in config.layer_sparsities.items():
        _check_named(model, config, names, name, sparsity)
    own = dict(config.layer_sparsities)
    others = [name for name in names if name not in own and _fits(model, name, config.pattern)]
    if curves is None:
        given = dict.fromkeys(others, config.final_sparsity)
    else:
        given = shared_out([curve for curve in curves if curve.layer in others], config.final_sparsity)
    return {name: own.get(name, given.get(name, 0.0)) for name in names}


def _check_named(model: Any, config: Prune, names: Sequence[str], name: str, sparsity: float) -> None:
    key = f'prune.layer_sparsities."{name}"'
    if name in config.protected_layers:
        raise RecipeError(f"{key}: stands in prune.protected_layers too; leave it out of one of them")
    if name not in names:
        layer = next((layer for layer in model.layers if layer.name == name), None)
        if layer is None:
            raise RecipeError(f"{key}: no such layer{did_you_mean(name, names)}")
        kind = type(layer).__name__
        raise RecipeError(f"{key}: a {kind} is not pruned; convolutions and dense layers are; leave it out")
    if sparsity and not _fits(model, name, config.pattern):
        raise RecipeError(
            f'{key}: prune.pattern = "2:4" wants a multiple of {GROUP} input channels, and the layer has '
            f"{model.get_layer(name).kernel.shape[-2]}; leave it out or set it to 0"
        )


def _fits(model: Any, name: str, pattern: str) -> bool:
    # Kernels are (h, w, in, out) and (in, out).
    return bool(pattern != "2:4" or model.get_layer(name).kernel.shape[-2] % GROUP == 0)


def shared_out(curves: Sequence[Curve], sparsity: float) -> dict[str, float]:
    """Share out zeros so that the layers have ``sparsity`` together and the loss predicted is least.

    Predicted is the sum over the layers of what the loss rises by with that layer alone pruned, along the lower hull of
    its curve (:func:`edgekd.allocation.allocate`). Zeros are whole: their number is the nearest to ``sparsity`` times
    all weights, or a weight a layer less where ``sparsity`` is the end of the curves.

    Args:
        curves: one of each layer; none is pruned further than its last point.
        sparsity: at most the last sparsity that was tried.
    """
    zeros = {curve.layer: [(int(point["removed"]), point["loss"]) for point in curve.points] for curve in curves}
    reach = sum(points[-1][0] for points in zeros.values())
    wanted = round(sparsity * sum(curve.size for curve in curves))
    shares = allocate(zeros, min(wanted, reach))
    return {curve.layer: shares[curve.layer] / curve.size for curve in curves}
