"""What a build will take on this machine: minutes, memory, bytes. Estimates, each with what it rests on.

Seconds of a stage are a rate times its units (:mod:`edgekd.workload`). The rate is the median of those of like work
that this machine has done and the cache remembers; else a few steps of the network are taken now. Where neither is to
be had the figure is None, and is called unknown.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgekd import apart, cache_upkeep, workload
from edgekd.artifact import read_json
from edgekd.config.teacher import Teacher
from edgekd.errors import ModelError, UserError
from edgekd.options import to_table
from edgekd.pipeline import Plan
from edgekd.run_folder import LOG_FILE
from edgekd.workload import Counts, Workload

logger = logging.getLogger("edgekd")

Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From the request of :func:`edgekd.pace_child.pace` to its answer."""


@dataclass(frozen=True)
class StageEstimate:
    """One stage.

    Attributes:
        name: of the stage.
        cached: as in :class:`edgekd.pipeline.Plan`.
        seconds: 0 where cached; None where unknown.
        basis: what the seconds rest on.
    """

    name: str
    cached: bool | None
    seconds: float | None
    basis: str


@dataclass(frozen=True)
class Estimate:
    """A whole build.

    Attributes:
        stages: in their order.
        peak_rss_bytes: of this process while it trains; None where unknown.
        memory_basis: what that rests on.
        student: ``num_params`` and ``macs`` before pruning, and ``int8_bytes`` at one byte a weight; empty where no
            network was built.
        data_bytes: of the prepared images in the cache.
        logits_bytes: of the teacher's stored logits there.
        busy: whether steps were taken while other programs kept the processor busy, so that they took longer.
    """

    stages: tuple[StageEstimate, ...]
    peak_rss_bytes: int | None
    memory_basis: str
    student: Mapping[str, int | None]
    data_bytes: int
    logits_bytes: int
    busy: bool

    @property
    def seconds(self) -> float:
        """Sum of what is known."""
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def unknown(self) -> list[str]:
        """Stages whose seconds are not known."""
        return [stage.name for stage in self.stages if stage.seconds is None]


@dataclass(frozen=True)
class _Rates:
    """What earlier builds on this machine took for like work: seconds a unit, and the peak of memory."""

    seconds: Mapping[str, Sequence[float]]
    peaks: Mapping[str, Sequence[int]]


def estimate(
    plan: Plan, cache_root: Path, *, earlier: Path | None = None, take_steps: bool = True, ask: Ask | None = None
) -> Estimate:
    """Estimate a build.

    Args:
        plan: of :func:`edgekd.pipeline.plan`.
        cache_root: whose records are read.
        earlier: a run folder of the same recipe, for the stages that are never cached.
        take_steps: train a few steps of the networks that no record is of.
        ask: takes the steps; a child process by default.
    """
    counts = Counts(plan.probe.num_train, plan.probe.num_val, plan.probe.num_test)
    work = workload.workloads(plan.recipe, counts)
    rates = _rates(cache_root)
    pending = [name for name, cached in plan.stages if not cached]
    unmeasured = {name: work[name] for name in pending if name in work and work[name].key not in rates.seconds}
    pace: Mapping[str, Any] = {}
    problem, busy = "", _is_busy()
    if take_steps and any(one.network for one in unmeasured.values()):
        try:
            pace = _pace(plan, unmeasured, ask or _ask)
        except ModelError as error:
            problem = str(error)
    stages = []
    before = {} if earlier is None else _of_run(earlier, plan)
    for name, cached in plan.stages:
        if cached:
            stages.append(StageEstimate(name, cached, 0.0, "cached"))
            continue
        seconds, basis = _seconds(work.get(name), rates, pace)
        if seconds is None and name in before:
            seconds, basis = before[name], f"the run in {earlier}"
        stages.append(StageEstimate(name, cached, seconds, basis or problem or "not measured here yet"))
    peaks = [peak for name in pending if name in work for peak in rates.peaks.get(work[name].key, ())]
    measured = [int(row["peak_rss_bytes"]) for row in pace.values()]
    size, num_classes = plan.recipe.data.image_size, plan.probe.num_classes
    return Estimate(
        tuple(stages),
        max([*peaks, *measured], default=None),
        "earlier builds here" if peaks else "a few steps of training",
        _student(pace.get("student")),
        (counts.train + counts.val + counts.test) * size * size * 3,
        # float16 for each view, image and class
        2 * counts.train * plan.recipe.distill.num_views * num_classes if "teacher_logits" in dict(plan.stages) else 0,
        bool(pace) and busy,
    )


def _rates(cache_root: Path) -> _Rates:
    seconds: dict[str, list[float]] = {}
    peaks: dict[str, list[int]] = {}
    try:
        found = cache_upkeep.entries(cache_root)
    except UserError:  # no cache yet
        found = []
    here = workload.this_host()
    for entry in found:
        origin = entry.origin
        work = origin.get("work")
        if not work or origin.get("host") != here or origin.get("resumed") or not work["units"]:
            continue
        key = Workload(work["like"], work["units"]).key
        seconds.setdefault(key, []).append(origin["seconds"] / work["units"])
        peaks.setdefault(key, []).append(origin["peak_rss_bytes"])
    return _Rates(seconds, peaks)


def _of_run(folder: Path, plan: Plan) -> dict[str, float]:
    """Seconds of the stages that an earlier run of like size on this machine did not take from the cache."""
    try:
        report = read_json(folder / "report.json")
        here = {name: report["host"][name] for name in ("cpu", "cores")} == workload.this_host()
        names = ("benchmark", "quantize")
        same = all(report["recipe"][name] == to_table(getattr(plan.recipe, name)) for name in names)
        lines = (folder / LOG_FILE).read_text(encoding="utf-8").splitlines() if here and same else []
        done = [row for row in map(json.loads, lines) if row["event"] == "stage finished"]
        return {row["name"]: row["seconds"] for row in done if not row["cached"]}
    except (OSError, ValueError, KeyError, TypeError):  # no run, or one of another version
        return {}


def _seconds(work: Workload | None, rates: _Rates, pace: Mapping[str, Any]) -> tuple[float | None, str]:
    if work is None:
        return None, ""
    if known := rates.seconds.get(work.key):
        return median(known) * work.units, f"{len(known)} earlier run{'s' if len(known) > 1 else ''} here"
    if work.network == "teachers":
        rows = [row for name, row in pace.items() if name != "student"]
        if rows:
            return sum(row["run_seconds"] for row in rows) * work.units, "the teacher run on a few images now"
    elif work.network in pace:
        row = pace[work.network]
        more = "; these cost more" if "way" in work.like else ""
        return row["start_seconds"] + row["train_seconds"] * work.units, f"a few steps of training now{more}"
    return None, ""


def _is_busy() -> bool:
    """Whether as many programs are at work as there are cores, this one not counted."""
    import psutil

    return bool(psutil.getloadavg()[0] >= (psutil.cpu_count() or 1))


def _pace(plan: Plan, wanted: Mapping[str, Workload], ask: Ask) -> dict[str, Any]:
    """Figures by the name of each network; those that cost the same are measured once."""
    names = {work.network for work in wanted.values()}
    rows, same = [], {}
    for name, one, alike in workload.distinct(plan.recipe):
        if names.isdisjoint(alike) and not ("teachers" in names and isinstance(one, Teacher)):
            continue
        same[name] = alike
        teacher = isinstance(one, Teacher)
        rows.append(
            {
                "name": name,
                "kind": "teacher" if teacher else "student",
                "model": one.model if isinstance(one, Teacher) else one.student,
                "seen_size": one.image_size if isinstance(one, Teacher) else 0,
                "width_multiplier": one.width_multiplier,
                "training": to_table(one.training),
                "views": to_table(one.views),
            }
        )
    if not rows:
        return {}
    request = {
        "networks": rows,
        "image_size": plan.recipe.data.image_size,
        "num_classes": plan.probe.num_classes,
        "task": plan.probe.task,
        "num_threads": plan.recipe.num_threads,
    }
    answer = ask(request)["networks"]
    return {other: figures for name, figures in answer.items() for other in same[name]}


def _ask(request: Mapping[str, Any]) -> dict[str, Any]:
    names = ", ".join(row["model"] for row in request["networks"])
    logger.info(f"taking a few steps of training to estimate the time: {names}")
    return apart.ask("pace", request, "the training speed", module="edgekd.pace_child")


def _student(row: Mapping[str, Any] | None) -> dict[str, int | None]:
    if row is None:
        return {}
    return {"num_params": row["num_params"], "macs": row["macs"], "int8_bytes": row["num_params"]}
