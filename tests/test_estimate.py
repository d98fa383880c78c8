from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgekd import pace_child, recipe, workload
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.data import Probe
from edgekd.errors import ModelError
from edgekd.estimate import estimate
from edgekd.options import to_table
from edgekd.pipeline import Plan

PROBE = Probe(1000, 300, 200, 28, 2, "0" * 64, "binary")


def plan(*cached: str, **changes: Any) -> Plan:
    settings = {
        **{"data.path": "x", "data.image_size": 32, "num_threads": 1, "prune.method": "none"},
        **{"teacher.training.epochs": 3, "distill.training.epochs": 10, "distill.num_views": 4},
        **{"teacher.training.batch_size": 100, "distill.training.batch_size": 100},
    }
    names = ("data", "teacher", "teacher_logits", "distill", "quantize", "report")
    made = recipe.load("default", settings | changes)
    return Plan(made, PROBE, tuple((name, True if name in cached else None) for name in names))


def remember(root: Path, name: str, like: Mapping[str, Any], units: float, seconds: float, **more: Any) -> None:
    """Put the record of an earlier stage into a cache."""
    origin = {"work": {"like": like, "units": units}, "host": workload.this_host(), "peak_rss_bytes": 10**9, **more}

    def make(out_dir: Path, work: Path) -> Artifact:
        return Artifact.seal(out_dir, {})

    artifact, _ = Cache(root).run(name, make, {"n": seconds, "u": units, "more": str(more)}, lambda made: origin)
    path = artifact.path.parent / "origin.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": seconds, **more}))


def never(request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise AssertionError("nothing was to be measured")


def test_a_stage_takes_as_long_as_the_median_of_like_work_by_its_units(tmp_path: Path) -> None:
    planned = plan("data", "teacher", "teacher_logits")
    counts = workload.Counts(1000, 300, 200)
    like = workload.workloads(planned.recipe, counts)["distill"].like
    # Rates of 1, 2 and 9 milliseconds; 10 epochs of 1,000 images and a third of 300 are 11,000: 22 seconds.
    for units, seconds in ((1000, 1.0), (2000, 4.0), (1000, 9.0)):
        remember(tmp_path, "distill", like, units, seconds)
    found = estimate(planned, tmp_path, ask=never)
    stages = {stage.name: stage for stage in found.stages}
    assert stages["distill"].seconds == pytest.approx(22.0)
    assert stages["distill"].basis == "3 earlier runs here"
    assert (stages["teacher"].seconds, stages["teacher"].basis) == (0.0, "cached")
    assert (stages["quantize"].seconds, stages["quantize"].basis) == (None, "not measured here yet")
    assert found.unknown == ["quantize", "report"]
    assert found.seconds == pytest.approx(22.0)
    assert (found.peak_rss_bytes, found.memory_basis) == (10**9, "earlier builds here")


@pytest.mark.parametrize(
    "why", [{"host": {"cpu": "another", "cores": 2}}, {"resumed": True}, {"work": {"like": {}, "units": 1}}]
)
def test_what_tells_nothing_is_passed_over(tmp_path: Path, why: dict[str, Any]) -> None:
    planned = plan("data", "teacher", "teacher_logits")
    like = workload.workloads(planned.recipe, workload.Counts(1000, 300, 200))["distill"].like
    remember(tmp_path, "distill", like, 1000, 1.0, **why)
    found = estimate(planned, tmp_path, take_steps=False)
    assert found.unknown == ["distill", "quantize", "report"]
    assert found.peak_rss_bytes is None


def test_networks_without_a_record_are_measured_once(tmp_path: Path) -> None:
    asked: list[Mapping[str, Any]] = []

    def ask(request: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(request)
        row = {"train_seconds": 0.01, "run_seconds": 0.002, "start_seconds": 5.0, "num_params": 400_000, "macs": 7}
        return {
            "networks": {
                one["name"]: {**row, "peak_rss_bytes": 2**30 * (index + 1)}
                for index, one in enumerate(request["networks"])
            }
        }

    found = estimate(plan("data", **{"data.image_size": 64}), tmp_path, ask=ask)
    (request,) = asked
    assert [(one["name"], one["kind"], one["model"]) for one in request["networks"]] == [
        ("teacher", "teacher", "resnet_small"),
        ("student", "student", "mobilenet_v2"),
    ]
    assert (request["image_size"], request["num_classes"], request["num_threads"]) == (64, 2, 1)
    stages = {stage.name: stage.seconds for stage in found.stages}
    # 3 epochs of 1,000 + 100 images at 10 ms, and 5 s to start; 4 views of 1,000 at 2 ms; 10 epochs.
    assert stages["teacher"] == pytest.approx(38.0)
    assert stages["teacher_logits"] == pytest.approx(8.0)
    assert stages["distill"] == pytest.approx(115.0)
    assert found.peak_rss_bytes == 2 * 2**30
    assert found.student == {"num_params": 400_000, "macs": 7, "int8_bytes": 400_000}
    assert found.data_bytes == 1500 * 64 * 64 * 3
    assert found.logits_bytes == 2 * 1000 * 4 * 2  # two bytes, images, views, classes


def test_a_measurement_that_fails_leaves_the_figure_unknown_and_says_why(tmp_path: Path) -> None:
    def fail(request: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ModelError("out of memory")

    found = estimate(plan(), tmp_path, ask=fail)
    assert {stage.basis for stage in found.stages} == {"out of memory"}
    assert found.seconds == 0


def test_the_child_takes_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    monkeypatch.setattr(pace_child, "SECONDS", 0.0)
    made = recipe.load("default", {"data.path": "x", "distill.training.batch_size": 4})
    request = {
        "networks": [
            {
                "name": "student",
                "kind": "student",
                "model": "ds_cnn",
                "seen_size": 0,
                "width_multiplier": 0.25,
                "training": to_table(made.distill.training),
                "views": to_table(made.distill.views),
            }
        ],
        **{"image_size": 16, "num_classes": 3, "task": "multi-class", "num_threads": 1},
    }
    figures = pace_child.pace(request)["networks"]["student"]
    # 16 channels: a stem of 3x3x3 on 8x8, four blocks of 3x3 and 16x16, a head of 16x3.
    assert figures["macs"] == 64 * 27 * 16 + 4 * 64 * (9 * 16 + 16 * 16) + 16 * 3
    assert min(figures[name] for name in ("train_seconds", "run_seconds", "start_seconds")) > 0
    assert figures["peak_rss_bytes"] > 2**28  # TensorFlow alone
