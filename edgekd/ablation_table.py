"""What the cells of an ablation say: gains over the student alone, the method that val chooses, and what test shows.

A cell is ``{"method", "seed", "seconds_per_epoch", model: {split: {figure: value}}}``.
"""

from __future__ import annotations

import statistics as stdlib
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.statistics import gain_verdict, mean_difference
from edgekd.tasks import TASKS

BASELINE = "none"
MODELS = ("student_fp32", "student_int8")
SPLITS = ("val", "test")
TITLES: Mapping[str, str] = {
    **{task.accuracy: task.accuracy_title for task in TASKS.values()},
    "auc": "AUC",
    "macro_recall": "macro recall",
}
"""Figures, and how they are written: the accuracy of the task, which has one of these names, and what all have."""
NOT_SHOWN = "macro_recall"

Row = Mapping[str, Any]


def compare(method: str, cells: Sequence[Row]) -> dict[str, Any]:
    """Mean, standard deviation and paired difference to ``none``, of the float and the INT8 student.

    Differences are taken seed by seed, over the seeds of the method; all of these are seeds of ``none`` too.

    Returns:
        ``{"method", "seeds", "seconds_per_epoch"}``, the seconds a median, and by model, split and figure ``{"mean",
        "sd", "differences", "difference", "ci95", "verdict"}``: the differences in the order of ``seeds``, their mean,
        its 95 % interval by Student's t, and what that interval says.
    """
    own = {cell["seed"]: cell for cell in cells if cell["method"] == method}
    base = {cell["seed"]: cell for cell in cells if cell["method"] == BASELINE}
    names = next(iter(own.values()))[MODELS[0]][SPLITS[0]]
    timed = [cell["seconds_per_epoch"] for cell in own.values() if cell["seconds_per_epoch"]]

    def figures(model: str, split: str, figure: str) -> dict[str, Any]:
        values, alone = ([rows[seed][model][split][figure] for seed in own] for rows in (own, base))
        difference = mean_difference(values, alone)
        return {
            "mean": stdlib.fmean(values),
            "sd": stdlib.stdev(values),
            "differences": [value - other for value, other in zip(values, alone, strict=True)],
            "difference": difference.estimate,
            "ci95": [difference.low, difference.high],
            "verdict": "baseline" if method == BASELINE else gain_verdict(difference),
        }

    return {
        "method": method,
        "seeds": list(own),
        "seconds_per_epoch": stdlib.median(timed) if timed else None,
        **{
            model: {split: {name: figures(model, split, name) for name in names} for split in SPLITS}
            for model in MODELS
        },
    }


def shown(row: Row, choose_by: str) -> list[str]:
    """Figures of the table and the plot: the one that chose, then the others but macro recall."""
    return list(dict.fromkeys((choose_by, *(name for name in row[MODELS[0]]["test"] if name != NOT_SHOWN))))


def verdict(rows: Sequence[Row], figure: str) -> dict[str, str]:
    """Choose on val, then say what test shows of that choice.

    Chosen is the highest mean paired difference to ``none``: methods of unequal seeds are each compared with the same
    seeds of ``none``.

    Args:
        rows: of :func:`compare`; one of them is that of ``none``.
        figure: a name in ``TITLES``.

    Returns:
        ``{"chosen", "sentence"}``.
    """
    best = max(rows, key=lambda row: row["student_fp32"]["val"][figure]["difference"])
    on_val = best["student_fp32"]["val"][figure]
    if best["method"] == BASELINE or on_val["difference"] <= 0:
        sentence = f"by {TITLES[figure]} on val, no method was better than the student alone"
        return {"chosen": BASELINE, "sentence": sentence}
    found = {"shown": "a gain is shown", "not shown": "no gain is shown", "refuted": "a loss is shown"}
    parts = [
        f"{TITLES[name]} {_signed(best['student_fp32']['test'][name])}, "
        f"{found[best['student_fp32']['test'][name]['verdict']]}"
        for name in shown(best, figure)
    ]
    return {
        "chosen": best["method"],
        "sentence": f"by {TITLES[figure]} on val, {best['method']} is chosen ({on_val['difference']:+.4f} against the "
        f"student alone); on test, over {len(best['seeds'])} seeds: {'; '.join(parts)}",
    }


def markdown(document: Mapping[str, Any]) -> str:
    """The table and the sentence, with what they were measured on; ``document`` as in ``ablation.json``."""
    chooses, data = document["choose_by"], document["dataset"]
    columns = [("val", chooses), *(("test", name) for name in shown(document["methods"][0], chooses))]
    head = ["method", "seeds"]
    for split, name in columns:
        head += [f"{split} {TITLES[name]}", "against none"]
    lines = [f"| {' | '.join([*head, 's per epoch'])} |", f"|---|{'---:|' * len(head)}"]
    for row in document["methods"]:
        cells = [row["method"], str(len(row["seeds"]))]
        for split, name in columns:
            part = row["student_fp32"][split][name]
            cells += [f"{part['mean']:.4f} ± {part['sd']:.4f}", "–" if part["verdict"] == "baseline" else _signed(part)]
        seconds = row["seconds_per_epoch"]
        lines.append(f"| {' | '.join([*cells, '–' if seconds is None else f'{seconds:.1f}'])} |")
    teacher = ""
    if document["teacher"]:
        on_test = document["teacher"]["test"]
        figures = ", ".join(f"{TITLES[name]} {on_test[name]:.4f}" for name in on_test if name != NOT_SHOWN)
        teacher = f"; the teacher on test: {figures}"
    sentence = document["sentence"]
    return "\n".join(
        [
            *lines,
            "",
            f"{sentence[0].upper()}{sentence[1:]}.",
            "",
            f"{data['name']}, n = {data['num_val']} on val and {data['num_test']} on test; student_fp32, seeds "
            f"{', '.join(map(str, document['seeds']))}{teacher}.",
            "± is the standard deviation over the seeds. Differences are paired by seed, with their 95 % interval by "
            "Student's t. Test chose nothing.",
            "",
        ]
    )


def _signed(figure: Mapping[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
