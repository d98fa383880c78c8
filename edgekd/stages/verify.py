"""Prove what the shipped bytes can do: the files themselves, through LiteRT, on val and test."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import attribution, limits, metrics, statistics
from edgekd._litert import KERNELS, open_interpreter, predict_probs, run
from edgekd.artifact import Artifact, sha256_file
from edgekd.claims import FLOAT, INTEGER, claims, shipped_of, teacher_of
from edgekd.config.verify import Gates, Verify
from edgekd.data import Dataset, Split
from edgekd.errors import RecipeError, did_you_mean
from edgekd.tasks import ORDINAL, Task
from edgekd.verification import DISAGREEMENTS_FILE, SCORES_FILE
from edgekd.verification.disagreements import write_csv
from edgekd.verification.findings import all_disagreements, from_images, from_scores, subgroups
from edgekd.verification.kernels import kernel_envelope
from edgekd.verification.scores import SPLITS, Probs, Scores, write_scores


def verify(data: Artifact, models: Sequence[Artifact], config: Verify, out_dir: Path, *, gates: Gates) -> Artifact:
    """Run every model over val and test, and the shipped one with all three kernels.

    Writes ``scores.npz``: probabilities ``<id>__<split>`` and ``labels__<split>``, so that anyone can compute the
    figures again, and ``disagreements.csv``. Facts: ``models``, ``agreement``, ``kernels``, ``claims``,
    ``accuracy_changes`` (from one step of the chain to the next), ``gates``, ``warnings``, and what
    :mod:`edgekd.verification.findings` finds. Gates and thresholds are decided on val; the rest is about test.

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
    given = _given_answers(models)
    scores = dict(given)
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
    write_scores(out_dir / SCORES_FILE, scores, labels)
    rows = all_disagreements(shipped, scores, labels["test"], dataset.class_names, task)
    write_csv(out_dir / DISAGREEMENTS_FILE, rows)
    on_test = {name: rows["test"] for name, rows in scores.items()}
    facts = {
        "models": figures,
        "agreement": {
            name: metrics.agreement(scores[shipped]["test"], scores[name]["test"], task)
            for name in (FLOAT, teacher_of(scores))
            if name in scores
        },
        "kernels": _kernels(
            entries[shipped][0],
            entries[INTEGER][0] if INTEGER in entries else None,
            dataset.test.images,
            task,
        ),
        "claims": claims(shipped, on_test, labels["test"], sizes, config, task),
        "accuracy_changes": attribution.accuracy_changes(
            {name: on_test[name] for name in entries}, labels["test"], task
        ),
        "gates": _gates(shipped, figures, sizes, gates, task),
        "warnings": [*_warnings(shipped, figures, scores, task), *_of_patients(dataset.test)],
        "scores": {"file": SCORES_FILE, "sha256": sha256_file(out_dir / SCORES_FILE)},
        **from_scores(shipped, scores, labels, dataset.class_names, task, config),
        "subgroups": subgroups(shipped, scores, labels["test"], dataset.test.columns, task),
    }
    if config.robustness:
        runnable = {name: path for name, (path, _) in entries.items() if name not in given}
        facts |= _on_other_images(
            dataset, runnable, shipped, scores[shipped]["test"], facts["operating_points"], config
        )
    return Artifact.seal(out_dir, facts)


def _on_other_images(
    dataset: Dataset, paths: Mapping[str, Path], shipped: str, own: Probs, points: Mapping[str, Any], config: Verify
) -> dict[str, Any]:
    """Corrupted, wrongly fed and unfamiliar images, through the models that can be run."""
    abstention = points["models"][shipped]["abstention"]
    return from_images(
        dataset.test.images,
        dataset.test.labels,
        {name: functools.partial(predict_probs, path, head=dataset.task.head) for name, path in paths.items()},
        own,
        dataset.class_names,
        dataset.task,
        shipped=shipped,
        level=abstention and abstention["level"],
        cells=dataset.facts.get("name") != "synthetic_cells",
        count=config.num_robustness_images,
    )


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


def _kernels(shipped: Path, integer: Path | None, images: NDArray[np.uint8], task: Task) -> dict[str, Any]:
    """The shipped file, and its form with integer output for differences in int8 units, with every kernel."""
    probs = {kernel: predict_probs(shipped, images, kernel=kernel, head=task.head) for kernel in KERNELS}
    integers = None
    if integer is not None:
        integers = {kernel: run(open_interpreter(integer, kernel), images) for kernel in KERNELS}
    return kernel_envelope(probs, task, integers)


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


def _of_patients(test: Split) -> list[str]:
    if test.groups is None or (count := len(np.unique(test.groups))) == len(test.labels):
        return []
    return [
        f"test has {len(test.labels)} images of {count} patients; intervals and p values take images as independent of "
        "each other, so that they are too narrow where those of one patient are alike"
    ]
