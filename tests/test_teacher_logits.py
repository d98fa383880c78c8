"""The teacher's logits by several workers, some of which are killed: the same bytes as by one."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekd import recipe
from edgekd.cache import Cache
from edgekd.errors import UserError
from edgekd.logits_store import Part
from edgekd.teacher_logits import parse_part, teacher_logits

TINY = {
    "name": "tiny",
    "num_threads": 1,
    "data": {"name": "synthetic_cells", "image_size": 32, "num_calibration_samples": 16},
    "teacher": {"model": "resnet_small", "width_multiplier": 0.25, "training": {"epochs": 1}},
    "distill": {"num_views": 4, "views": {"horizontal_flip": True}},
}


# In processes of their own: another test may have set TensorFlow to other threads here, and a worker is one anyway.
WORK = """
import json, sys
from pathlib import Path
from edgekd import pipeline, recipe
from edgekd.cache import Cache
from edgekd.logits_store import Part
from edgekd.teacher_logits import teacher_logits
tiny, cache = recipe.from_table(json.loads(sys.argv[1])), Cache(Path(sys.argv[2]))
print("ready", flush=True)
if sys.argv[3] == "digest":
    print(pipeline.artifacts(tiny, cache=cache, until="teacher_logits")[0]["teacher_logits"].digest)
elif sys.argv[3] == "teacher":
    pipeline.artifacts(tiny, cache=cache, until="teacher")
else:
    done = teacher_logits(tiny, Part(int(sys.argv[3]), int(sys.argv[4])), cache=cache)
    print(json.dumps([done.complete, done.num_finished, done.num_shards]))
"""


def command(cache: Path, *arguments: object) -> list[str]:
    return [sys.executable, "-c", WORK, json.dumps(TINY), str(cache), *map(str, arguments)]


def told(cache: Path, *arguments: object) -> str:
    """The last line that a process prints."""
    done = subprocess.run(command(cache, *arguments), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def teacher_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with data and teacher."""
    root = tmp_path_factory.mktemp("cache")
    told(root, "teacher")
    return root


@pytest.fixture(scope="module")
def alone(teacher_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the store that one process makes of all."""
    return told(copied(teacher_cache, tmp_path_factory.mktemp("alone") / "cache"), "digest")


def copied(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


def test_workers_in_any_order_make_the_store_of_one(teacher_cache: Path, alone: str, tmp_path: Path) -> None:
    shared = copied(teacher_cache, tmp_path / "shared")
    # 4 views of a shard each: worker 3 of 3 does one, worker 1 two; again, there is nothing to do.
    for index, done in ((2, [False, 1, 4]), (0, [False, 3, 4]), (0, [False, 3, 4]), (1, [True, 0, 0])):
        assert json.loads(told(shared, index, 3)) == done
    assert told(shared, "digest") == alone


@pytest.mark.slow
def test_killed_at_any_time_the_bytes_are_the_same(teacher_cache: Path, alone: str, tmp_path: Path) -> None:
    shared = copied(teacher_cache, tmp_path / "shared")
    generator = random.Random(0)
    for kill in range(6):
        with subprocess.Popen(command(shared, kill % 2, 2), stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            worker.stdout.readline()
            time.sleep(generator.uniform(0.5, 4.0))
            worker.send_signal(signal.SIGKILL)
    for index in range(2):
        told(shared, index, 2)
    assert told(shared, "digest") == alone


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="worker i of n is wanted"):
        parse_part(text)


def test_a_recipe_that_stores_no_logits(tmp_path: Path) -> None:
    live = recipe.from_table({**TINY, "distill": {"mode": "live"}})
    with pytest.raises(UserError, match="stores no logits"):
        teacher_logits(live, Part(0, 1), cache=Cache(tmp_path))
    assert parse_part("2/3") == Part(1, 3)
