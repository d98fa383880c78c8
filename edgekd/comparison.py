"""Finished runs side by side: figures, sizes, times, differences of their recipes, and paired differences on test."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import statistics
from edgekd.artifact import write_json
from edgekd.claims import accuracy_difference
from edgekd.errors import UserError, writing_to
from edgekd.page import render_plain
from edgekd.page.figures import shipped_of, task_of
from edgekd.rewrite import read_report
from edgekd.run_folder import is_run
from edgekd.verification import SCORES_FILE

NAME = "comparison"
HOST_FIELDS = ("cpu", "cores", "machine", "system")

Document = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A run.

    Attributes:
        name: of its folder, with as much of the path as tells it from the others.
        report: its report.
        labels, probs: of the shipped model on test; None where the run has none.
    """

    name: str
    report: Document
    labels: NDArray[Any] | None
    probs: NDArray[Any] | None


def compare(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Compare runs, the first being what the others are held against, and write it as HTML, Markdown and JSON.

    Args:
        runs: folders of finished builds, at least two.
        out: folder of ``comparison.html``, ``comparison.md`` and ``comparison.json``.

    Returns:
        What stands in ``comparison.json``: ``runs`` (figures of the shipped models), ``recipe_differences``, ``paired``
        (accuracy on test against the first run, by image) and ``cautions``.

    Raises:
        UserError: fewer than two runs, the same twice, a folder that is no finished run, scores that cannot be read.
        OutputError: the folder cannot be written.
    """
    if is_run(out):
        raise UserError(f'"{out}" is a run; name another folder with --out')
    document = side_by_side(runs)
    write(document, out, NAME)
    return document


def side_by_side(runs: Sequence[Path]) -> dict[str, Any]:
    """What :func:`compare` writes, and nothing written. Raises UserError as it does."""
    if len({run.resolve() for run in runs}) < max(2, len(runs)):
        raise UserError("runs are compared with each other: name at least two, each once")
    names = _names(runs)
    entries = [_entry(run, name) for run, name in zip(runs, names, strict=True)]
    return {
        "runs": [_row(entry) for entry in entries],
        "recipe_differences": _recipe_differences(entries),
        "paired": [_paired(entry, entries[0]) for entry in entries[1:]],
        "cautions": _cautions(entries),
    }


def write(document: Document, out: Path, name: str) -> None:
    """Write a comparison as ``<name>.json``, and by the templates of that name. Raises OutputError."""
    pages = {form: render_plain(document, f"{name}.{form}.j2") for form in ("html", "md")}
    with writing_to(out, "name another folder with --out"):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / f"{name}.json", document)
        for form, text in pages.items():
            (out / f"{name}.{form}").write_text(text, encoding="utf-8")


def _names(runs: Sequence[Path]) -> list[str]:
    """Last parts of the paths, as many as tell them apart."""
    parts = [run.resolve().parts for run in runs]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(run) for run in runs]


def _entry(run: Path, name: str) -> Entry:
    report = read_report(run)
    path, id = run / SCORES_FILE, shipped_of(report)["id"]
    if not path.is_file():
        return Entry(name, report, None, None)
    try:
        with np.load(path, allow_pickle=False) as scores:
            labels, probs = scores["labels__test"], scores[f"{id}__test"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f'"{path}" cannot be read ({error}); build the run again') from None
    if len(labels) != len(probs) or probs.ndim != 2:
        raise UserError(f'"{path}": labels {labels.shape} and probabilities {probs.shape}; build the run again')
    return Entry(name, report, labels, probs)


def _row(entry: Entry) -> dict[str, Any]:
    report, model, task = entry.report, shipped_of(entry.report), task_of(entry.report)
    latency = model["latency"][0] if model["latency"] else None
    return {
        "name": entry.name,
        "recipe": report["recipe"]["name"],
        "seed": report["seed"],
        "dataset": report["dataset"]["name"],
        "n": model["test"]["n"],
        "model": model["id"],
        "accuracy_name": task.accuracy_title,
        "val_accuracy": model["val"][task.accuracy],
        "accuracy": model["test"][task.accuracy],
        "auc": model["test"]["auc"],
        "macro_recall": model["test"]["macro_recall"],
        "ece": model["test"]["ece"],
        "tflite_bytes": model["tflite_bytes"],
        "gzip_bytes": model["gzip_bytes"],
        "macs": model["macs"],
        "p50_ms": latency and latency["p50_ms"],
        "p50_ci95_ms": latency and latency["p50_ci95_ms"],
        "target": latency and latency["target"],
        "host": ", ".join(str(report["host"].get(name, "unknown")) for name in HOST_FIELDS),
        "gates_held": all(gate["held"] for gate in report["gates"]),
        "edgekd_version": report["edgekd_version"],
        "commit": report.get("commit"),
    }


def _recipe_differences(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Keys whose values are not the same in every run; None where a recipe does not have one."""
    recipes = [_flat(entry.report["recipe"]) for entry in entries]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    rows = [{"key": key, "values": [recipe.get(key) for recipe in recipes]} for key in keys]
    return [row for row in rows if any(value != row["values"][0] for value in row["values"])]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _paired(entry: Entry, first: Entry) -> dict[str, Any]:
    """Accuracy of this run's shipped model less that of the first run's, on the same test images."""
    about: dict[str, Any] = {"run": entry.name, "against": first.name}
    reason = _not_paired(entry, first)
    if reason:
        return {**about, "reason": reason}
    task = task_of(first.report)
    right = [task.decisions(each.probs) == first.labels for each in (entry, first) if each.probs is not None]
    found = accuracy_difference(right[0], right[1])
    more = {} if task.several else {"mcnemar_p": statistics.mcnemar_p(right[0], right[1])}
    verdict = {"shown": "better", "refuted": "worse", "not shown": "not told apart"}[statistics.gain_verdict(found)]
    ends = [found.low, found.high]
    return {**about, "estimate": found.estimate, "ci95": ends, "verdict": verdict, "n": len(right[0]), **more}


def _not_paired(entry: Entry, first: Entry) -> str:
    """Why two runs cannot be compared image by image; empty where they can."""
    for each in (entry, first):
        if each.probs is None:
            return f"{each.name} has no {SCORES_FILE}; build it again with this version"
    if task_of(entry.report) is not task_of(first.report):
        return "the tasks differ"
    if entry.report["dataset"].get("class_names") != first.report["dataset"].get("class_names"):
        return "the classes differ"
    if entry.labels is None or first.labels is None or not np.array_equal(entry.labels, first.labels):
        return "the labels of the test images differ"
    return ""


def _cautions(entries: Sequence[Entry]) -> list[str]:
    found = []
    first = entries[0]
    hosts = {tuple(entry.report["host"].get(name) for name in HOST_FIELDS) for entry in entries}
    if len(hosts) > 1:
        found.append("the runs were timed on different hosts: their times are not comparable")
    targets = {row["target"] for row in map(_row, entries) if row["target"]}
    if len(targets) > 1:
        found.append(f"the runs were timed for different targets ({', '.join(sorted(targets))})")
    for entry in entries[1:]:
        if entry.report["dataset"]["sha256"] != first.report["dataset"]["sha256"]:
            found.append(f"{entry.name} is of other data than {first.name} (SHA-256)")
        if entry.report["versions"] != first.report["versions"]:
            found.append(f"{entry.name} was made with other versions of the packages than {first.name}")
        if entry.report["edgekd_version"] != first.report["edgekd_version"]:
            found.append(f"{entry.name} was made with another version of edgekd than {first.name}")
    if len(entries) > 2:
        found.append("each run is compared with the first; the more runs, the likelier that one stands out by chance")
    return found
