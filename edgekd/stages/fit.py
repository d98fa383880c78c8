"""Hold the form of the student that is meant for the target against the target's profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import micro, target_limits
from edgekd.artifact import Artifact
from edgekd.limits import limit
from edgekd.target import TFLITE_MICRO, Target
from edgekd.tflite.view import open_view


def fit(
    id: str, path: Path, images: NDArray[np.uint8], profile: Target, out_dir: Path, *, p50_ms: float | None = None
) -> Artifact:
    """Hold a model against a profile; where its runtime is TFLite Micro, run images there too.

    Args:
        id: name of the model.
        path: its file.
        images: uint8 ``(n, h, w, 3)`` of its input size.
        profile: the target.
        out_dir: folder of the artifact.
        p50_ms: its median latency, where it was timed.

    Returns:
        Facts of :func:`against`, and its reasons as ``warnings``.

    Raises:
        ModelError: TFLite Micro does not run the model, though it has all of its operators.
    """
    facts = against(id, path, images, profile, p50_ms=p50_ms)
    return Artifact.seal(
        out_dir, {**facts, "warnings": [f"target {profile.name}: {text}" for text in facts["reasons"]]}
    )


def against(
    id: str, path: Path, images: NDArray[np.uint8] | None, profile: Target, *, p50_ms: float | None = None
) -> dict[str, Any]:
    """``{"name", "figures", "model", "limits", "reasons", "forecasts", "micro"}``; without images nothing is run.

    Nor is a model of which the runtime refuses an operator.
    """
    view, ran = open_view(path), None
    if profile.runtime == TFLITE_MICRO and images is not None and not target_limits.refused(profile, view):
        ran = micro.examine(path, images)
    arena = None if ran is None else ran["arena_bytes"]
    found = target_limits.hold(profile, view, path.stat().st_size, arena_bytes=arena, p50_ms=p50_ms)
    rows, reasons = list(found.limits), list(found.reasons)
    if ran is not None:
        rows.append(limit("max_different_answers", 0, ran["num_different"], at_most=True))
        reasons += _different(ran)
    return {
        "name": profile.name,
        "figures": profile.figures,
        "model": id,
        "limits": rows,
        "reasons": reasons,
        "forecasts": list(found.forecasts),
        "micro": ran,
    }


def _different(ran: Mapping[str, Any]) -> list[str]:
    if not ran["num_different"]:
        return []
    return [
        f"TFLite Micro answers otherwise than the reference kernels to {ran['num_different']} of {ran['num_images']} "
        f"images (by up to {ran['largest_difference']:g} units); measure accuracy with its answers before it is used"
    ]
