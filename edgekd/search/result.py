"""What a search found: every trial, which of them no other beats, and the one to build."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.config.search import ACCURACIES, Search
from edgekd.recipe import Recipe
from edgekd.search import study


def document(recipe_: Recipe, opened: Any) -> dict[str, Any]:
    """Everything that a study holds, as JSON.

    Returns:
        ``recipe``, ``sampler`` (or the controller that took its place), ``objectives``, ``as_written`` (figures or
        None), ``trials`` (``number``, ``state``: complete, stopped early, failed, out of time or running; ``changes``,
        ``measured``, ``held``: of the recipe's budget; ``pareto``: no other is at least as good in all objectives and
        better in one; ``seconds``, ``problem``), and ``chosen``, the number of one of them or None, with ``why``.
    """
    objectives = recipe_.search.objectives
    rows = [_row(trial) for trial in study.trials(opened)]
    front = pareto([row["measured"] for row in rows], objectives)
    for row, best in zip(rows, front, strict=True):
        row["pareto"] = best
    written = opened.user_attrs.get(study.AS_WRITTEN)
    chosen, why = choose(rows, written and written[study.MEASURED], objectives)
    return {
        "recipe": recipe_.name,
        "sampler": drawn_by(recipe_.search),
        "early_stopping": recipe_.search.early_stopping,
        "objectives": list(objectives),
        "budget": recipe_.budget.is_set,
        "as_written": written,
        "trials": rows,
        "chosen": chosen,
        "why": why,
    }


def drawn_by(search: Search) -> str:
    """The sampler, or the controller that took its place."""
    return search.sampler if search.controller == "sampler" else search.controller


STATES: Mapping[str, str] = {
    "COMPLETE": "complete",
    "PRUNED": "stopped early",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


def _row(trial: Any) -> dict[str, Any]:
    attributes, ended = trial.user_attrs, trial.datetime_complete
    problem = attributes.get(study.PROBLEM, "")
    complete = trial.state.name == "COMPLETE" and not study.cannot_be_made(trial)
    state = "failed" if study.cannot_be_made(trial) else STATES[trial.state.name]
    limits = attributes.get(study.LIMITS, [])
    return {
        "number": trial.number,
        "state": "out of time" if problem == study.OUT_OF_TIME else state,
        "changes": attributes.get(study.CHANGES, dict(trial.params)),
        "measured": attributes.get(study.MEASURED) if complete else None,
        "limits": limits,
        "held": complete and all(limit["held"] for limit in limits),
        "seconds": (ended - trial.datetime_start).total_seconds() if ended and trial.datetime_start else None,
        "problem": problem,
    }


def pareto(measured: Sequence[Mapping[str, Any] | None], objectives: Sequence[str]) -> list[bool]:
    """Which figures no others beat: at least as good in every objective and better in one. None beats nothing."""
    points = [None if figures is None else losses(figures, objectives) for figures in measured]
    return [
        point is not None and not any(other is not None and _beats(other, point) for other in points)
        for point in points
    ]


def losses(figures: Mapping[str, Any], objectives: Sequence[str]) -> tuple[float, ...]:
    """The objectives with the sign that makes less the better."""
    return tuple(-figures[name] if name in ACCURACIES else figures[name] for name in objectives)


def _beats(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True)) and tuple(first) != tuple(second)


def choose(
    rows: Sequence[Mapping[str, Any]], written: Mapping[str, Any] | None, objectives: Sequence[str]
) -> tuple[int | None, str]:
    """The trial to build, by a rule that is fixed beforehand, and the rule in words.

    Of those that keep the recipe's budget (of all, where none does) and are no less accurate on val than the recipe as
    written, by every accuracy among the objectives, the one with the smallest product of its costs; where none is as
    accurate, the most accurate by the first of them. With an accuracy as the only objective: the most accurate.
    """
    complete = [row for row in rows if row["measured"] is not None]
    if not complete:
        return None, "no trial gave a model"
    held = [row for row in complete if row["held"]]
    candidates = held or complete
    kept = "" if held else "none keeps the budget; of all, "
    accuracies = [name for name in objectives if name in ACCURACIES]
    costs = [name for name in objectives if name not in ACCURACIES]
    good = [row for row in candidates if written and all(row["measured"][name] >= written[name] for name in accuracies)]
    if costs and good:
        cheapest = min(good, key=lambda row: math.prod(row["measured"][name] for name in costs))
        wanted = " and no less ".join(accuracies)
        return cheapest["number"], f"{kept}no less {wanted} on val than the recipe as written, at the smallest cost"
    accuracy = accuracies[0]
    best = max(candidates, key=lambda row: row["measured"][accuracy])
    reason = "none has as much as the recipe as written" if costs and written else "the only thing to choose by"
    return best["number"], f"{kept}the highest {accuracy} on val ({reason})"


def markdown(found: Mapping[str, Any]) -> str:
    """The document as a table of every trial, the best first."""
    from edgekd.report_format import settings

    columns = ["auc", "accuracy", "tflite_bytes", "gzip_bytes", "p50_ms"]
    accuracy = next(name for name in found["objectives"] if name in ACCURACIES)
    lines = [
        f"# Search: {found['recipe']}",
        "",
        _summary(found),
        "",
        "| trial | state | " + " | ".join(columns) + " | Pareto | what it changes |",
        "|---|---|" + "---:|" * len(columns) + "---|---|",
    ]
    if found["as_written"]:
        figures = found["as_written"][study.MEASURED]
        lines.append(_line("as written", "complete", figures, columns, "", "nothing"))
    ordered = sorted(found["trials"], key=lambda row: -(row["measured"] or {accuracy: -1.0})[accuracy])
    for row in ordered:
        name = f"**{row['number']}**" if row["number"] == found["chosen"] else str(row["number"])
        what = settings(row["changes"]) + (f" ({row['problem']})" if row["problem"] else "")
        lines.append(_line(name, row["state"], row["measured"], columns, "yes" if row["pareto"] else "", what))
    return "\n".join(lines) + "\n"


def _summary(found: Mapping[str, Any]) -> str:
    counts: dict[str, int] = {}
    for row in found["trials"]:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    shown = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"
    chosen = "Nothing is chosen" if found["chosen"] is None else f"Trial {found['chosen']} is chosen"
    return (
        f"Trials: {shown}; sampler {found['sampler']}. Figures are on val, latency is this machine's; test was not "
        f"looked at. {chosen}: {found['why']}."
    )


def _line(
    name: str, state: str, figures: Mapping[str, Any] | None, columns: Sequence[str], front: str, what: str
) -> str:
    cells = ["–" if figures is None else _cell(column, figures[column]) for column in columns]
    return f"| {name} | {state} | " + " | ".join(cells) + f" | {front} | {what} |".replace("\n", " ")


def _cell(column: str, value: float) -> str:
    return f"{value:,.0f}" if column.endswith("bytes") else f"{value:.4f}"
