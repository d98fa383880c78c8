"""Weights that a network starts from: published ones, or those of a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekd.errors import ModelError

# What a recipe says instead of naming a file.
KEYWORDS = ("none", "imagenet")


def check_weights(weights: str, key: str) -> None:
    """Raise unless ``weights`` is ``"none"``, ``"imagenet"`` or a file.

    Args:
        weights: value of a recipe's key.
        key: that key, for the message (``"distill.weights"``).

    Raises:
        ModelError: no such file.
    """
    if weights not in KEYWORDS and not Path(weights).is_file():
        raise ModelError(f'{key} = "{weights}": no such file; allowed: none, imagenet, or a path')


def load_weights(fill: Callable[[], object], *, key: str, weights: str, remedy: str) -> None:
    """Fill a network by Keras's own loader, which holds a file against it layer by layer and runs no code of the file.

    Args:
        fill: does it.
        key, weights: the recipe's key and value, for the message.
        remedy: what to do where that fails.

    Raises:
        ModelError: a failed download, a file that holds no weights or those of another network.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras announces its downloads on stdout, where results go
            fill()
    except Exception as error:  # downloads and HDF5 files fail in many ways of their own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f'{key} = "{weights}": {remedy} ({reason})') from error


def rescale_input(model: Any, scale: float, offset: float) -> None:
    """Let a network that was trained on ``scale * u + offset`` take ``u``: nothing is added to the graph.

    ``W * (scale u + offset) = (scale W) * u + offset sum(W)``: the factor goes into the kernel of the first
    convolution, and the constant, one number a channel, comes off the moving mean of the batch normalisation after it.
    Equal in the interior; at the border zero padding now stands for ``offset`` where it stood for 0.

    Args:
        model: its first convolution has no bias, and batch normalisation follows it.
        scale, offset: of what the weights were trained on.
    """
    convolution = next(layer for layer in model.layers if getattr(layer, "kernel", None) is not None)
    norm = convolution.outbound_nodes[0].outbound_layer
    kernel = convolution.kernel.numpy()
    norm.moving_mean.assign(norm.moving_mean.numpy() - offset * kernel.sum(axis=(0, 1, 2)))
    convolution.kernel.assign(scale * kernel)
