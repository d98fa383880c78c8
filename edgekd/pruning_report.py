"""What pruning brought, in figures and in one sentence, and which encodings of the shipped file were tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

UNPRUNED = "distilled_int8"
"""The INT8 file of the student before pruning, made and measured for this comparison alone."""

_SMALLER = 0.99

Row = Mapping[str, Any]


def gain(shipped: Row, models: Sequence[Row], ratios: Sequence[Row]) -> dict[str, Any] | None:
    """Compare the shipped file with that of the student before pruning; None where there is none.

    Args:
        shipped: its row among the models.
        models: rows with ``id``, ``tflite_bytes``, ``gzip_bytes``.
        ratios: of the benchmark: ``{"model", "baseline", "ratio", "ci95", "verdict"}``.

    Returns:
        ``{"model", "baseline", "tflite_bytes", "gzip_bytes", "latency", "text"}``: of the bytes the quotients, of
        latency the entry among ``ratios`` (paired, round by round) or None.
    """
    before = next((row for row in models if row["id"] == UNPRUNED), None)
    if before is None:
        return None
    pair = {"model": shipped["id"], "baseline": UNPRUNED}
    latency = next((row for row in ratios if {name: row[name] for name in pair} == pair), None)
    quotients = {name: shipped[name] / before[name] for name in ("tflite_bytes", "gzip_bytes")}
    won: dict[str, bool] = {
        "raw bytes": quotients["tflite_bytes"] < _SMALLER,
        "gzip bytes": quotients["gzip_bytes"] < _SMALLER,
    }
    if latency is not None:
        won["latency"] = latency["ci95"] is not None and latency["verdict"] == "faster"
    clauses = [
        _bytes("raw", shipped["tflite_bytes"], before["tflite_bytes"], quotients["tflite_bytes"]),
        _bytes("gzip", shipped["gzip_bytes"], before["gzip_bytes"], quotients["gzip_bytes"]),
        _latency(latency),
    ]
    text = f"{shipped['id']} against {UNPRUNED}, the same student before pruning: {'; '.join(clauses)}. {_verdict(won)}"
    return {**pair, **quotients, "latency": latency, "text": text}


def channel_pruning(pruned: Row | None) -> dict[str, Any] | None:
    """What the removal of channels left, and what it did to val; None where no channels were removed."""
    if pruned is None or "channels" not in pruned:
        return None
    names = ("criterion", "macs", "num_params", "channels", "val_before", "val_after_surgery", "val")
    return {**{name: pruned[name] for name in names}, "rounds": len(pruned["rounds"])}


def weight_pruning(config: Row, pruned: Row | None, models: Sequence[Row]) -> dict[str, Any] | None:
    """Zeros asked for and reached by layer, and the encodings of the shipped file; None without pruned weights.

    Args:
        config: the recipe's table ``prune``.
        pruned: facts of the prune stage, if there was one.
        models: facts of the stages that wrote models.
    """
    if pruned is None or "layers" not in pruned:
        return None
    return {
        "schedule": config["schedule"],
        "pattern": config["pattern"],
        "layers": pruned["layers"],
        "encoding": next((facts["encoding"] for facts in models if facts.get("encoding")), None),
    }


def encoding_candidates(shipped_id: str, encoding: Row | None) -> list[dict[str, Any]]:
    """The encoding of the shipped file that was tried and is not shipped, with its sizes and the reason."""
    if encoding is None:
        return []
    other = "dense" if encoding["shipped"] == "sparse" else "sparse"
    return [{"model": f"{shipped_id}_{other}", "reason": encoding["reason"], **(encoding[other] or {})}]


def shown(document: Row) -> dict[str, Any]:
    """What the templates say of pruned weights: the encoding, whether it is sparse, and the layers left dense."""
    zeros = document.get("weight_pruning")
    if zeros is None:
        return {"encoding": None, "sparse": False, "dense_layers": []}
    encoding = zeros["encoding"]
    return {
        "encoding": encoding,
        "sparse": encoding is not None and encoding["shipped"] == "sparse",
        "dense_layers": [name for name, layer in zeros["layers"].items() if not layer["target"]],
    }


def _bytes(kind: str, after: int, before: int, quotient: float) -> str:
    counts = f"{after:,} against {before:,}"
    return (
        f"{kind} bytes {quotient:.1%} of it ({counts})" if quotient < _SMALLER else f"{kind} bytes no less ({counts})"
    )


def _latency(ratio: Row | None) -> str:
    if ratio is None:
        return "latency not measured"
    if ratio["ci95"] is None:
        return f"p50 {ratio['ratio']:.2f} times, in one process, which says nothing of others"
    low, high = ratio["ci95"]
    return f"p50 {ratio['ratio']:.2f} times (95 % interval {low:.2f} to {high:.2f}: {ratio['verdict']})"


def _verdict(won: Mapping[str, bool]) -> str:
    gained = [name for name, better in won.items() if better]
    if not gained:
        return "Pruning bought nothing here."
    missed = [name for name, better in won.items() if not better]
    return f"Pruning bought {_join(gained)}" + (f", and nothing in {_join(missed)}." if missed else ".")


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
