from __future__ import annotations

import json
from typing import Any

import pytest

from edgekd import recipe
from edgekd.workload import Counts, Workload, distinct, origin, workloads

COUNTS = Counts(1000, 300, 200)


def of(**changes: Any) -> dict[str, Any]:
    settings = {
        "data.path": "x",
        "data.image_size": 32,
        "num_threads": 2,
        "teacher.training.epochs": 3,
        "teacher.training.batch_size": 64,
        "distill.training.epochs": 10,
        "distill.training.batch_size": 100,
        "prune.training.epochs": 2,
        "prune.training.batch_size": 100,
    }
    return workloads(
        recipe.load("default", settings | {key.replace("__", "."): v for key, v in changes.items()}), COUNTS
    )


def test_training_counts_the_images_that_are_shown_and_a_third_of_those_on_which_it_is_judged() -> None:
    work = of()
    # 15 whole batches of 64; 10 of 100. Val is looked at after each epoch.
    assert work["teacher"].units == pytest.approx(3 * (15 * 64 + 300 / 3))
    assert work["distill"].units == pytest.approx(10 * (1000 + 100))
    assert work["prune"].units == pytest.approx(2 * (1000 + 100))
    assert work["teacher_logits"].units == 1000 * 8  # num_views of the default recipe
    assert work["data"].units == 1500
    assert of(teacher__frozen_epochs=2)["teacher"].units == pytest.approx(5 * 1060)


def test_what_changes_the_rate_makes_other_work_and_what_does_not_the_same() -> None:
    first = of()
    assert of(distill__training__epochs=40, seed=3)["distill"].key == first["distill"].key
    for changes in (
        {"distill__student": "resnet8"},
        {"distill__width_multiplier": 0.5},
        {"data__image_size": 64},
        {"distill__training__batch_size": 50},
        {"num_threads": 1},
        {"distill__views__max_rotation": 45},
        {"distill__mode": "live"},
    ):
        assert of(**changes)["distill"].key != first["distill"].key, changes
    assert first["student_alone"].key == first["distill"].key
    assert first["prune"].key != first["distill"].key
    assert of(prune__method="channel")["prune"].key != first["prune"].key


def test_every_network_of_an_ensemble_is_work_and_those_that_cost_the_same_are_measured_once() -> None:
    made = recipe.load("default", {"data.path": "x", "teacher.copies": 3, "num_threads": 2})
    work = workloads(made, COUNTS)
    names = [f"teacher.resnet_small_{number}" for number in (1, 2, 3)]
    assert set(names) <= set(work)
    assert len({work[name].key for name in names}) == 1
    assert [(name, alike) for name, _, alike in distinct(made)] == [
        ("resnet_small_1", ["resnet_small_1", "resnet_small_2", "resnet_small_3"]),
        ("student", ["student"]),
    ]


def test_a_teacher_that_is_a_file_is_not_trained() -> None:
    work = workloads(recipe.load("default", {"data.path": "x", "teacher.model": "x.onnx"}), COUNTS)
    assert "teacher" not in work
    assert "teacher_logits" not in work


def test_what_the_cache_remembers_tells_a_later_build() -> None:
    made = recipe.load("default", {"data.path": "x", "num_threads": 2})
    facts = {"num_train": 1000, "num_val": 300, "num_test": 200}
    found = origin(made, facts, "data")
    assert found == {"recipe": "default", "work": {"like": {"stage": "data"}, "units": 1500}}
    read = json.loads(json.dumps(origin(made, facts, "distill")))["work"]
    assert Workload(read["like"], read["units"]).key == workloads(made, COUNTS)["distill"].key
    assert origin(made, facts, "report") == {"recipe": "default"}
