"""What worse pictures do to the shipped model, and whether it bears them worse than the model it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import metrics, statistics
from edgekd.statistics import Interval
from edgekd.tasks import Floats, Labels, Task
from edgekd.verification.classes import SIGNIFICANT
from edgekd.verification.corruptions import CORRUPTIONS, Corruption, Images

Predict = Callable[[Images], Floats]
_SEED = 0


def spread_sample(labels: Labels, count: int) -> NDArray[np.int64]:
    """Places of ``count`` images, evenly over the split and over its classes; sorted."""
    order = np.arange(len(labels)) if labels.ndim == 2 else np.argsort(labels, kind="stable")
    places = np.linspace(0, len(labels) - 1, min(count, len(labels))).round().astype(int)
    chosen: NDArray[np.int64] = np.sort(order[places])
    return chosen


def robustness(
    images: Images,
    labels: Labels,
    predict: Mapping[str, Predict],
    task: Task,
    *,
    before: str,
    after: str,
    corruptions: Mapping[str, Corruption] = CORRUPTIONS,
) -> dict[str, Any]:
    """Accuracy and AUC of two models at each severity of each corruption, on the same corrupted images.

    An image's loss is what was right of it (0 or 1, or the share of its labels) less what is right of it corrupted. A
    sign test says whether ``after`` loses more of the images than ``before`` does, adjusted over all steps by Holm.

    Args:
        images: uint8, shape ``(n, s, s, 3)``.
        labels: shape ``(n,)``, or ``(n, K)`` where an image may have several.
        predict: by model, from images to probabilities ``(n, K)``.
        task: what the labels mean.
        before, after: names of the two models.
        corruptions: by name.

    Returns:
        ``before``, ``model``, ``num_images``, ``clean``, ``steps`` and ``text``. A step is
        ``{"kind", "title", "severity", "unit", "before", "model", "extra_loss", "ci95", "p", "p_holm", "loses_more"}``
        with ``accuracy`` and ``auc`` of both models.
    """
    names = {"before": before, "model": after}
    clean = {role: predict[name](images) for role, name in names.items()}
    right = {role: _right(probs, labels, task) for role, probs in clean.items()}
    steps: list[dict[str, Any]] = []
    for kind, corruption in corruptions.items():
        for severity in corruption.severities:
            changed = corruption.apply(images, severity, _SEED)
            found = {role: predict[name](changed) for role, name in names.items()}
            losses = {role: right[role] - _right(probs, labels, task) for role, probs in found.items()}
            extra = _extra(losses["model"], losses["before"])
            steps.append(
                {
                    **{"kind": kind, "title": corruption.title, "severity": severity, "unit": corruption.unit},
                    **{role: _figures(probs, labels) for role, probs in found.items()},
                    **{"extra_loss": extra.estimate, "ci95": [extra.low, extra.high]},
                    "p": statistics.sign_test_p(losses["model"] - losses["before"]),
                }
            )
    for step, adjusted in zip(steps, statistics.holm([step["p"] for step in steps]), strict=True):
        step["p_holm"] = adjusted
        step["loses_more"] = bool(adjusted < SIGNIFICANT and step["extra_loss"] > 0)
    return {
        **names,
        "num_images": len(images),
        "clean": {role: _figures(probs, labels) for role, probs in clean.items()},
        "steps": steps,
        "text": _sentence(steps, before, after, len(images)),
    }


def _right(probs: Floats, labels: Labels, task: Task) -> NDArray[np.float64]:
    """What is right of each image, shape ``(n,)``."""
    right: NDArray[np.float64] = (task.decisions(probs) == labels).reshape(len(labels), -1).mean(axis=1)
    return right


def _extra(after: NDArray[np.float64], before: NDArray[np.float64]) -> Interval:
    """Differences of losses lie in [-2, 2]; the interval is made for [-1, 1]."""
    half = statistics.paired_mean_difference(after / 2, before / 2)
    return Interval(2 * half.estimate, 2 * half.low, 2 * half.high)


def _figures(probs: Floats, labels: Labels) -> dict[str, float | None]:
    try:
        area = metrics.auc(probs, labels)
    except ValueError:  # so few images that a class has none
        area = None
    return {"accuracy": metrics.accuracy(probs, labels), "auc": area}


def _sentence(steps: Sequence[Mapping[str, Any]], before: str, after: str, count: int) -> str:
    first: dict[str, Mapping[str, Any]] = {}
    for step in steps:
        if step["loses_more"]:
            first.setdefault(step["kind"], step)
    basis = f"n = {count} test images, sign test with Holm's adjustment over {len(steps)} steps"
    if not first:
        return f"At no step does {after} lose significantly more than {before} ({basis})"
    named = ", ".join(
        f"{step['title']} {step['severity']:g} {step['unit']} ({100 * step['extra_loss']:+.1f} points, "
        f"p = {step['p_holm']:.2g})"
        for step in first.values()
    )
    return f"{after} loses significantly more than {before} from these steps on: {named}; {basis}"
