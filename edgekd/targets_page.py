"""What became of a recipe on each target, side by side: the rows, and the page, from the runs' reports."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekd import comparison, limits, target, vela
from edgekd.page import serving
from edgekd.page.figures import Document, shipped_of, task_of
from edgekd.recipe import Recipe
from edgekd.statistics import wilson_interval
from edgekd.target import Target
from edgekd.tflite.memory import live_bytes
from edgekd.tflite.view import open_view

NAME = "targets"
FITS, SHORT, GATE = "fits", "does not fit", "fits, but a gate fell short"
PROBLEM, WAITS = "could not be built", "not built yet"


def write(
    recipe_: Recipe,
    targets: Collection[Target],
    reports: Mapping[str, Document],
    problems: Mapping[str, str],
    out: Path,
) -> dict[str, Any]:
    """Compare the targets, and write it as HTML, Markdown and JSON.

    Args:
        recipe_: as it was named, for its name and seed.
        targets: in the order of the page.
        reports: of the runs in ``out/<target>``, by target; those that are not there yet are missing.
        problems: why a target could not be built, by target.
        out: folder of ``targets.html``, ``targets.md`` and ``targets.json``.

    Returns:
        What stands in ``targets.json``: ``recipe``, ``seed``, ``targets`` (a :func:`row` each), and of the runs, where
        there are two, ``runs``, ``paired`` and ``recipe_differences`` of :func:`edgekd.comparison.side_by_side`.
    """
    built = [out / profile.name for profile in targets if profile.name in reports]
    compared = (
        comparison.side_by_side(built) if len(built) > 1 else {"runs": [], "paired": [], "recipe_differences": []}
    )
    document = {
        "recipe": recipe_.name,
        "seed": recipe_.seed,
        "targets": [
            row(profile, reports.get(profile.name), problems.get(profile.name, ""), out) for profile in targets
        ],
        **{name: compared[name] for name in ("runs", "paired", "recipe_differences")},
    }
    comparison.write(document, out, NAME)
    return document


def row(profile: Target, report: Document | None, problem: str, out: Path) -> dict[str, Any]:
    """One target.

    Args:
        profile: of the target.
        report: of its run, or None.
        problem: why there is none, or nothing.
        out: folder that holds the run.

    Returns:
        ``name``, ``description``, ``verdict``, ``problem``, and ``run``: None, or what is shipped there, ``limits``
        (each with ``of``: target, budget, serving or gate), ``reasons``, the figures, in ``how`` where each comes from,
        and in ``further`` what else was found, ``what`` and ``how``.
    """
    about = {"name": profile.name, "description": profile.description, "problem": problem}
    if report is None:
        return {**about, "verdict": PROBLEM if problem else WAITS, "run": None}
    return {**about, "verdict": verdict(report), "run": _run(profile, report, out / profile.name)}


def verdict(report: Document) -> str:
    """Whether the limits of the target and of the budget are kept, and whether the gates are."""
    if not all(found["held"] for found in _limits(report) if found["of"] != "gate"):
        return SHORT
    return FITS if all(gate["held"] for gate in report["gates"]) else GATE


def _limits(report: Document) -> list[dict[str, Any]]:
    others = ((name, (report.get(name) or {"limits": []})["limits"]) for name in ("target", "budget", "serving"))
    return [{**found, "of": of} for of, rows in (*others, ("gate", report["gates"])) for found in rows]


def _run(profile: Target, report: Document, run: Path) -> dict[str, Any]:
    model, task, chosen = shipped_of(report), task_of(report), report.get("budget")
    test, latency = model["test"], model["latency"][0] if model["latency"] else None
    held, micro = report.get("target") or {}, (report.get("target") or {}).get("micro")
    right = round(test[task.accuracy] * test["n"])
    return {
        "folder": run.name,
        "model": model["id"],
        "takes": f"{model['input_type']} in, {model['output_type']} out",
        "candidate": chosen["candidate"] if chosen else None,
        "changes": chosen["changes"] if chosen else {},
        "num_tried": 1 + sum("candidate" in tried for tried in report["candidates"]) if chosen else 1,
        "limits": _limits(report),
        "all_held": all(found["held"] for found in limits.of_report(report)),
        "reasons": list(held.get("reasons", [])),
        "accuracy_name": task.accuracy_title,
        "accuracy": test[task.accuracy],
        # A share of labels is no share of independent trials.
        "accuracy_ci95": None if task.several else list(wilson_interval(right, test["n"])),
        "auc": test["auc"],
        "n": test["n"],
        "tflite_bytes": model["tflite_bytes"],
        "p50_ms": latency and latency["p50_ms"],
        "p50_ci95_ms": latency and latency["p50_ci95_ms"],
        "arena_measured": micro is not None,
        "arena_bytes": micro["arena_bytes"] if micro else live_bytes(open_view(run / model["file"])),
        "how": {
            "accuracy": _how_accuracy(test["n"], micro),
            "bytes": "measured: the file that is shipped",
            "p50": _how_p50(profile, latency),
            "arena": _how_arena(micro),
        },
        "further": list(_further(report)),
    }


def _further(report: Document) -> Iterator[dict[str, str]]:
    """What an NPU's compiler estimates, and how fast a server answers."""
    if npu := report.get("npu"):
        yield {"what": "On the NPU", "how": f"{vela.in_words(npu)}. {vela.estimates_in_words(npu)}"}
    if served := report.get("serving"):
        yield {"what": "On a server", "how": f"measured: host time on this machine. {serving.in_words(served)}"}


def _how_accuracy(n: int, micro: Mapping[str, Any] | None) -> str:
    text = f"measured: {n:,} test images through LiteRT's XNNPACK kernels on this machine"
    if micro is None:
        return text
    same, of = micro["num_images"] - micro["num_different"], micro["num_images"]
    return (
        f"{text}; TensorFlow Lite Micro answered {same} of {of} of them as LiteRT's reference kernels do, bit for bit"
    )


def _how_p50(profile: Target, latency: Mapping[str, Any] | None) -> str:
    if (reason := target.why_not_timed(profile)) is not None:
        return f"not timed: {reason.partition(': ')[2]}"
    if latency is None:
        return "not timed"
    threads = "1 thread" if latency["num_threads"] == 1 else f"{latency['num_threads']} threads"
    return f"measured: host time on this machine, {threads}, {latency['num_processes']} fresh processes"


def _how_arena(micro: Mapping[str, Any] | None) -> str:
    if micro is not None:
        return f"measured: the smallest that TensorFlow Lite Micro {micro['version']} ran in, on this machine"
    return "reckoned from the file: the tensors that live at once; the runtime's own tables come on top"
