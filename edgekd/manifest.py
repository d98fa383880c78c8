"""What the stage that writes a bundle and the runtime that reads it agree on. Needs numpy alone.

::

    model.tflite  labels.txt  edgekd_manifest.json
    golden/golden.json            what each input must give
    golden/input_NN.bin           raw uint8 RGB, height x width x 3, rows from the top
    golden/image_N.png .bin       a picture, and the tensor that preprocessing must make of it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1
MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
MANIFEST_FILE = "edgekd_manifest.json"
GOLDEN_FILE = "golden/golden.json"
TOLERANCE = 2 / 256


def golden_holds(probs: NDArray[np.floating], vector: Mapping[str, Any]) -> bool:
    """Whether a device's answer to a golden input passes.

    Every probability lies within the envelope of the three kernels plus 2/256, and the class is the same where the
    margin between the first two exceeds what the envelope and the tolerance allow.

    Args:
        probs: the device's, shape ``(K,)``.
        vector: entry of ``golden.json``, with ``low``, ``high``, ``top1`` and ``decisive``.
    """
    low, high = np.array(vector["low"]), np.array(vector["high"])
    inside = np.all((probs >= low - TOLERANCE) & (probs <= high + TOLERANCE))
    return bool(inside and (not vector["decisive"] or int(np.argmax(probs)) == vector["top1"]))
