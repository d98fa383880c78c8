"""Channel pruning: channels that really go, and a smaller dense model that remains.

::

    structure = follow(model, protected=["stem"])   # which channels go together
    scores = l1(structure)                          # or bn_scale, or taylor on batches
    plan = by_scores(structure, scores, keep_macs=0.5)
    smaller = remove(structure, plan)               # equals zeroed(structure, plan) before fine-tuning
"""

from edgekd.channels.choose import by_curves, by_ratios, by_scores, count_at, counts, lowest
from edgekd.channels.criteria import Scores, bn_scale, l1, taylor
from edgekd.channels.groups import Group, Structure, follow
from edgekd.channels.macs import macs
from edgekd.channels.plan import Plan
from edgekd.channels.surgery import remove, zeroed, zeroed_weights

__all__ = [
    "Group",
    "Plan",
    "Scores",
    "Structure",
    "bn_scale",
    "by_curves",
    "by_ratios",
    "by_scores",
    "count_at",
    "counts",
    "follow",
    "l1",
    "lowest",
    "macs",
    "remove",
    "taylor",
    "zeroed",
    "zeroed_weights",
]
