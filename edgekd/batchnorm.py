"""Statistics of batch normalization, taken anew from images as they are (Wu and Johnson 2021, "precise BN")."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import tf_keras
from edgekd.data import Dataset
from edgekd.errors import ModelError
from edgekd.training import evaluate, make_predict, rank

BATCH_SIZE = 256
NUM_IMAGES = 2048


def reestimate_unless_worse(model: Any, dataset: Dataset) -> dict[str, Any]:
    """Take the statistics anew from training images, and take that back where val gets worse.

    Worse is a lower AUC; between equals, a higher cross-entropy. Of many training images, 2,048 evenly spaced ones.

    Args:
        model: changed in place, or as it was.
        dataset: train gives the images, val decides.

    Returns:
        ``{"layers", "num_images", "kept", "val_before", "val_after", "text"}``.
    """
    before, weights = evaluate(make_predict(model), dataset.val), model.get_weights()
    count = len(dataset.train.labels)
    indices = np.unique(np.linspace(0, count - 1, min(count, NUM_IMAGES)).round().astype(np.int64))
    layers = reestimate(model, dataset.train.images[indices])
    after = evaluate(make_predict(model), dataset.val)
    kept = rank(after) >= rank(before)
    if not kept:
        model.set_weights(weights)
    text = (
        f"Batch normalization re-estimated in {layers} layers: AUC on val {before['auc']:.4f} before, "
        f"{after['auc']:.4f} after; " + ("kept" if kept else "val got worse, so the statistics of training stay")
    )
    return {
        **{"layers": layers, "num_images": len(indices), "kept": kept},
        **{"val_before": before, "val_after": after, "text": text},
    }


def reestimate(model: Any, images: NDArray[np.uint8]) -> int:
    """Set mean and variance of every batch normalization to those of its inputs over all images; return how many.

    Training leaves moving averages over batches of augmented views, of weights that went on changing. Here the layers
    are gone through in their order, each on what the layers before it give with their new statistics, so that each has
    exactly the mean and the (biased) variance ``E[x**2] - E[x]**2`` of what it will see, per channel.

    Args:
        model: a flat functional model of pixels ``(n, h, w, c)``; changed in place.
        images: uint8 ``(n, h, w, c)``.

    Raises:
        ModelError: a batch normalization that is used twice: it sees two distributions.
    """
    layers = [layer for layer in model.layers if isinstance(layer, tf_keras.layers.BatchNormalization)]
    for layer in layers:
        if len(layer.inbound_nodes) != 1:
            raise ModelError(f'layer "{layer.name}" is used twice; quantize.reestimate_batchnorm cannot follow it')
        mean, variance = _moments(tf_keras.Model(model.input, layer.input), images, layer.axis)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
    return len(layers)


def _moments(probe: Any, images: NDArray[np.uint8], axis: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance per channel over all images and positions, accumulated in float64."""
    count, total, squares = 0, 0.0, 0.0
    for start in range(0, len(images), BATCH_SIZE):
        values = probe(np.float32(images[start : start + BATCH_SIZE]), training=False).numpy().astype(np.float64)
        channel = (axis[0] if isinstance(axis, (list, tuple)) else axis) % values.ndim
        rows = np.moveaxis(values, channel, -1).reshape(-1, values.shape[channel])
        count += len(rows)
        total = total + rows.sum(axis=0)
        squares = squares + (rows**2).sum(axis=0)
    mean = np.asarray(total / count)
    return mean, np.maximum(np.asarray(squares / count) - mean**2, 0.0)
