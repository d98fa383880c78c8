"""How far the kernel paths of LiteRT differ on the same images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.tasks import MULTI_CLASS, THRESHOLD, Task

SHIPPED_KERNEL = "xnnpack"

Probs = NDArray[np.float32]


def kernel_envelope(
    probs: Mapping[str, Probs], task: Task = MULTI_CLASS, integers: Mapping[str, NDArray[np.int8]] | None = None
) -> dict[str, Any]:
    """How far the kernels differ; XNNPACK is what is shipped.

    A tie is an image whose first two classes are equal, or one with a label at the threshold; a flip is an image of
    which another kernel decides otherwise.

    Args:
        probs: by kernel, shape ``(n, K)`` each.
        task: what the labels mean.
        integers: int8 logits of the same network by kernel, ``(n, K)`` each, from its form with integer output.

    Returns:
        ``num_images``, ``num_ties``, and ``against_xnnpack``: for each other kernel the largest difference of a
        probability and of an int8 logit (None without ``integers``), the number of flips and their images.
    """
    ours = probs[SHIPPED_KERNEL]
    ordered = np.sort(ours, axis=1)
    ties = np.any(ordered == THRESHOLD, axis=1) if task.several else ordered[:, -1] == ordered[:, -2]
    decided = {kernel: task.decisions(rows).reshape(len(ours), -1) for kernel, rows in probs.items()}
    against = {}
    for kernel in probs:
        if kernel == SHIPPED_KERNEL:
            continue
        flips = np.flatnonzero(np.any(decided[kernel] != decided[SHIPPED_KERNEL], axis=1))
        against[kernel] = {
            "max_prob_difference": float(np.max(np.abs(probs[kernel] - ours))),
            "max_int8_difference": integers and _largest(integers[kernel], integers[SHIPPED_KERNEL]),
            "num_top1_flips": len(flips),
            "flips": flips.tolist(),
        }
    return {"num_images": len(ours), "num_ties": int(np.sum(ties)), "against_xnnpack": against}


def _largest(first: NDArray[np.int8], second: NDArray[np.int8]) -> int:
    return int(np.max(np.abs(first.astype(int) - second.astype(int))))
