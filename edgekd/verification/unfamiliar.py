"""Whether the shipped model is less sure of pictures that are none of its business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import statistics
from edgekd.data.made_up import made_up_images
from edgekd.data.synthetic_cells import CLASS_NAMES, draw_cell
from edgekd.preprocessing import preprocess
from edgekd.tasks import Floats, Task
from edgekd.verification.corruptions import Images, is_grey

NOISE, CELLS = "made-up noise", "drawn blood cells"
_SEED = 0


def unfamiliar_pictures(like: Images, count: int, *, cells: bool = True) -> dict[str, Images]:
    """Pictures of something else, uint8 ``(count, s, s, 3)`` each: noise with the spectrum of photographs, blood cells.

    Args:
        like: test images; where all of these are grey, so are the others, lest the colours give them away.
        count: of each kind.
        cells: whether cells are something else.
    """
    side = like.shape[1]
    found = {NOISE: made_up_images(count, side, _SEED)}
    if cells:
        kinds = [CLASS_NAMES[index % len(CLASS_NAMES)] for index in range(count)]
        drawn = [preprocess(draw_cell(kind, (_SEED, index)), side) for index, kind in enumerate(kinds)]
        found[CELLS] = np.stack(drawn)
    if is_grey(like).all():
        return {name: _grey(pictures) for name, pictures in found.items()}
    return found


def confidence(probs: Floats, task: Task) -> NDArray[np.float64]:
    """The highest probability of each image; of labels, the mean over them of the probability of the answer."""
    found = np.maximum(probs, 1 - probs).mean(axis=1) if task.several else probs.max(axis=1)
    return np.asarray(found, np.float64)


def out_of_distribution(
    own: NDArray[np.float64], others: Mapping[str, NDArray[np.float64]], level: float | None
) -> list[dict[str, Any]]:
    """How well confidence tells test images from other pictures.

    Args:
        own: confidence in each test image, shape ``(n,)``.
        others: the same of each kind of other pictures.
        level: of abstention, chosen on val; None: there is none.

    Returns:
        For each kind ``{"pictures", "n", "auroc", "ci95", "verdict", "mean_confidence", "own_mean_confidence",
        "withheld", "text"}``. ``auroc`` is the chance that a test image has more confidence than another picture, with
        DeLong's interval; shown: above 1/2; refuted: below.
    """
    rows = []
    for name, values in others.items():
        labels = np.repeat([1, 0], [len(own), len(values)])
        scores = np.concatenate([own, values])
        # A constant has an AUC of 1/2 without variance: the interval is that of the AUC of the confidences.
        above_half = statistics.delong_difference(scores, np.zeros(len(scores)), labels)
        verdict = statistics.gain_verdict(above_half)
        row = {
            **{"pictures": name, "n": len(values), "auroc": 0.5 + above_half.estimate},
            "ci95": [max(0.0, 0.5 + above_half.low), min(1.0, 0.5 + above_half.high)],
            "verdict": verdict,
            **{"mean_confidence": float(values.mean()), "own_mean_confidence": float(own.mean())},
            "withheld": None if level is None else float(np.mean(values < level)),
        }
        rows.append({**row, "text": _sentence(row, level)})
    return rows


def _sentence(row: Mapping[str, Any], level: float | None) -> str:
    what = {
        "shown": "the model is less sure of them than of its own images",
        "not shown": "it is not shown that the model is less sure of them than of its own images",
        "refuted": "the model is SURER of them than of its own images",
    }[row["verdict"]]
    sure = f"{row['mean_confidence']:.2f} against {row['own_mean_confidence']:.2f} on test"
    kept = ""
    if level is not None:
        share = f"{100 * row['withheld']:.0f} %"
        kept = f"; below its level of abstention, {level:.3f}, lie {share} of them, and the rest it answers"
    low, high = row["ci95"]
    area = f"AUROC {row['auroc']:.2f} (95 % interval {low:.2f} to {high:.2f})"
    return f"{row['pictures'].capitalize()}: {what}, {sure} in the mean, {area}, n = {row['n']}{kept}"


def _grey(pictures: Images) -> Images:
    mean = np.rint(pictures.mean(axis=3, keepdims=True)).astype(np.uint8)
    return np.repeat(mean, 3, axis=3)
