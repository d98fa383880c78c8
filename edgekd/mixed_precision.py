"""A shipped file in two number types: which layers stay in float, decided on val, and what that cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import tflite
from edgekd._litert import predict_probs
from edgekd.data import Dataset
from edgekd.units import format_bytes

DEFAULT_MAX_DROP_PP = 0.5
NUM_IMAGES = 64


def mix(
    int8: bytes, fp32: bytes, dataset: Dataset, named: Sequence[str], max_drop_pp: float | None = None
) -> tuple[bytes | None, dict[str, Any]]:
    """Keep named layers in float, or the fewest that bring the fall of accuracy on val under a limit.

    Args:
        int8, fp32: of one frozen model, as converted.
        dataset: val decides; the layers are ranked on calibration images.
        named: layers to keep in float; empty: they are chosen.
        max_drop_pp: percentage points of accuracy that may be lost against fp32; None: 0.5.

    Returns:
        The file, or None where all stays in INT8; and ``{"mode", "layers", "limit_pp", "held", "int8_drop_pp",
        "drop_pp", "extra_bytes", "num_tried", "text"}``.

    Raises:
        RecipeError: a named layer that is not there.
    """
    limit = DEFAULT_MAX_DROP_PP if max_drop_pp is None else max_drop_pp
    task, val = dataset.task, dataset.val

    def right(content: bytes) -> NDArray[np.bool_]:
        return np.asarray(task.decisions(predict_probs(content, val.images, head=task.head)) == val.labels)

    wanted = right(fp32)

    def drop(layers: tuple[str, ...]) -> float:
        found = right(tflite.keep_float(int8, fp32, layers))
        return 100 * (int(wanted.sum()) - int(found.sum())) / wanted.size

    if named:
        lost = drop(tuple(named))
        choice = tflite.Choice(tuple(named), lost <= limit, lost, drop(()), 2)
    else:
        errors = tflite.layer_errors(fp32, int8, dataset.calibration_images[:NUM_IMAGES])
        choice = tflite.choose(tflite.open_view(int8), errors, drop, limit)
    content = tflite.keep_float(int8, fp32, choice.layers) if choice.layers else None
    extra = len(content) - len(int8) if content else 0
    facts = {
        "mode": "named" if named else "auto",
        "layers": list(choice.layers),
        "limit_pp": limit,
        "held": choice.held,
        "int8_drop_pp": choice.int8_drop_pp,
        "drop_pp": choice.drop_pp,
        "extra_bytes": extra,
        "num_tried": choice.tried,
    }
    return content, {**facts, "text": f"Mixed precision: {_text(choice, limit, extra)}"}


def _text(choice: tflite.Choice, limit: float, extra: int) -> str:
    if choice.layers:
        return (
            f"{', '.join(choice.layers)} in float: {0 - choice.drop_pp:+.2f} points of accuracy on val against the "
            f"float student, {0 - choice.int8_drop_pp:+.2f} with INT8 throughout; {format_bytes(extra)} more"
        )
    if choice.held:
        return f"INT8 loses {choice.int8_drop_pp:.2f} points on val and {limit:g} are allowed; all stays in INT8"
    return (
        f"INT8 loses {choice.int8_drop_pp:.2f} points on val, and none of {choice.tried - 1} sets of layers in float "
        f"brings that down to {limit:g}; INT8 is shipped"
    )
