"""How far kernels differ, on probabilities that stand here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekd.tasks import TASKS
from edgekd.verification.kernels import kernel_envelope


def arrays(rows: dict[str, Any], dtype: Any) -> dict[str, Any]:
    return {kernel: np.array(values, dtype) for kernel, values in rows.items()}


def test_differences_between_kernels_by_hand() -> None:
    probs = {
        "xnnpack": [[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]],
        "builtin": [[0.45, 0.55], [0.5, 0.5], [0.125, 0.875]],
        "reference": [[0.6, 0.4], [0.25, 0.75], [0.6, 0.4]],
    }
    logits = {
        "xnnpack": [[3, -128], [0, 0], [-9, 9]],
        "builtin": [[3, 127], [0, 0], [-9, 9]],  # 255 units: more than int8 itself holds
        "reference": [[3, -126], [0, 1], [-9, 9]],
    }
    assert kernel_envelope(arrays(probs, np.float32), integers=arrays(logits, np.int8)) == {
        "num_images": 3,
        "num_ties": 1,
        "against_xnnpack": {
            "builtin": {
                "max_prob_difference": pytest.approx(0.15),
                "max_int8_difference": 255,
                "num_top1_flips": 1,
                "flips": [0],
            },
            "reference": {
                "max_prob_difference": pytest.approx(0.5),
                "max_int8_difference": 2,
                "num_top1_flips": 2,
                "flips": [1, 2],
            },
        },
    }


def test_ties_and_flips_of_several_labels_by_hand() -> None:
    probs = {
        "xnnpack": [[0.5, 0.9], [0.7, 0.7], [0.1, 0.2]],
        "builtin": [[0.51, 0.9], [0.7, 0.7], [0.1, 0.2]],
        "reference": [[0.5, 0.9], [0.4, 0.4], [0.1, 0.6]],
    }
    found = kernel_envelope(arrays(probs, np.float32), TASKS["multi-label"])
    assert found["num_ties"] == 1
    assert {name: row["flips"] for name, row in found["against_xnnpack"].items()} == {
        "builtin": [0],
        "reference": [1, 2],
    }
    assert {row["max_int8_difference"] for row in found["against_xnnpack"].values()} == {None}
