"""How far the forms of a network agree: the files themselves, through LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import metrics
from edgekd._litert import predict_probs
from edgekd.artifact import Artifact
from edgekd.claims import accuracy_difference
from edgekd.data import Dataset

FLOAT = "fp32"
MOST_ALIKE = 0.9


def compare(
    images: Artifact, converted: Sequence[Artifact], config: Sequence[str], out_dir: Path, *, has_labels: bool
) -> Artifact:
    """Run every file over the test images and compare them in pairs.

    Each form is held against the float one of the same network, and each network against the first, form by form.

    Args:
        images: the test split is looked at.
        converted: of the quantize stage, one for each network; each has an fp32 file.
        config: names of the networks, in the same order. A file's id is ``<network>_<variant>``.
        out_dir: of the artifact.
        has_labels: whether the labels are true ones, so that accuracy can be measured.

    Returns:
        Facts: ``pairs`` (``model``, ``against``, ``agreement``, ``max_prob_difference``, ``mean_prob_difference``,
        ``n``), ``models`` (figures on test by id, or empty), ``differences`` (of accuracy to the first network's float
        form, with the 95 % interval), ``warnings``.
    """
    dataset = Dataset.open(images)
    task, labels = dataset.task, dataset.test.labels
    probs = {
        id: predict_probs(artifact.path / entry["file"], dataset.test.images, head=task.head)
        for name, artifact in zip(config, converted, strict=True)
        for id, entry in ids(name, artifact).items()
    }
    first = f"{config[0]}_{FLOAT}"
    pairs = []
    for id in probs:
        name, _, variant = id.partition("_")
        if variant != FLOAT:
            pairs.append((id, f"{name}_{FLOAT}"))
        if name != config[0]:
            pairs.append((id, f"{config[0]}_{variant}"))
    figures, differences = {}, []
    if has_labels:
        figures = {id: metrics.evaluate(rows, labels, dataset.class_names, task) for id, rows in probs.items()}
        right = {id: task.decisions(rows) == labels for id, rows in probs.items()}
        for id in list(probs)[1:]:
            found = accuracy_difference(right[id], right[first])
            row = {"model": id, "against": first, "estimate": found.estimate, "ci95": [found.low, found.high]}
            differences.append(row)
    facts = {
        "pairs": [{"model": id, "against": other, **_pair(probs[id], probs[other], task)} for id, other in pairs],
        "models": figures,
        "differences": differences,
        "warnings": [
            f"{id} gives the same answer to all {len(rows)} images: nothing can be said of it; is the range of its "
            "input right?"
            for id, rows in probs.items()
            if np.ptp(rows, axis=0).max() < 1e-6
        ]
        + [
            f"{id} answers {share:.0%} of the {len(rows)} images alike: that its forms agree says little"
            for id, rows in probs.items()
            if id.endswith(f"_{FLOAT}") and (share := _largest_share(task.decisions(rows))) >= MOST_ALIKE
        ],
    }
    return Artifact.seal(out_dir, facts)


def ids(name: str, artifact: Artifact) -> dict[str, dict[str, Any]]:
    """Entries of a network's files by ``<network>_<variant>``."""
    return {f"{name}_{entry['id'].partition('_')[2]}": entry for entry in artifact.facts["models"]}


def _largest_share(decisions: Any) -> float:
    """Share of the images that are decided as most are."""
    return float(np.unique(decisions, axis=0, return_counts=True)[1].max() / len(decisions))


def _pair(probs: Any, others: Any, task: Any) -> dict[str, Any]:
    return {
        "agreement": metrics.agreement(probs, others, task),
        "max_prob_difference": float(np.abs(probs - others).max()),
        "mean_prob_difference": float(np.abs(probs - others).mean()),
        "n": len(probs),
    }
