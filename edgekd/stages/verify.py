"""Prove what the shipped bytes can do: the files themselves, through LiteRT, on val and test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import metrics, statistics
from edgekd._litert import KERNELS, predict_probs
from edgekd.artifact import Artifact
from edgekd.data import Dataset
from edgekd.errors import RecipeError, did_you_mean
from edgekd.recipe import Gates, Verify
from edgekd.statistics import Interval

SHIPPED = "student_int8"
SPLITS = ("val", "test")

Probs = NDArray[np.float32]
Scores = dict[str, dict[str, Probs]]


def verify(data: Artifact, models: Sequence[Artifact], config: Verify, out_dir: Path, *, gates: Gates) -> Artifact:
    """Run every model over val and test, and the shipped one with all three kernels.

    Writes ``scores.npz``: probabilities ``<id>__<split>`` and ``labels__<split>``, so that anyone can compute the
    figures again. Facts: ``models``, ``agreement``, ``kernels``, ``claims``, ``gates``, ``warnings``. Gates are decided
    on val; claims are made about test.

    Raises:
        RecipeError: a gate on a class that does not exist.
    """
    dataset = Dataset.open(data)
    check_classes(gates, dataset.class_names)
    entries = {entry["id"]: (model.path / entry["file"], entry) for model in models for entry in model.facts["models"]}
    splits = {"val": dataset.val, "test": dataset.test}
    scores = _given_answers(models)
    scores |= {
        name: {split: predict_probs(path, splits[split].images) for split in SPLITS}
        for name, (path, _) in entries.items()
        if name not in scores
    }
    labels = {split: splits[split].labels for split in SPLITS}
    figures = {
        name: {split: metrics.evaluate(probs[split], labels[split], dataset.class_names) for split in SPLITS}
        for name, probs in scores.items()
    }
    sizes = {name: entry["tflite_bytes"] for name, (_, entry) in entries.items()}
    arrays: dict[str, NDArray[Any]] = {
        f"{name}__{split}": probs for name, rows in scores.items() for split, probs in rows.items()
    }
    arrays |= {f"labels__{split}": values for split, values in labels.items()}
    np.savez(out_dir / "scores.npz", allow_pickle=False, **arrays)
    facts = {
        "models": figures,
        "agreement": {
            name: metrics.agreement(scores[SHIPPED]["test"], scores[name]["test"])
            for name in ("student_fp32", _teacher(scores))
            if name in scores
        },
        "kernels": _kernels(entries[SHIPPED][0], dataset.test.images),
        "claims": _claims(scores, labels["test"], sizes, config),
        "gates": _gates(figures, sizes, gates),
        "warnings": _warnings(figures, scores),
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


def _teacher(names: Iterable[str]) -> str:
    return next((name for name in names if name.startswith("teacher_")), "no teacher")


def check_classes(gates: Gates, class_names: Sequence[str]) -> None:
    """Raise where a gate names a class that the data does not have."""
    for name in gates.min_recall:
        if name not in class_names:
            raise RecipeError(f'gates.min_recall."{name}": no such class{did_you_mean(name, class_names)}')


def _kernels(path: Path, images: NDArray[np.uint8]) -> dict[str, Any]:
    """How far the three kernel paths of LiteRT differ on the test images; XNNPACK is what is shipped."""
    probs = {kernel: predict_probs(path, images, kernel=kernel) for kernel in KERNELS}
    ordered = np.sort(probs["xnnpack"], axis=1)
    return {
        "num_images": len(images),
        "num_ties": int(np.sum(ordered[:, -1] == ordered[:, -2])),
        "against_xnnpack": {
            kernel: {
                "max_prob_difference": float(np.max(np.abs(probs[kernel] - probs["xnnpack"]))),
                "num_top1_flips": int(
                    np.sum(metrics.predictions(probs[kernel]) != metrics.predictions(probs["xnnpack"]))
                ),
            }
            for kernel in KERNELS
            if kernel != "xnnpack"
        },
    }


def _claims(
    scores: Scores, labels: NDArray[np.int64], sizes: Mapping[str, int], config: Verify
) -> list[dict[str, Any]]:
    """What is said about the shipped model, on test, each with the verdict that the data gives."""
    shipped = scores[SHIPPED]["test"]
    correct = {name: metrics.predictions(rows["test"]) == labels for name, rows in scores.items()}
    margin = config.margin_pp / 100
    claims = []
    teacher = _teacher(scores)
    for other, title in (("student_fp32", "its float form"), (teacher, "the teacher")):
        if other not in scores:
            continue
        difference = statistics.paired_difference(correct[SHIPPED], correct[other])
        verdict = statistics.no_loss_verdict(difference, margin)
        smallest = 100 * statistics.smallest_margin(correct[SHIPPED], correct[other])
        text = (
            f"{SHIPPED} loses no more than {config.margin_pp:g} points of top-1 against {title}: "
            f"{_points(difference)}, n = {len(labels)} test images; "
            f"the smallest margin that these could show is {smallest:.1f} points"
        )
        claim = _claim(f"accuracy_vs_{other}", text, verdict, difference, margin, len(labels))
        claims.append({**claim, "mcnemar_p": statistics.mcnemar_p(correct[SHIPPED], correct[other])})
        # DeLong's variance needs two of each.
        if shipped.shape[1] == 2 and np.bincount(labels, minlength=2).min() >= 2:
            areas = statistics.delong_difference(shipped[:, 1], scores[other]["test"][:, 1], labels)
            text = (
                f"{SHIPPED} loses no more than {margin:g} of AUC against {title}: {_signed(areas)}, n = {len(labels)}"
            )
            verdict = statistics.no_loss_verdict(areas, margin)
            claims.append(_claim(f"auc_vs_{other}", text, verdict, areas, margin, len(labels)))
    if "student_alone_fp32" in scores:
        gain = statistics.paired_difference(correct["student_fp32"], correct["student_alone_fp32"])
        text = (
            "distillation made the student more accurate than the same student trained alone for as many epochs: "
            f"{_points(gain)}, n = {len(labels)}{_plainly(gain)}"
        )
        claims.append(_claim("distillation_gain", text, statistics.gain_verdict(gain), gain, 0.0, len(labels)))
    for other in (teacher, "student_alone_fp32", "student_fp32"):
        if other in sizes:
            ratio = sizes[other] / sizes[SHIPPED]
            sizes_text = f"{sizes[SHIPPED]:,} against {sizes[other]:,} bytes"
            text = f"{SHIPPED} is {ratio:.1f} times smaller than {other}: {sizes_text}"
            verdict = "shown" if ratio > 1 else "refuted"
            claims.append(_claim(f"size_vs_{other}", text, verdict, Interval(ratio, ratio, ratio), 1.0, None))
    return claims


def _plainly(gain: Interval) -> str:
    """What no reader should have to work out from a verdict on a gain: that there was a loss."""
    if gain.high < 0:
        return "; it made the student worse"
    return "; alone it was the better one here, within chance" if gain.estimate < 0 else ""


def _claim(id: str, text: str, verdict: str, interval: Interval, margin: float, n: int | None) -> dict[str, Any]:
    return {
        "id": id,
        "text": text,
        "verdict": verdict,
        "estimate": interval.estimate,
        "ci95": [interval.low, interval.high],
        "margin": margin,
        "n": n,
    }


def _points(difference: Interval) -> str:
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.estimate:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"


def _signed(difference: Interval) -> str:
    return f"{difference.estimate:+.4f} (95 % interval {difference.low:+.4f} to {difference.high:+.4f})"


def _gates(figures: Mapping[str, Any], sizes: Mapping[str, int], gates: Gates) -> list[dict[str, Any]]:
    """The limits that the recipe sets, held against val."""
    val = figures[SHIPPED]["val"]
    rows = []
    if gates.max_tflite_bytes is not None:
        rows.append(_gate("max_tflite_bytes", gates.max_tflite_bytes, sizes[SHIPPED], at_most=True))
    if gates.max_accuracy_drop_pp is not None and "student_fp32" in figures:
        # Of whole counts: a difference of two rounded shares may stand a hair above the limit that it meets.
        drop = 100 * (_num_right(figures["student_fp32"]["val"]) - _num_right(val)) / val["n"]
        rows.append(_gate("max_accuracy_drop_pp", gates.max_accuracy_drop_pp, drop, at_most=True))
    if gates.min_top1 is not None:
        rows.append(_gate("min_top1", gates.min_top1, val["top1"], at_most=False))
    if gates.min_auc is not None:
        rows.append(_gate("min_auc", gates.min_auc, val["auc"], at_most=False))
    for name, limit in gates.min_recall.items():
        recall = next(row["recall"] for row in val["per_class"] if row["name"] == name)
        rows.append(_gate(f'min_recall."{name}"', limit, recall, at_most=False))
    return rows


def _num_right(figures: Mapping[str, Any]) -> int:
    count: int = round(figures["top1"] * figures["n"])
    return count


def _gate(id: str, limit: float, measured: float, *, at_most: bool) -> dict[str, Any]:
    return {"id": id, "limit": limit, "measured": measured, "held": measured <= limit if at_most else measured >= limit}


def _warnings(figures: Mapping[str, Any], scores: Scores) -> list[str]:
    warnings = []
    val, test = figures[SHIPPED]["val"], figures[SHIPPED]["test"]
    if statistics.two_proportions_differ(_num_right(val), val["n"], _num_right(test), test["n"]):
        warnings.append(
            f"val and test disagree: top-1 {val['top1']:.3f} against {test['top1']:.3f}, more than chance explains; "
            "the two splits are not alike, and choices made on val may not carry over"
        )
    for name, rows in scores.items():
        if np.all(rows["test"] == rows["test"][0]):
            warnings.append(f"{name} gives the same output for every test image")
    return warnings
