"""How much there is to do in each stage of a build: the figures that its seconds grow with.

A stage's seconds are about ``rate * units``, where the rate is one of *like* work: the same network on images of the
same size, on as many threads. What was measured of one build so tells of another with more images or epochs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgekd import ensemble, host
from edgekd.artifact import canonical_json
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.config.training import Training
from edgekd.recipe import Recipe

FORWARD = 1 / 3
"""A pass over an image without learning, against a step of training on it: backpropagation costs twice the pass
(Kaplan et al. 2020, "Scaling laws for neural language models", section 2.1)."""


@dataclass(frozen=True)
class Counts:
    """Images of each split."""

    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Workload:
    """The work of a stage.

    Attributes:
        like: what a rate holds for; plain values.
        units: how much of it there is.
        network: what is trained, by its name in :func:`networks`; ``teachers`` where these are run; else empty.
    """

    like: Mapping[str, Any]
    units: float
    network: str = ""

    @property
    def key(self) -> str:
        """Equal for like work."""
        return canonical_json(dict(self.like))


def origin(recipe: Recipe, facts: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """What the cache remembers of a stage, so that later builds can tell from its seconds.

    Args:
        recipe: as resolved.
        facts: of the prepared data.
        stage: its name.
    """
    counts = Counts(*(facts[f"num_{split}"] for split in ("train", "val", "test")))
    work = workloads(recipe, counts).get(stage)
    return {"recipe": recipe.name, **({"work": {"like": dict(work.like), "units": work.units}} if work else {})}


def this_host() -> dict[str, Any]:
    """What seconds hold for: a cache may be shared by several machines."""
    found = host.host()
    return {"cpu": found["cpu"], "cores": found["cores"]}


def workloads(recipe: Recipe, counts: Counts) -> dict[str, Workload]:
    """The work of every stage that such figures are known for, by the stage's name.

    Training counts the images shown, and a third for each of val's in every epoch.

    Args:
        recipe: as resolved: sizes, epochs and threads are set.
        counts: images.
    """
    d = recipe.distill
    teachers = {name: one for name, one in ensemble.networks(recipe.teacher, recipe.seed).items() if not one.is_file}
    student = _like_student(recipe)
    views = asdict(d.views)
    found = {"data": Workload({"stage": "data"}, counts.train + counts.val + counts.test)}
    for name, one in teachers.items():
        epochs = one.training.epochs + one.frozen_epochs
        shown = _shown(one.training, counts, epochs)
        found[f"teacher.{name}" if name else "teacher"] = Workload(_like_teacher(recipe, one), shown, name or "teacher")
    if teachers:
        run = [_like_teacher(recipe, one) for one in teachers.values()]
        found["teacher_logits"] = Workload(
            {"stage": "teacher_logits", "teachers": run, "views": views}, counts.train * d.num_views, "teachers"
        )
    learns = {"training": student, "views": views}
    shown = _shown(d.training, counts, d.training.epochs + d.finetune_epochs)
    alone = Workload({**learns, "mode": "stored"}, shown, "student")
    found["student_alone"] = alone
    beside = d.mode in ("live", "mutual")
    with_teachers = {"mode": d.mode, "teacher": [_like_teacher(recipe, one) for one in teachers.values()]}
    found["distill"] = Workload({**learns, **with_teachers}, shown, "") if beside else alone
    for stage, table, way in (
        ("prune", recipe.prune.training, recipe.prune.method),
        ("qat", recipe.quantize.training, "qat"),
    ):
        found[stage] = Workload({**learns, "way": way}, _shown(table, counts, table.epochs), "student")
    found |= _after_training(recipe, counts, student)
    return found


def networks(recipe: Recipe) -> dict[str, Teacher | Distill]:
    """The networks that are trained, by the names that workloads have for them."""
    found: dict[str, Teacher | Distill] = {
        name or "teacher": one
        for name, one in ensemble.networks(recipe.teacher, recipe.seed).items()
        if not one.is_file
    }
    return {**found, "student": recipe.distill}


def distinct(recipe: Recipe) -> Iterator[tuple[str, Teacher | Distill, list[str]]]:
    """The networks that differ in what they cost, each with the names of all that cost the same."""
    groups: dict[str, tuple[str, Teacher | Distill, list[str]]] = {}
    for name, one in networks(recipe).items():
        like = _like_teacher(recipe, one) if isinstance(one, Teacher) else _like_student(recipe)
        groups.setdefault(repr(like), (name, one, []))[2].append(name)
    yield from groups.values()


def _after_training(recipe: Recipe, counts: Counts, student: Mapping[str, Any]) -> dict[str, Workload]:
    q, b = recipe.quantize, recipe.benchmark
    size = {key: student[key] for key in ("network", "width", "image_size")}
    like = {"stage": "quantize", **size, "samples": recipe.data.num_calibration_samples, "mixed": q.mixed}
    found = {
        name: Workload(like, count)
        for name, count in (
            ("quantize", len(q.variants)),
            ("quantize.distilled", 2),
            ("quantize.pruned", 1),
        )
    }
    found["verify"] = Workload({"stage": "verify", **size, "variants": list(q.variants)}, counts.val + counts.test)
    timed = {"stage": "benchmark", **size, "variants": list(q.variants), "runs": b.num_runs + b.warmup_runs}
    found["benchmark"] = Workload({**timed, "target": b.target}, b.num_processes)
    return found


def _shown(training: Training, counts: Counts, epochs: int) -> float:
    steps = max(1, counts.train // training.batch_size)
    return epochs * (steps * training.batch_size + FORWARD * counts.val)


def _like_teacher(recipe: Recipe, teacher: Teacher) -> dict[str, Any]:
    return {
        "network": teacher.model,
        "width": teacher.width_multiplier,
        "image_size": recipe.data.image_size,
        "seen_size": teacher.image_size,
        "batch_size": teacher.training.batch_size,
        "views": asdict(teacher.views),
        "num_threads": recipe.num_threads,
    }


def _like_student(recipe: Recipe) -> dict[str, Any]:
    return {
        "network": recipe.distill.student,
        "width": recipe.distill.width_multiplier,
        "image_size": recipe.data.image_size,
        "batch_size": recipe.distill.training.batch_size,
        "num_threads": recipe.num_threads,
    }
