"""What an architecture search found: every candidate, the finalists as they were measured, and the one to build."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.config.blocks import Blocks
from edgekd.config.budget import Budget
from edgekd.nas.candidates import Judged, overshoot, rank
from edgekd.search.result import pareto
from edgekd.supernet.space import Space

OBJECTIVES = ("auc", "tflite_bytes", "p50_ms")
COLUMNS = ("depths", "kernels", "expansions", "channels")


def candidate_rows(judged: Mapping[Blocks, Judged], budget: Budget) -> list[dict[str, Any]]:
    """Every candidate, in the order in which it was first judged; ``place`` 1 is the highest rank."""
    order = sorted(judged, key=lambda blocks: rank(judged[blocks], budget), reverse=True)
    place = {blocks: number for number, blocks in enumerate(order, start=1)}
    return [
        {
            "place": place[blocks],
            "blocks": {name: list(getattr(blocks, name)) for name in COLUMNS},
            "predicted": dict(found.predicted),
            "within_budget": not overshoot(found.predicted, budget),
            "val": found.val and dict(found.val),
        }
        for blocks, found in judged.items()
    ]


def document(
    *,
    name: str,
    space: Space,
    budget: Budget,
    judged: Mapping[Blocks, Judged],
    finalists: Sequence[Mapping[str, Any]],
    supernet: Mapping[str, Any],
    table: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that was found, as JSON.

    Returns:
        ``recipe``, ``space`` (what each stage may be, ``size``), ``supernet`` (val of its largest and smallest),
        ``latency_table`` (its forms, and whole networks measured and predicted), ``candidates`` (see
        :func:`candidate_rows`), ``finalists`` (rows as of :func:`edgekd.search.result.document`), and ``chosen``, the
        number of one of them or None, with ``why``.
    """
    rows = [dict(row) for row in finalists]
    for row, front in zip(rows, pareto([row["measured"] for row in rows], OBJECTIVES), strict=True):
        row["pareto"] = front
    chosen, why = choose(rows)
    return {
        "recipe": name,
        "space": {"stages": [stage._asdict() for stage in space.stages], "size": space.size},
        "budget": {key: value for key, value in dataclasses.asdict(budget).items() if value},
        "supernet": dict(supernet["val"]),
        "latency_table": {key: table[key] for key in ("forms", "less", "rest", "networks")},
        "candidates": candidate_rows(judged, budget),
        "finalists": rows,
        "chosen": chosen,
        "why": why,
    }


def choose(rows: Sequence[Mapping[str, Any]]) -> tuple[int | None, str]:
    """The finalist to build, by a rule that is fixed beforehand, and the rule in words.

    Of those that keep the budget as measured (of all, where none does) the one of the highest AUC on val; between
    equals the fewer bytes.
    """
    complete = [row for row in rows if row["measured"]]
    if not complete:
        return None, "no finalist was measured"
    held = [row for row in complete if row["held"]]
    best = max(held or complete, key=lambda row: (row["measured"]["auc"], -row["measured"]["tflite_bytes"]))
    words = "the highest AUC on val of the finalists that keep the budget"
    return best["number"], words if held else "none keeps the budget; of all finalists, the highest AUC on val"


def summary(found: Mapping[str, Any]) -> str:
    """What was chosen, and the finalists as a table."""
    val, judged = found["supernet"], [row for row in found["candidates"] if row["val"]]
    chosen = "Nothing is chosen" if found["chosen"] is None else f"Finalist {found['chosen']} is chosen"
    lines = [
        f"# Architecture search: {found['recipe']}",
        "",
        f"{len(found['candidates']):,} candidates of {found['space']['size']:,} networks, {len(judged):,} of them "
        f"within the predicted cost and judged with the supernet's weights (AUC on val: largest "
        f"{val['largest']['auc']:.4f}, smallest {val['smallest']['auc']:.4f}). Latency is this machine's; test was not "
        f"looked at. {chosen}: {found['why']}.",
        "",
        "| finalist | AUC | accuracy | bytes | p50, ms | budget | Pareto | network |",
        "|---|---:|---:|---:|---:|---|---|---|",
    ]
    for row in found["finalists"]:
        name = f"**{row['number']}**" if row["number"] == found["chosen"] else str(row["number"])
        lines.append(f"| {name} | {_measured(row)} | {_network(row['network'])} |")
    return "\n".join(lines) + "\n"


def markdown(found: Mapping[str, Any]) -> str:
    """The summary, and a table of every candidate, the best first."""
    lines = [
        summary(found),
        "Predicted cost, and val with the supernet's weights before any training of their own:",
        "",
        "| place | AUC | bytes | p50, ms | budget | network |",
        "|---:|---:|---:|---:|---|---|",
    ]
    for row in sorted(found["candidates"], key=lambda row: row["place"]):
        cost, kept = row["predicted"], "kept" if row["within_budget"] else "missed"
        auc = f"{row['val']['auc']:.4f}" if row["val"] else "–"
        lines.append(
            f"| {row['place']} | {auc} | {cost['tflite_bytes']:,.0f} | {cost['p50_ms']:.4f} | {kept} | "
            f"{_network(row['blocks'])} |"
        )
    return "\n".join(lines) + "\n"


def _measured(row: Mapping[str, Any]) -> str:
    figures = row["measured"]
    if not figures:
        return f"– | – | – | – | {row['problem']} | "
    kept, front = "kept" if row["held"] else "missed", "yes" if row["pareto"] else ""
    return (
        f"{figures['auc']:.4f} | {figures['accuracy']:.4f} | {figures['tflite_bytes']:,} | {figures['p50_ms']:.4f} | "
        f"{kept} | {front}"
    )


def _network(blocks: Mapping[str, Sequence[int]]) -> str:
    """``2x16 k3 e4`` for two blocks of 16 channels, kernel 3, expansion 4; a stage that is left out is a dash."""
    stages = zip(*(blocks[name] for name in COLUMNS), strict=True)
    return " / ".join(
        f"{depth}x{channels} k{kernel} e{expansion}" if depth else "–" for depth, kernel, expansion, channels in stages
    )
