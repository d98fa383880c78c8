"""Prove what the shipped bytes can do: the files themselves, through LiteRT, on val and test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import attribution, limits, metrics, statistics
from edgekd._litert import KERNELS, predict_probs
from edgekd.artifact import Artifact
from edgekd.claims import FLOAT, claims, shipped_of, teacher_of
from edgekd.config.verify import Gates, Verify
from edgekd.data import Dataset
from edgekd.errors import RecipeError, did_you_mean
from edgekd.tasks import MULTI_CLASS, ORDINAL, THRESHOLD, Task

SPLITS = ("val", "test")

Probs = NDArray[np.float32]
Scores = dict[str, dict[str, Probs]]


def verify(data: Artifact, models: Sequence[Artifact], config: Verify, out_dir: Path, *, gates: Gates) -> Artifact:
    """Run every model over val and test, and the shipped one with all three kernels.

    Writes ``scores.npz``: probabilities ``<id>__<split>`` and ``labels__<split>``, so that anyone can compute the
    figures again. Facts: ``models``, ``agreement``, ``kernels``, ``claims``, ``accuracy_changes`` (from one step of the
    chain to the next), ``gates``, ``warnings``. Gates are decided on val; claims and changes are about test.

    Raises:
        RecipeError: a gate on a class that does not exist, or on a figure that the task does not have.
    """
    dataset = Dataset.open(data)
    task = dataset.task
    check_classes("gates", gates.min_recall, dataset.class_names)
    check_task(gates, task)
    entries = {entry["id"]: (model.path / entry["file"], entry) for model in models for entry in model.facts["models"]}
    shipped = shipped_of(models)["id"]
    splits = {"val": dataset.val, "test": dataset.test}
    scores = _given_answers(models)
    scores |= {
        name: {split: predict_probs(path, splits[split].images, head=task.head) for split in SPLITS}
        for name, (path, _) in entries.items()
        if name not in scores
    }
    labels = {split: splits[split].labels for split in SPLITS}
    figures = {
        name: {split: metrics.evaluate(probs[split], labels[split], dataset.class_names, task) for split in SPLITS}
        for name, probs in scores.items()
    }
    sizes = {name: entry["tflite_bytes"] for name, (_, entry) in entries.items()}
    arrays: dict[str, NDArray[Any]] = {
        f"{name}__{split}": probs for name, rows in scores.items() for split, probs in rows.items()
    }
    arrays |= {f"labels__{split}": values for split, values in labels.items()}
    np.savez(out_dir / "scores.npz", allow_pickle=False, **arrays)
    on_test = {name: rows["test"] for name, rows in scores.items()}
    facts = {
        "models": figures,
        "agreement": {
            name: metrics.agreement(scores[shipped]["test"], scores[name]["test"], task)
            for name in (FLOAT, teacher_of(scores))
            if name in scores
        },
        "kernels": _kernels(entries[shipped][0], dataset.test.images, task),
        "claims": claims(shipped, on_test, labels["test"], sizes, config, task),
        "accuracy_changes": attribution.accuracy_changes(
            {name: on_test[name] for name in entries}, labels["test"], task
        ),
        "gates": _gates(shipped, figures, sizes, gates, task),
        "warnings": _warnings(shipped, figures, scores, task),
    }
    return Artifact.seal(out_dir, facts)


def _given_answers(models: Sequence[Artifact]) -> Scores:
    """Probabilities of a teacher that came as a file: it ran in a process of its own, as it takes its input."""
    found = {}
    for model in models:
        if answers := model.facts.get("answers"):
            with np.load(model.path / answers["file"], allow_pickle=False) as archive:
                found[answers["id"]] = {split: archive[split] for split in SPLITS}
    return found


def check_classes(table: str, min_recall: Iterable[str], class_names: Sequence[str]) -> None:
    """Raise where ``min_recall`` of a table of the recipe names a class that the data does not have."""
    for name in min_recall:
        if name not in class_names:
            raise RecipeError(f'{table}.min_recall."{name}": no such class{did_you_mean(name, class_names)}')


def check_task(gates: Gates, task: Task) -> None:
    """Raise where a gate limits a figure that models of this task do not have."""
    others = {"top1", "label_accuracy", "quadratic_kappa"} - {task.accuracy}
    for name in sorted(others - ({"quadratic_kappa"} if task is ORDINAL else set())):
        if getattr(gates, f"min_{name}") is not None:
            raise RecipeError(
                f"gates.min_{name}: models of the task {task.name} have no such figure; the gate on their accuracy is "
                f"gates.min_{task.accuracy}"
            )


def _kernels(path: Path, images: NDArray[np.uint8], task: Task = MULTI_CLASS) -> dict[str, Any]:
    return kernel_envelope({kernel: predict_probs(path, images, kernel=kernel) for kernel in KERNELS}, task)


def kernel_envelope(probs: Mapping[str, Probs], task: Task = MULTI_CLASS) -> dict[str, Any]:
    """How far the three kernel paths of LiteRT differ on the same images; XNNPACK is what is shipped.

    A tie is an image whose first two classes are equal, or one with a label at the threshold; a flip is an image of
    which another kernel decides otherwise.

    Args:
        probs: by kernel, shape ``(n, K)`` each.
        task: what the labels mean.
    """
    num_images = len(probs["xnnpack"])
    ordered = np.sort(probs["xnnpack"], axis=1)
    ties = np.any(ordered == THRESHOLD, axis=1) if task.several else ordered[:, -1] == ordered[:, -2]
    decided = {kernel: task.decisions(probs[kernel]).reshape(num_images, -1) for kernel in KERNELS}
    return {
        "num_images": num_images,
        "num_ties": int(np.sum(ties)),
        "against_xnnpack": {
            kernel: {
                "max_prob_difference": float(np.max(np.abs(probs[kernel] - probs["xnnpack"]))),
                "num_top1_flips": int(np.sum(np.any(decided[kernel] != decided["xnnpack"], axis=1))),
            }
            for kernel in KERNELS
            if kernel != "xnnpack"
        },
    }


def _gates(
    shipped: str, figures: Mapping[str, Any], sizes: Mapping[str, int], gates: Gates, task: Task
) -> list[dict[str, Any]]:
    """The limits that the recipe sets, held against val."""
    val = figures[shipped]["val"]
    rows = []
    if gates.max_tflite_bytes is not None:
        rows.append(limits.limit("max_tflite_bytes", gates.max_tflite_bytes, sizes[shipped], at_most=True))
    if gates.max_accuracy_drop_pp is not None and "student_fp32" in figures:
        drop = limits.accuracy_drop_pp(figures["student_fp32"]["val"], val, task)
        rows.append(limits.limit("max_accuracy_drop_pp", gates.max_accuracy_drop_pp, drop, at_most=True))
    for name in ("top1", "label_accuracy", "quadratic_kappa", "auc"):
        least = getattr(gates, f"min_{name}")
        if least is not None:
            rows.append(limits.limit(f"min_{name}", least, val[name], at_most=False))
    return rows + limits.recalls(gates.min_recall, val)


def _warnings(shipped: str, figures: Mapping[str, Any], scores: Scores, task: Task) -> list[str]:
    warnings = []
    val, test = figures[shipped]["val"], figures[shipped]["test"]
    # An image whose labels are right in part counts in part: that varies less than an image that is right or wrong.
    right = [round(split[task.accuracy] * split["n"]) for split in (val, test)]
    if statistics.two_proportions_differ(right[0], val["n"], right[1], test["n"]):
        warnings.append(
            f"val and test disagree: {task.accuracy_title} {val[task.accuracy]:.3f} against {test[task.accuracy]:.3f}, "
            "more than chance explains; the two splits are not alike, and choices made on val may not carry over"
        )
    for name, rows in scores.items():
        if np.all(rows["test"] == rows["test"][0]):
            warnings.append(f"{name} gives the same output for every test image")
    return warnings
