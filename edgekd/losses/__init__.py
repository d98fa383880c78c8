"""What a student learns from: the labels, the teacher's logits, and what is inside the teacher.

``LOSSES`` holds a builder by name. A recipe names one (``distill.loss = "kd"``) or several with their weights
(``distill.loss = {kd = 1.0, attention = 50.0}``); :func:`objective` puts them together. Other packages add theirs by
the entry point ``edgekd.losses``.
"""

from edgekd.losses.logits import binary_cross_entropy, binary_kd, cross_entropy, dist, dkd, kd, kd_standardized
from edgekd.losses.terms import (
    LOSSES,
    Pair,
    Setting,
    Signals,
    Term,
    check,
    check_task,
    feature_losses,
    objective,
    on_labels,
    on_logits,
    on_soft_targets,
    scheduled,
)

__all__ = [
    "LOSSES",
    "Pair",
    "Setting",
    "Signals",
    "Term",
    "binary_cross_entropy",
    "binary_kd",
    "check",
    "check_task",
    "cross_entropy",
    "dist",
    "dkd",
    "feature_losses",
    "kd",
    "kd_standardized",
    "objective",
    "on_labels",
    "on_logits",
    "on_soft_targets",
    "scheduled",
]
