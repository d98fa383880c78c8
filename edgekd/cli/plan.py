"""What ``edgekd build --dry-run`` prints."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.report_format import plain

if TYPE_CHECKING:
    from edgekd.cluster import Cluster
    from edgekd.estimate import Estimate
    from edgekd.pipeline import Plan
    from edgekd.recipe import Recipe
    from edgekd.target import Limits

_STATES = {True: "cached", False: "to run", None: "to run"}


def print_plan(
    recipe: Recipe,
    cache_dir: Path | None,
    out: Path | None,
    until: str | None,
    *,
    measure: bool,
    as_json: bool,
    cluster: Cluster | None = None,
) -> None:
    """Say what a build would do and take; nothing is written.

    Args:
        recipe: as loaded.
        cache_dir: store of finished stages, or None for the user's.
        out: run folder, or None for the recipe's own; an earlier run there tells how long stages took.
        until: last stage.
        measure: take a few steps of the networks whose speed is not known here.
        as_json: print everything as JSON.
        cluster: who train together; that changes what is cached.
    """
    from edgekd.api import default_out

    planned, found = _planned(recipe, cache_dir, out or default_out(recipe), until, measure, cluster)
    if as_json:
        click.echo(json.dumps(_document(planned, found), indent=2))
        return
    for line in (_head(planned), *stage_lines(found), *summary_lines(found)):
        click.echo(line)
    if until is None:
        _print_ladder(recipe)


def print_plans(
    recipe: Recipe,
    targets: Sequence[str],
    cache_dir: Path | None,
    out: Path | None,
    *,
    measure: bool,
    as_json: bool,
) -> None:
    """Say what a build for several targets would do: the first in full, of the others what they do otherwise.

    Args:
        recipe: as loaded.
        targets: profiles by name or path.
        cache_dir, out, measure, as_json: as of :func:`print_plan`; ``out`` holds a run folder for each target.
    """
    from edgekd.api import default_out
    from edgekd.target import why_not_timed
    from edgekd.targets_build import recipes_for

    folder, recipes = out or default_out(recipe, several=True), recipes_for(recipe, targets)
    documents: dict[str, Any] = {}
    for number, (profile, for_it) in enumerate(recipes.items()):
        first = number == 0
        planned, found = _planned(for_it, cache_dir, folder / profile.name, None, measure and first)
        documents[profile.name] = _document(planned, found)
        if as_json:
            continue
        if first:
            for line in (_head(planned), *stage_lines(found), *summary_lines(found)):
                click.echo(line)
        held = ", ".join(f"{name} {plain(limit)}" for name, limit in _numbers(profile.limits)) or "none in numbers"
        click.echo(f"target {profile.name}: {profile.description}")
        click.echo(f"  into {folder / profile.name}; limits: {held}")
        if (reason := why_not_timed(profile)) is not None:
            click.echo(f"  not timed: {reason.partition(': ')[2]}")
        if not first:
            click.echo(f"  up to quantize as of {next(iter(recipes)).name}, from the cache; then")
            click.echo("\n".join(stage_lines(found, begin="quantize")))
        _print_ladder(for_it)
    if as_json:
        click.echo(json.dumps({"targets": documents}, indent=2))


def _numbers(limits: Limits) -> Iterator[tuple[str, float]]:
    yield from ((name, value) for name, value in asdict(limits).items() if isinstance(value, (int, float)))


def _planned(
    recipe: Recipe,
    cache_dir: Path | None,
    earlier: Path,
    until: str | None,
    measure: bool,
    cluster: Cluster | None = None,
) -> tuple[Plan, Estimate]:
    from edgekd.cache import Cache, default_root
    from edgekd.estimate import estimate
    from edgekd.pipeline import plan

    root = cache_dir or default_root()
    planned = plan(recipe, cache=Cache(root), until=until, cluster=cluster)
    return planned, estimate(planned, root, earlier=earlier, take_steps=measure)


def stage_lines(found: Estimate, begin: str = "data") -> Iterator[str]:
    """A line a stage, from ``begin`` on: its name, whether it is cached, how long it takes, what tells that."""
    for stage in itertools.dropwhile(lambda stage: stage.name != begin, found.stages):
        time = "" if stage.cached else f"  {_about(stage.seconds):>14}  ({stage.basis})"
        yield f"  {stage.name:18} {_STATES[stage.cached]}{time}"


def summary_lines(found: Estimate) -> Iterator[str]:
    """Time, memory and sizes of the whole build."""
    import psutil

    from edgekd.units import format_bytes, format_seconds

    if any(not stage.cached for stage in found.stages):
        known = f"about {format_seconds(found.seconds)}" if found.seconds or not found.unknown else "unknown"
        yield f"estimated time: {known}{', measured on a busy machine' if found.busy else ''}"
        if found.unknown:
            yield f"  not in it, as this machine has no figures of them yet: {', '.join(found.unknown)}"
        memory = "unknown" if found.peak_rss_bytes is None else f"about {format_bytes(found.peak_rss_bytes)}"
        basis = "" if found.peak_rss_bytes is None else f" ({found.memory_basis})"
        yield f"estimated peak memory: {memory}{basis}"
        free = int(psutil.virtual_memory().available)
        if found.peak_rss_bytes and found.peak_rss_bytes > free:
            yield f"  more than the {format_bytes(free)} that are available now; close other programs, or train smaller"
    stored = f"images {format_bytes(found.data_bytes)}"
    if found.logits_bytes:
        stored += f", the teacher's logits {format_bytes(found.logits_bytes)}"
    yield f"in the cache: {stored}"
    if found.student:
        student = found.student
        macs = "" if student["macs"] is None else f", {student['macs']:,} multiply-accumulates"
        params, size = student["num_params"], student["int8_bytes"]
        yield f"student before pruning: {params:,} parameters{macs}; about {format_bytes(size or 0)} as INT8"


def _about(seconds: float | None) -> str:
    from edgekd.units import format_seconds

    return "unknown" if seconds is None else f"~{format_seconds(seconds)}"


def _head(planned: Plan) -> str:
    from edgekd.ensemble import title

    r = planned.recipe
    return (
        f"recipe {r.name}: images of {r.data.image_size} pixels, teacher {title(r.teacher)}, "
        f"student {r.distill.student} {r.distill.width_multiplier:g}, seed {r.seed}, {r.num_threads} threads"
    )


def _document(planned: Plan, found: Estimate) -> dict[str, Any]:
    from edgekd.options import to_table

    return {
        "recipe": to_table(planned.recipe),
        "dataset": {
            f"num_{name}": getattr(planned.probe, f"num_{name}") for name in ("train", "val", "test", "classes")
        },
        "estimate": {**asdict(found), "seconds": found.seconds, "unknown": found.unknown},
    }


def _print_ladder(recipe: Recipe) -> None:
    from edgekd import ladder
    from edgekd.report_format import settings

    if not ladder.is_limited(recipe):
        return
    title = "budget" if recipe.budget.is_set else "limits of the target"
    click.echo(f"{title}: the chain above, and where that falls short on val others, until one holds")
    ways = {
        "accuracy or a recall falls short": (*ladder.QUANTIZATION, *ladder.LESS_PRUNING),
        "bytes, milliseconds or memory fall short": (*ladder.MORE_PRUNING, *ladder.QUANTIZATION),
    }
    for missed, rungs in ways.items():
        click.echo(f"  where {missed}:")
        for name in ladder.applicable(recipe, rungs):
            click.echo(f"    {name:16} {settings(ladder.changes(recipe, [name]))}")
