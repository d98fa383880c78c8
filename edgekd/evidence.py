"""What the report shows of single decisions: counts by class, reliability, mistakes, and what compression changed.

Everything is computed from the probabilities that verify stored, of the test split.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import Artifact
from edgekd.claims import FLOAT, teacher_of
from edgekd.config.report import Report
from edgekd.data.dataset import Dataset
from edgekd.metrics import NUM_ECE_BINS
from edgekd.statistics import wilson_interval
from edgekd.tasks import Floats, Labels, Task
from edgekd.verification import SCORES_FILE

THUMBNAIL_SIDE = 96
ON_TEST = "__test"
LABELS = f"labels{ON_TEST}"

Images = NDArray[np.uint8]
Row = dict[str, Any]


def of_run(data: Artifact, verification: Artifact, shipped: str, config: Report) -> dict[str, Any]:
    """:func:`evidence` of what verify stored; thumbnails where the recipe and the data allow them."""
    dataset = Dataset.open(data)
    with np.load(verification.path / SCORES_FILE, allow_pickle=False) as scores:
        names = [name.removesuffix(ON_TEST) for name in scores.files if name.endswith(ON_TEST) and name != LABELS]
        probs = {name: scores[f"{name}{ON_TEST}"] for name in names}
        labels = scores[LABELS]
    return evidence(
        probs,
        labels,
        dataset.test.images,
        dataset.class_names,
        dataset.task,
        shipped=shipped,
        num_cases=config.num_cases,
        thumbnails=config.shows(bool(data.facts["public"])),
    )


def shown_models(names: Sequence[str], shipped: str) -> list[str]:
    """Those that stand side by side: the teacher, the student in floating point, and what is shipped."""
    return [name for name in (teacher_of(names), FLOAT, shipped) if name in names]


def evidence(
    probs: Mapping[str, Floats],
    labels: Labels,
    images: Images,
    class_names: Sequence[str],
    task: Task,
    *,
    shipped: str,
    num_cases: int,
    thumbnails: bool,
) -> dict[str, Any]:
    """All of it, as it stands in the report.

    Args:
        probs: of each model on the test images, shape ``(n, K)``.
        labels: shape ``(n,)``, or ``(n, K)`` where an image may have several.
        images: uint8, shape ``(n, s, s, 3)``.
        class_names: in the order of the outputs.
        task: what the labels mean.
        shipped: name of the shipped model.
        num_cases: how many mistakes, and how many changed decisions, are listed.
        thumbnails: whether the images of these may be shown.

    Returns:
        ``{"confusion": [{"model", "counts"}], "reliability": [{"model", "bins"}], "cases": {...}}``.
    """
    names = shown_models(list(probs), shipped)
    found = _cases(probs, labels, class_names, task, shipped, num_cases)
    for row in (*found["mistakes"], *found["changed"]):
        row["pixels_sha256"] = hashlib.sha256(np.ascontiguousarray(images[row["index"]]).tobytes()).hexdigest()[:12]
        row["thumbnail"] = thumbnail(images[row["index"]]) if thumbnails else None
    return {
        "confusion": [{"model": name, "counts": confusion(probs[name], labels, task).tolist()} for name in names],
        "reliability": [{"model": name, "bins": reliability(probs[name], labels, task)} for name in names],
        "cases": found,
    }


def confusion(probs: Floats, labels: Labels, task: Task) -> NDArray[np.int64]:
    """Counts ``(K, K)``: rows by label, columns by decision.

    Of a task with several labels an image, each label's own two by two, ``(K, 2, 2)``: not there, there.
    """
    decided, count = task.decisions(probs), probs.shape[1]
    if task.several:
        return np.stack([_table(labels[:, label], decided[:, label], 2) for label in range(count)])
    return _table(labels, decided, count)


def _table(labels: Labels, decided: NDArray[Any], count: int) -> NDArray[np.int64]:
    cells = np.bincount(labels.astype(np.int64) * count + decided.astype(np.int64), minlength=count * count)
    return cells.reshape(count, count)


def reliability(probs: Floats, labels: Labels, task: Task, num_bins: int = NUM_ECE_BINS) -> list[Row]:
    """How often answers of about the same confidence are right, in equal-width bins ``(b / B, (b + 1) / B]``.

    The bins are those of the expected calibration error, and so is what is counted: the highest probability and whether
    it is the label's; of several labels an image each label's probability and whether it is there, all together.

    Returns:
        ``{"low", "high", "n", "confidence", "accuracy", "accuracy_ci95"}`` of every bin that holds an answer; the
        interval is Wilson's.
    """
    if task.several:
        confidence, right = probs.ravel(), labels.ravel() == 1
    else:
        confidence, right = probs.max(axis=1), task.decisions(probs) == labels
    places = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    rows = []
    for place in np.unique(places):
        members = places == place
        count, hits = int(members.sum()), int(right[members].sum())
        rows.append(
            {
                "low": place / num_bins,
                "high": (place + 1) / num_bins,
                "n": count,
                "confidence": float(confidence[members].mean()),
                "accuracy": hits / count,
                "accuracy_ci95": list(wilson_interval(hits, count)),
            }
        )
    return rows


def _cases(
    probs: Mapping[str, Floats], labels: Labels, class_names: Sequence[str], task: Task, shipped: str, limit: int
) -> dict[str, Any]:
    """Wrong decisions of the shipped model, the surest first; and those that differ from its float form."""
    own, teacher = probs[shipped], teacher_of(probs)
    truth = _per_decision(labels)
    decided = {name: _per_decision(task.decisions(probs[name])) for name in shown_models(list(probs), shipped)}
    wrong = decided[shipped] != truth
    sure = _sureness(own, task)
    before = FLOAT if FLOAT in probs and shipped != FLOAT else None
    changed = decided[shipped] != decided[before] if before else np.zeros_like(wrong)
    moved = np.abs(own - probs[before]) if before else np.zeros_like(own)
    moved = moved if task.several else moved.max(axis=1, keepdims=True)
    others = {"teacher": teacher if teacher in probs and teacher != shipped else None, "before": before}

    def rows(chosen: NDArray[np.bool_], order: NDArray[np.floating]) -> list[Row]:
        places = np.argwhere(chosen)
        ranked = sorted(places.tolist(), key=lambda at: (-float(order[at[0], at[1]]), at))[:limit]
        return [_case(at, probs, labels, class_names, task, shipped, others) for at in ranked]

    right_before = decided[before] == truth if before else ~wrong
    return {
        "model": shipped,
        "teacher": others["teacher"],
        "before": before,
        "num_decisions": int(truth.size),
        "num_mistakes": int(wrong.sum()),
        "num_changed": int(changed.sum()),
        "num_mended": int((changed & ~wrong).sum()),
        "num_broken": int((changed & right_before).sum()),
        "mistakes": rows(wrong, sure),
        "changed": rows(changed, moved),
    }


def _per_decision(values: NDArray[Any]) -> NDArray[Any]:
    """One column for each decision about an image: one, or as many as there are labels."""
    return values.reshape(len(values), -1).astype(np.int64)


def _sureness(probs: Floats, task: Task) -> NDArray[np.floating]:
    """Probability of what was decided, ``(n, 1)`` or ``(n, K)``."""
    return np.maximum(probs, 1 - probs) if task.several else probs.max(axis=1, keepdims=True)


def _case(
    at: Sequence[int],
    probs: Mapping[str, Floats],
    labels: Labels,
    class_names: Sequence[str],
    task: Task,
    shipped: str,
    others: Mapping[str, str | None],
) -> Row:
    index, column = at

    def answer(name: str | None) -> Row | None:
        if name is None:
            return None
        row = probs[name][index]
        if task.several:
            present = bool(task.decisions(row[None])[0, column])
            return {"decided": _present(class_names[column], present), "prob": float(row[column])}
        best = int(np.argmax(row))
        return {"decided": class_names[best], "prob": float(row[best])}

    truth = _present(class_names[column], labels[index, column] == 1) if task.several else class_names[labels[index]]
    return {
        "index": index,
        "label": truth,
        "model": answer(shipped),
        "before": answer(others["before"]),
        "teacher": answer(others["teacher"]),
    }


def _present(name: str, present: bool) -> str:
    return name if present else f"no {name}"


def thumbnail(image: Images) -> str:
    """The image as a ``data:`` address of a PNG file, its longer side at most 96 pixels."""
    from PIL import Image

    picture = Image.fromarray(np.asarray(image))
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
