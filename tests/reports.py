"""Reports made up by hand, for the tests of what is written about a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekd import evidence, recipe
from edgekd.options import to_table
from edgekd.tasks import TASKS

Document = dict[str, Any]


def metrics(top1: float, n: int, recalls: tuple[float, float] = (0.75, 0.95)) -> Document:
    classes = [
        {"name": name, "n": n // 2, "recall": recall, "recall_ci95": [recall - 0.0625, min(1.0, recall + 0.0625)]}
        for name, recall in zip(("normal", "pneumonia"), recalls, strict=True)
    ]
    figures = {"top1": top1, "auc": 0.9375, "macro_recall": sum(recalls) / 2, "ece": 0.0415, "brier": 0.2125, "n": n}
    return {**figures, "per_class": classes}


def latency(p50_ms: float) -> Document:
    return {
        **{"target": "host", "kernel": "xnnpack", "p50_ms": p50_ms, "p90_ms": 2 * p50_ms, "p99_ms": None},
        **{"p50_ci95_ms": [0.75 * p50_ms, 1.25 * p50_ms], "init_ms": 4.0, "num_runs": 300, "num_processes": 3},
        "num_threads": 1,
    }


def model(id: str, role: str, tflite_bytes: int, gzip_bytes: int, p50_ms: float | None, **changes: Any) -> Document:
    dtype = id.split("_")[-1]
    return {
        **{"id": id, "role": role, "shipped": False, "steps": ["distilled", "pruned"] if role == "student" else []},
        **{"dtype": dtype, "input_type": "uint8", "output_type": "float32", "file": f"models/{id}.tflite"},
        **{"sha256": f"{len(id):064x}", "tflite_bytes": tflite_bytes, "gzip_bytes": gzip_bytes},
        **{"num_params": 1000, "macs": 2000, "measured_sparsity": 0.5},
        **{"val": metrics(0.9625, 524), "test": metrics(0.8765, 624)},
        "latency": [latency(p50_ms)] if p50_ms is not None else [],
        "peak_rss_bytes": 48 * 2**20 if p50_ms is not None else None,
        **changes,
    }


def document_by_hand() -> Document:
    resolved = to_table(recipe.load("pneumoniamnist", {"seed": 11, "num_threads": 2}))
    return {
        "schema_version": 1,
        "edgekd_version": "9.8.7",
        "versions": {"python": "3.11.7", "tensorflow": "2.21.0"},
        "commit": "0123456789ab",
        "host": {"cpu": "Abacus 3000", "cores": 2, "memory_bytes": 4 * 2**30, "system": "Linux 6.1", "machine": "x86"},
        "recipe": resolved,
        "seed": 11,
        "dataset": {
            **{"name": "pneumoniamnist", "licence": "CC BY 4.0", "source": "a shelf", "attribution": "by someone"},
            **{"task": "binary", "class_names": ["normal", "pneumonia"], "num_classes": 2, "image_size": 32},
            **{"resize": "stretch", "num_train": 4708, "num_calibration": 512, "num_val": 524, "num_test": 624},
            **{"calibration_indices": [], "sha256": "d" * 64, "warnings": [], "num_unreadable": 3},
        },
        "models": [
            model("teacher_fp32", "teacher", 94_371_840, 83_886_080, 12.0),
            model("student_fp32", "student", 1_638_400, 1_228_800, 0.0625),
            # Never timed: latency is not there at all.
            model("student_fp16", "student", 819_200, 614_400, None),
            model("student_int8", "student", 614_400, 307_200, 0.03125, shipped=True),
        ],
        "claims": [
            {
                **{"id": "accuracy_vs_student_fp32", "text": "student_int8 loses no more than 2 points", "n": 624},
                **{"verdict": "not shown", "estimate": -0.01, "ci95": [-0.03, 0.01], "margin": 0.02},
            },
            {
                **{"id": "size_vs_teacher_fp32", "text": "student_int8 is 153.6 times smaller", "n": None},
                **{"verdict": "shown", "estimate": 153.6, "ci95": [153.6, 153.6], "margin": 1.0},
            },
            {
                **{"id": "distillation_gain", "text": "distillation made the student more accurate", "n": 624},
                **{"verdict": "refuted", "estimate": -0.05, "ci95": [-0.08, -0.02], "margin": 0.0},
            },
        ],
        "not_measured": ["what distillation brought was not measured"],
        "gates": [
            {"id": "max_tflite_bytes", "limit": 650_000, "measured": 614_400, "held": True},
            {"id": "min_auc", "limit": 0.98, "measured": 0.9375, "held": False},
        ],
        "kernels": {
            **{"num_images": 624, "num_ties": 5},
            "against_xnnpack": {
                "builtin": {"max_prob_difference": 0.0625, "num_top1_flips": 6},
                "reference": {"max_prob_difference": 0.03125, "num_top1_flips": 4},
            },
        },
        "agreement": {"student_fp32": 0.99},
        "ratios": [],
        "candidates": [{"model": "student_fp16", "reason": "larger than INT8"}],
        "stages": [
            {"name": "data", "key": "a" * 64, "cached": True, "seconds": 0.25},
            {"name": "teacher", "key": "b" * 64, "cached": False, "seconds": 754.0},
        ],
        "warnings": ["val and test disagree: top-1 0.963 against 0.877"],
    }


def with_evidence(
    document: Document, thumbnails: bool = True, names: tuple[str, ...] = ("normal", "pneumonia")
) -> Document:
    """The same with decisions on 60 made-up images, and two learning curves."""
    generator = np.random.default_rng(0)
    labels = np.arange(60) % len(names)
    images = generator.integers(0, 256, (60, 32, 32, 3), np.uint8)
    probs = {}
    for row in document["models"]:
        scores = generator.gamma(0.7, size=(60, len(names))) + 1.5 * np.eye(len(names))[labels]
        probs[row["id"]] = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    found = evidence.evidence(
        probs,
        labels,
        images,
        names,
        TASKS[document["dataset"]["task"]],
        shipped="student_int8",
        num_cases=6,
        thumbnails=thumbnails,
    )
    history = [
        {"epoch": epoch, "loss": 1 / (epoch + 1), "val_loss": 0.5 + 1 / (epoch + 2), "val_top1": 0.75, "val_auc": 0.875}
        for epoch in range(6)
    ]
    return {**document, **found, "learning_curves": {"teacher": history, "distill": history[:1]}}


def of_labels() -> Document:
    """A report of a task in which an image may have several labels."""
    document = document_by_hand()
    document["dataset"] |= {"task": "multi-label", "class_names": ["mass", "oedema"]}
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, (40, 2))
    probs = {}
    for row in document["models"]:
        probs[row["id"]] = np.clip(0.6 * labels + 0.4 * generator.random((40, 2)), 0.01, 0.99).astype(np.float32)
        for split in ("val", "test"):
            figures = row[split]
            figures["label_accuracy"] = figures.pop("top1")
            for name, found in zip(("mass", "oedema"), figures["per_class"], strict=True):
                found |= {"name": name, "auc": 0.875}
    found = evidence.evidence(
        probs,
        labels,
        np.zeros((40, 32, 32, 3), np.uint8),
        ("mass", "oedema"),
        TASKS["multi-label"],
        shipped="student_int8",
        num_cases=4,
        thumbnails=False,
    )
    history = [{"epoch": 0, "loss": 1.0, "val_loss": 0.5, "val_label_accuracy": 0.75, "val_auc": 0.875}]
    return {**document, **found, "learning_curves": {"distill": history}}
