"""A model held against a profile: operators, number types, bytes and memory, and what delegates will likely take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgekd._litert import schema
from edgekd.inspect import forecast
from edgekd.inspect.anatomy import computed
from edgekd.inspect.forecast import Judge, Objection
from edgekd.limits import REFUSED, limit
from edgekd.target import LITERT, Limits, Target
from edgekd.tflite.memory import live_bytes
from edgekd.tflite.view import Operator, View
from edgekd.units import format_bytes


@dataclass(frozen=True)
class Fit:
    """What was found.

    Attributes:
        limits: ``{"id", "limit", "measured", "held"}`` each.
        reasons: why a limit does not hold, with the remedy; empty where all hold.
        forecasts: of each delegate of the profile, as :func:`edgekd.inspect.forecast.of_delegate` gives it.
    """

    limits: tuple[Mapping[str, Any], ...]
    reasons: tuple[str, ...]
    forecasts: tuple[Mapping[str, Any], ...]


def hold(
    profile: Target, view: View, tflite_bytes: int, *, arena_bytes: int | None = None, p50_ms: float | None = None
) -> Fit:
    """Hold a model against a profile.

    Args:
        profile: the target.
        view: the model.
        tflite_bytes: size of its file.
        arena_bytes: memory that its tensors were seen to need on the target's runtime; None: reckoned from the file
            (:func:`edgekd.tflite.memory.live_bytes`).
        p50_ms: its median latency on the target; None: not timed, and not held against the profile.
    """
    rows, reasons = [], []
    tensors = live_bytes(view) if arena_bytes is None else arena_bytes
    said = "live at once (reckoned from the file)" if arena_bytes is None else "of arena"
    smaller = "remove channels (prune.keep_macs), or take a smaller image or student"
    both = f"{_size(tflite_bytes)} of file and {_size(tensors)} {said}"
    for name, measured, text, remedy in (
        ("max_tflite_bytes", tflite_bytes, f"the file has {_size(tflite_bytes)}", f"{smaller}, or INT8"),
        ("max_memory_bytes", tflite_bytes + tensors, both, smaller),
        ("max_arena_bytes", tensors, f"{_size(tensors)} {said}", "take a smaller image, or fewer channels"),
    ):
        allowed = getattr(profile.limits, name)
        if allowed is None:
            continue
        rows.append(limit(name, allowed, measured, at_most=True))
        if measured > allowed:
            reasons.append(f"{text}; {_size(allowed)} are there ({name}); {remedy}")
    slowest = profile.limits.max_p50_ms
    if slowest is not None and p50_ms is not None:
        rows.append(limit("max_p50_ms", slowest, p50_ms, at_most=True))
        if p50_ms > slowest:
            reasons.append(f"a p50 of {p50_ms:.4g} ms; {slowest:g} ms are there (max_p50_ms); {smaller}")
    rows.append(limit(REFUSED, 0, len(refused(profile, view)), at_most=True))
    reasons += [f"{found.text}; {found.remedy}" for found in forecast.grouped(view, _judge(profile))]
    return Fit(tuple(rows), tuple(reasons), tuple(forecast.of_delegate(name, view) for name in profile.forecasts))


def refused(profile: Target, view: View) -> list[Operator]:
    """The operators that the target's runtime, or its profile, does not take."""
    judge = _judge(profile)
    return [operator for operator in view.operators if judge(view, operator) is not None]


def _size(count: int) -> str:
    return f"{count:,} bytes ({format_bytes(count)})"


def _judge(profile: Target) -> Judge:
    """The first thing that the target has against an operator: its runtime's view, then the profile's own lists."""
    runtime = litert if profile.runtime == LITERT else forecast.tflite_micro

    def judge(view: View, operator: Operator) -> Objection | None:
        own = _of_lists(profile.limits, view, operator)
        return runtime(view, operator) or next(own, None)

    return judge


def litert(view: View, operator: Operator) -> Objection | None:
    """Why LiteRT by itself will not run an operator: a custom or TensorFlow one, of which it has no kernel."""
    if isinstance(getattr(schema().BuiltinOperator, operator.name, None), int):
        return None
    return Objection("no built-in operator of LiteRT", "convert with built-in operators alone")


def _of_lists(limits: Limits, view: View, operator: Operator) -> Iterator[Objection]:
    if limits.operators and operator.name not in limits.operators:
        yield Objection("not among limits.operators of the profile", "build the model of other layers")
    flowing = {view.tensors[index].dtype for index in computed(view, operator)}
    if limits.types and (wrong := sorted(flowing - set(limits.types))):
        yield Objection(
            f"{', '.join(wrong)}; limits.types of the profile has {', '.join(limits.types)}",
            "convert to full INT8 with int8 input and output (quantize.variants: int8_io)",
        )
