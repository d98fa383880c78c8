"""``edgekd build`` by several processes: the same bytes whoever is killed on the way, a message for what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgekd import pipeline, recipe
from edgekd.cache import Cache
from edgekd.cluster import Cluster, on_this_machine
from edgekd.errors import RecipeError

TINY = """
name = "tiny"
num_threads = 1
[data]
name = "synthetic_cells"
image_size = 32
num_calibration_samples = 16
[teacher]
model = "resnet_small"
width_multiplier = 0.25
training.epochs = 3
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def build(tiny: Path, cache: Path, *options: str, cluster: tuple[str, int] | None = None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    if cluster is not None:
        config = {"cluster": {"worker": cluster[0].split(",")}, "task": {"type": "worker", "index": cluster[1]}}
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, "-m", "edgekd", "build", str(tiny), "--until", "teacher", "--cache-dir", str(cache)]
    return subprocess.Popen(
        [*command, "--out", str(cache.parent / "out"), *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def digest(cache: Path) -> str:
    """Of the teacher that two workers trained, the only one in the cache."""
    (found,) = [path.parent for path in cache.glob("*/*/artifact/teacher_fp32.tflite")]
    return str(json.loads((found.parent / "digest.json").read_text())["digest"])


def helper_of(process: subprocess.Popen[str]) -> psutil.Process:
    (found,) = psutil.Process(process.pid).children()
    return found


def wait_for_checkpoint(cache: Path, process: subprocess.Popen[str], after: float = 0.0) -> None:
    for _ in range(1200):
        if any(path.stat().st_mtime > after for path in cache.glob("work/*/all/checkpoint.npz")):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("no checkpoint")


@pytest.mark.slow
def test_killed_workers_end_and_the_same_command_goes_on(tiny: Path, tmp_path: Path) -> None:
    unbroken = build(tiny, tmp_path / "unbroken", "--workers", "2")
    _, log = unbroken.communicate(timeout=280)
    assert unbroken.returncode == 0, log
    cache = tmp_path / "cache"

    helper_dies = build(tiny, cache, "--workers", "2")
    wait_for_checkpoint(cache, helper_dies)
    helper_of(helper_dies).send_signal(signal.SIGKILL)
    _, log = helper_dies.communicate(timeout=60)
    assert helper_dies.returncode == 1
    assert log.splitlines()[-1] == (
        "edgekd: worker 2: its process was ended by SIGKILL, so that the others end too. Finished stages and the last "
        "checkpoint are kept: the same command goes on from there"
    )

    started = time.time()
    chief_dies = build(tiny, cache, "--workers", "2")
    wait_for_checkpoint(cache, chief_dies, after=started)
    helper = helper_of(chief_dies)
    chief_dies.send_signal(signal.SIGKILL)
    assert psutil.wait_procs([helper], timeout=40)[1] == []  # nobody is left behind
    chief_dies.communicate()

    assert list(cache.glob("work/*/all/checkpoint.npz"))
    last = build(tiny, cache, "--workers", "2")
    _, log = last.communicate(timeout=280)
    assert last.returncode == 0, log
    assert digest(cache) == digest(tmp_path / "unbroken")


@pytest.mark.slow
def test_a_cluster_by_tf_config(tiny: Path, tmp_path: Path) -> None:
    addresses = ",".join(on_this_machine(2).addresses)
    chief, other = (build(tiny, tmp_path / "cache", cluster=(addresses, index)) for index in range(2))
    said = [process.communicate(timeout=280) for process in (chief, other)]
    assert (chief.returncode, other.returncode) == (0, 0), said
    assert "stopped after teacher" in said[0][0]
    assert said[1][0] == "worker 2: everything is trained; the chief writes the run folder\n"
    # Local workers are the same workers: what these trained is theirs.
    local = build(tiny, tmp_path / "cache", "--workers", "2")
    _, log = local.communicate(timeout=120)
    assert "teacher: cached" in log


@pytest.mark.slow
def test_the_survivor_of_a_cluster_says_who_has_gone(tiny: Path, tmp_path: Path) -> None:
    addresses = ",".join(on_this_machine(2).addresses)
    chief, other = (build(tiny, tmp_path / "cache", cluster=(addresses, index)) for index in range(2))
    wait_for_checkpoint(tmp_path / "cache", chief)
    chief.send_signal(signal.SIGKILL)
    _, log = other.communicate(timeout=60)
    chief.communicate()
    assert other.returncode == 1
    assert f"edgekd: worker 1 of 2 ({addresses.split(',')[0]}, the chief) has ended or cannot be reached" in log


def test_a_peer_that_does_not_come(tiny: Path, tmp_path: Path) -> None:
    addresses = ",".join(on_this_machine(2).addresses)
    for index, missing in ((0, "worker 2 of 2"), (1, "worker 1 of 2")):
        process = build(tiny, tmp_path / "cache", "--seconds-to-meet", "1", cluster=(addresses, index))
        _, log = process.communicate(timeout=120)
        assert process.returncode == 1
        assert log.splitlines()[-1].startswith(f"edgekd: {missing} ({addresses.split(',')[1 - index]}")
        assert "did not come within 1 seconds" in log


def test_wrong_ways_to_ask(tiny: Path, tmp_path: Path) -> None:
    both = build(tiny, tmp_path / "cache", "--workers", "2", cluster=("a:1,b:1", 0))
    assert "edgekd: --workers 2 starts local workers, and TF_CONFIG names a cluster of 2" in both.communicate()[1]
    assert both.returncode == 2
    outside = build(tiny, tmp_path / "cache", cluster=("a:1,b:1", 2))
    assert "edgekd: the environment's TF_CONFIG task.index = 2: 0 to 1" in outside.communicate()[1]
    assert outside.returncode == 2


def table(**changes: object) -> dict[str, object]:
    return {"name": "tiny", "data": {"name": "synthetic_cells", "image_size": 32}, **changes}


def test_what_several_cannot_build_is_refused_at_once(tmp_path: Path) -> None:
    cluster = Cluster(("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"), 0)
    cache = Cache(tmp_path)
    small = recipe.from_table(table(distill={"training": {"batch_size": 2}}))
    with pytest.raises(RecipeError, match=r"distill.training.batch_size = 2: at least 3"):
        pipeline.build(small, tmp_path / "out", cache=cache, cluster=cluster)
    bounded = recipe.from_table(table(budget={"max_tflite_bytes": 1000}))
    with pytest.raises(RecipeError, match=r"\[budget\] .* cannot be kept by 3 workers"):
        pipeline.build(bounded, tmp_path / "out", cache=cache, cluster=cluster)
    assert not (tmp_path / "out").exists()
