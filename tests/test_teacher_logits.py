"""The teacher's logits by several workers, some of which are killed: the same bytes as by one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekd import pipeline, recipe
from edgekd.cache import Cache
from edgekd.errors import UserError
from edgekd.logits_store import Part
from edgekd.teacher_logits import Done, parse_part, teacher_logits

TINY = {
    "name": "tiny",
    "num_threads": 1,
    "data": {"name": "synthetic_cells", "image_size": 32, "num_calibration_samples": 16},
    "teacher": {"model": "resnet_small", "width_multiplier": 0.25, "training": {"epochs": 1}},
    "distill": {"num_views": 4, "views": {"horizontal_flip": True}},
}


def digest(cache: Cache) -> str:
    made, _ = pipeline.artifacts(recipe.from_table(TINY), cache=cache, until="teacher_logits")
    return made["teacher_logits"].digest


@pytest.fixture(scope="module")
def teacher_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with data and teacher."""
    root = tmp_path_factory.mktemp("cache")
    pipeline.artifacts(recipe.from_table(TINY), cache=Cache(root), until="teacher")
    return root


def copied(source: Path, target: Path) -> Cache:
    import shutil

    shutil.copytree(source, target)
    return Cache(target)


def test_workers_in_any_order_make_the_store_of_one(teacher_cache: Path, tmp_path: Path) -> None:
    alone = digest(copied(teacher_cache, tmp_path / "alone"))
    shared = copied(teacher_cache, tmp_path / "shared")
    tiny = recipe.from_table(TINY)
    # 4 views of a shard each: worker 3 of 3 does one, worker 1 two.
    assert teacher_logits(tiny, Part(2, 3), cache=shared) == Done(False, 1, 4)
    assert teacher_logits(tiny, Part(0, 3), cache=shared) == Done(False, 3, 4)
    assert teacher_logits(tiny, Part(0, 3), cache=shared) == Done(False, 3, 4)  # again: nothing to do
    assert teacher_logits(tiny, Part(1, 3), cache=shared) == Done(True)
    assert digest(shared) == alone
    assert teacher_logits(tiny, Part(2, 3), cache=shared) == Done(True)


@pytest.mark.slow
def test_killed_at_any_time_the_bytes_are_the_same(teacher_cache: Path, tmp_path: Path) -> None:
    alone = digest(copied(teacher_cache, tmp_path / "alone"))
    shared = copied(teacher_cache, tmp_path / "shared")
    code = (
        "import sys, json; from pathlib import Path; from edgekd import recipe; from edgekd.cache import Cache;"
        "from edgekd.logits_store import Part; from edgekd.teacher_logits import teacher_logits;"
        "print('ready', flush=True);"
        "teacher_logits(recipe.from_table(json.loads(sys.argv[1])), Part(int(sys.argv[3]), 2),"
        " cache=Cache(Path(sys.argv[2])))"
    )
    import json

    generator = random.Random(0)
    for kill in range(6):
        command = [sys.executable, "-c", code, json.dumps(TINY), str(shared.root), str(kill % 2)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ}) as worker:
            assert worker.stdout is not None
            worker.stdout.readline()
            time.sleep(generator.uniform(0.5, 4.0))
            worker.send_signal(signal.SIGKILL)
    for index in range(2):
        teacher_logits(recipe.from_table(TINY), Part(index, 2), cache=shared)
    assert digest(shared) == alone


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="worker i of n is wanted"):
        parse_part(text)


def test_a_recipe_that_stores_no_logits(tmp_path: Path) -> None:
    live = recipe.from_table({**TINY, "distill": {"mode": "live"}})
    with pytest.raises(UserError, match="stores no logits"):
        teacher_logits(live, Part(0, 1), cache=Cache(tmp_path))
    assert parse_part("2/3") == Part(1, 3)
