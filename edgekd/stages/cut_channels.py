"""Remove channels from a network that cannot go on learning, as its images are not at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, channels, metrics
from edgekd.artifact import Artifact
from edgekd.config.prune import Prune
from edgekd.data import Dataset
from edgekd.errors import ModelError, RecipeError
from edgekd.tasks import probabilities
from edgekd.training import make_predict

CRITERIA = {"l1": channels.l1, "bn_scale": channels.bn_scale}
TOLERANCE = 1e-4


def cut_channels(images: Artifact, network: Artifact, config: Prune, out_dir: Path) -> Artifact:
    """Remove the channels with the least weights until ``keep_macs`` of the multiply-accumulates remain.

    What remains is held against the original with those channels at zero, on the test images: logits may differ by 1e-4
    of the largest. That shows that the surgery is right, and nothing of what the channels were worth.

    Args:
        images: a data set.
        network: with ``model/``.
        config: how far, and by which of ``CRITERIA``.
        out_dir: where ``model/`` goes: a smaller dense model.

    Returns:
        Facts: ``criterion``; ``macs`` and ``num_params``, each before and after; ``channels``, the same by group;
        ``against_zeroed`` (``max_logit_difference``, ``max_prob_difference``, ``agreement``, ``n``).

    Raises:
        ModelError: a layer that cannot be followed, or a result that differs.
        RecipeError: a protected layer that does not exist, a budget that cannot be reached.
    """
    dataset = Dataset.open(images)
    _keras.reset(0)
    model = _keras.load_model(network.path / "model")
    try:
        structure = channels.follow(model, config.protected_layers)
        scores = CRITERIA[config.criterion](structure)
        multiple = config.channel_multiple
        plan = channels.by_scores(structure, scores, config.keep_macs, multiple=multiple, minimum=multiple)
    except RecipeError as error:
        raise RecipeError(f"prune: {error}") from None
    smaller = channels.remove(structure, plan)
    logits, expected = (make_predict(one)(dataset.test.images) for one in (smaller, channels.zeroed(structure, plan)))
    difference = float(np.abs(logits - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ModelError(f"without its channels the network differs from the one with them at zero, by {difference:g}")
    probs, expected_probs = (probabilities(values, dataset.task.head) for values in (logits, expected))
    _keras.save_model(smaller, out_dir / "model")
    facts: dict[str, Any] = {
        "criterion": config.criterion,
        "keep_macs": config.keep_macs,
        "macs": {"before": channels.macs(model), "after": channels.macs(smaller)},
        "num_params": {"before": int(model.count_params()), "after": int(smaller.count_params())},
        "channels": {
            group.name: {"before": len(group), "after": len(group) - len(plan.removed.get(group.name, ()))}
            for group in structure.prunable
        },
        "against_zeroed": {
            "max_logit_difference": difference,
            "max_prob_difference": float(np.abs(probs - expected_probs).max()),
            "agreement": metrics.agreement(probs, expected_probs, dataset.task),
            "n": len(logits),
        },
    }
    return Artifact.seal(out_dir, {**facts, "summary": _summary(facts)})


def _summary(facts: dict[str, Any]) -> str:
    macs, params = (facts[name]["after"] / facts[name]["before"] for name in ("macs", "num_params"))
    return (
        f"channels removed by {facts['criterion']}: {macs:.1%} of the multiply-accumulates and {params:.1%} of the "
        f"parameters stay; logits differ by {facts['against_zeroed']['max_logit_difference']:.1g} at most from those "
        "of the original with these channels at zero"
    )
