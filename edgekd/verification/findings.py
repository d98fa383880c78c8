"""Brings the parts together: what follows from the scores alone, and what from running models on other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.claims import FLOAT, teacher_of
from edgekd.config.verify import Verify
from edgekd.tasks import Labels, Task
from edgekd.verification.classes import operating_points, recall_changes
from edgekd.verification.corruptions import Images
from edgekd.verification.disagreements import disagreements
from edgekd.verification.feeding import preprocessing_faults
from edgekd.verification.robustness import Predict, robustness, spread_sample
from edgekd.verification.scores import Probs
from edgekd.verification.subgroups import by_subgroup
from edgekd.verification.unfamiliar import confidence, out_of_distribution, unfamiliar_pictures

ByModel = Mapping[str, Mapping[str, Probs]]


def compared_with(names: Sequence[str]) -> list[str]:
    """What the shipped model is compared with: the teacher and the student in fp32, as far as they are there."""
    return [name for name in (teacher_of(names), FLOAT) if name in names]


def from_scores(
    shipped: str, scores: ByModel, labels: Mapping[str, Labels], class_names: Sequence[str], task: Task, config: Verify
) -> dict[str, Any]:
    """``recall_changes``, ``operating_points`` and ``disagreements``: what follows from the probabilities alone.

    Args:
        shipped: name of the shipped model.
        scores: probabilities ``(n, K)`` by model and split.
        labels: by split.
        class_names: in the order of the outputs.
        task: what the labels mean.
        config: specificity, coverage, and how many disagreements are listed.
    """
    others, on_test = compared_with(list(scores)), labels["test"]
    rows = all_disagreements(shipped, scores, on_test, class_names, task)
    return {
        "recall_changes": [
            {
                **{"before": other, "model": shipped},
                "classes": recall_changes(scores[other]["test"], scores[shipped]["test"], on_test, class_names, task),
            }
            for other in others
        ],
        "operating_points": {
            "specificity": config.at_specificity,
            "coverage": config.at_coverage,
            "models": {
                name: operating_points(
                    (scores[name]["val"], labels["val"]),
                    (scores[name]["test"], labels["test"]),
                    class_names,
                    task,
                    specificity=config.at_specificity,
                    coverage=config.at_coverage,
                )
                for name in (*others, shipped)
            },
        },
        "disagreements": {
            **{"teacher": others[0], "student": shipped, "num_decisions": on_test.size, "num": len(rows)},
            "listed": rows[: config.num_disagreements],
        }
        if others
        else None,
    }


def all_disagreements(
    shipped: str, scores: ByModel, labels: Labels, class_names: Sequence[str], task: Task
) -> list[dict[str, Any]]:
    """Those of the shipped model with the teacher, or with the student in fp32 where there is no teacher, on test."""
    others = compared_with(list(scores))
    if not others:
        return []
    return disagreements(scores[others[0]]["test"], scores[shipped]["test"], labels, class_names, task)


def subgroups(
    shipped: str, scores: ByModel, labels: Labels, columns: Mapping[str, NDArray[np.str_]], task: Task
) -> dict[str, Any] | None:
    """By subgroup, where the data has columns; an image with several labels is right where all of them are."""
    if not columns:
        return None
    others = compared_with(list(scores))
    right = {
        name: np.all((task.decisions(scores[name]["test"]) == labels).reshape(len(labels), -1), axis=1)
        for name in (*others[:1], shipped)
    }
    rows, left_out = by_subgroup(right[others[0]] if others else None, right[shipped], columns)
    return {"before": others[0] if others else None, "model": shipped, "groups": rows, "left_out": left_out}


def from_images(
    images: Images,
    labels: Labels,
    predict: Mapping[str, Predict],
    own: Probs,
    class_names: Sequence[str],
    task: Task,
    *,
    shipped: str,
    level: float | None,
    cells: bool,
    count: int,
) -> dict[str, Any]:
    """``robustness``, ``out_of_distribution`` and ``preprocessing_faults``: what other images do to the models.

    Args:
        images, labels: of test.
        predict: by model, from images to probabilities; of the models that can be run.
        own: the shipped model's probabilities on test.
        class_names: in the order of the outputs.
        task: what the labels mean.
        shipped: name of the shipped model.
        level: of abstention.
        cells: whether blood cells are something else than these images.
        count: how many images.
    """
    chosen = spread_sample(labels, count)
    sample, truth = np.asarray(images[chosen]), labels[chosen]
    others = compared_with(list(predict))
    pictures = unfamiliar_pictures(sample, count, cells=cells)
    unsure = {name: confidence(predict[shipped](drawn), task) for name, drawn in pictures.items()}
    return {
        "robustness": robustness(sample, truth, predict, task, before=others[0], after=shipped) if others else None,
        "out_of_distribution": out_of_distribution(confidence(own, task), unsure, level),
        "preprocessing_faults": preprocessing_faults(sample, truth, predict[shipped], class_names, task),
    }
