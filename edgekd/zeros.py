"""Zeros in the weights of a Keras model: tfmot's wrappers that bring them about, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgekd import _keras
from edgekd.config.prune import Prune

GROUP = 4
"""Weights of a group of the pattern 2:4, of which two are zero."""


def wrap(model: Any, fractions: Mapping[str, float], config: Prune, end_step: int) -> Any:
    """Put tfmot's wrapper around every layer that is pruned; the others stay as they are, weights and all.

    Args:
        model: to be pruned.
        fractions: of zeros, by layer.
        config: schedule and pattern.
        end_step: the last step at which masks change.
    """
    keras = _keras.tfmot().sparsity.keras
    more = {"sparsity_m_by_n": (2, GROUP)} if config.pattern == "2:4" else {}
    frequency = min(config.frequency, end_step)

    def schedule(fraction: float) -> Any:
        if config.schedule == "constant":
            # Steps count from 1.
            return keras.ConstantSparsity(fraction, begin_step=1, end_step=end_step, frequency=frequency)
        return keras.PolynomialDecay(
            initial_sparsity=min(config.initial_sparsity, fraction),
            final_sparsity=fraction,
            begin_step=0,
            end_step=end_step,
            frequency=frequency,
        )

    def wrapped(layer: Any) -> Any:
        if not fractions.get(layer.name):
            return layer
        return keras.prune_low_magnitude(layer, pruning_schedule=schedule(fractions[layer.name]), **more)

    return _keras.tf_keras.models.clone_model(model, clone_function=wrapped)


def measured(model: Any, layers: Iterable[str]) -> dict[str, float]:
    """Fraction of zeros in the kernel of each of these layers."""
    return {name: float(np.mean(model.get_layer(name).kernel.numpy() == 0)) for name in layers}


def measured_sparsity(model: Any, layers: Iterable[str]) -> float:
    """Fraction of zeros in the kernels of these layers together."""
    kernels = [model.get_layer(name).kernel.numpy() for name in layers]
    return float(sum(np.sum(kernel == 0) for kernel in kernels) / sum(kernel.size for kernel in kernels))
