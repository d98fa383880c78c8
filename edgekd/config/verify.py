"""What is proved about the shipped bytes, and the limits that they must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekd.options import option


@dataclass(frozen=True)
class Verify:
    """What is proved about the shipped bytes."""

    margin_pp: float = option(
        2.0, "largest loss of accuracy that still counts as none, in percentage points", above=0, maximum=100
    )
    at_specificity: float = option(
        0.9,
        "specificity that each class's threshold keeps on val; its sensitivity is then told on test",
        above=0,
        below=1,
    )
    at_coverage: float = option(
        0.9, "share of val that is answered; the level of confidence that gives it is tried on test", above=0, maximum=1
    )
    num_disagreements: int = option(
        20,
        "test images on which teacher and student disagree that the report lists; the run folder has all",
        minimum=0,
        maximum=1000,
    )
    robustness: bool = option(
        True, "try corrupted, wrongly fed and unfamiliar images; a few seconds with a small teacher"
    )
    num_robustness_images: int = option(
        200,
        "test images that are corrupted and fed wrongly, spread evenly over the classes",
        minimum=10,
        maximum=100_000,
    )


@dataclass(frozen=True)
class Gates:
    """Limits, decided on val, that the shipped model must hold; build ends with 1 when one falls short."""

    max_tflite_bytes: int | None = option(None, "largest size of the shipped file, in bytes", minimum=1)
    max_accuracy_drop_pp: float | None = option(
        None,
        "largest fall of accuracy from student_fp32 to the shipped model, in percentage points",
        minimum=0,
        maximum=100,
    )
    min_top1: float | None = option(None, "least top-1 of the shipped model", minimum=0, maximum=1)
    min_label_accuracy: float | None = option(
        None, "multi-label: least share of right yes-or-no answers of the shipped model", minimum=0, maximum=1
    )
    min_quadratic_kappa: float | None = option(
        None, "ordinal: least quadratic-weighted kappa of the shipped model", minimum=-1, maximum=1
    )
    min_auc: float | None = option(None, "least AUC of the shipped model", minimum=0, maximum=1)
    min_recall: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"doc": "least recall of a class, by class name", "minimum": 0, "maximum": 1},
    )
