"""Two workers are one: the same losses, weights and answers within rounding, and the same bits on both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd import workers
from edgekd._keras import tf
from edgekd.artifact import Artifact
from edgekd.cluster import on_this_machine
from edgekd.workers import ALONE, bound

PROGRAMS = Path(__file__).with_name("worker_programs.py")


def run(program: str, count: int, folder: Path) -> list[dict[str, np.ndarray]]:
    """Run a program by so many workers; what each found."""
    addresses = ",".join(on_this_machine(count).addresses)
    commands = [[sys.executable, str(PROGRAMS), program, str(index), addresses, str(folder)] for index in range(count)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    errors = [process.communicate(timeout=280)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n".join(errors)
    found = []
    for index in range(count):
        with np.load(folder / f"{index}.npz") as archive:
            found.append({name: archive[name] for name in archive.files})
    return found


def test_alone_nothing_is_shared() -> None:
    assert ALONE.is_chief
    assert ALONE.from_chief(lambda: {"a": (1,)}) == {"a": (1,)}
    assert ALONE.own([1, 2]) == [1, 2]


def test_slices_are_whole_and_alike() -> None:
    # 65 images by 4 workers: 16, 16, 16 and 17.
    bounds = [bound(65, index, 4) for index in range(5)]
    assert bounds == [0, 16, 32, 48, 65]


def test_gradients_are_packed_from_the_last_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PACK", 10)
    sizes = [3, 4, 12, None, 2, 8, 1]
    gradients = [None if size is None else tf.zeros([size]) for size in sizes]
    # 1 + 8 leave room for one; 2 begins anew; 12 is too large for any and goes alone.
    assert workers._packs(gradients) == [[6, 5], [4], [2], [1, 0]]
    assert workers._packs([None]) == []


def test_alone_a_mean_and_what_everyone_has_are_the_own() -> None:
    gradients = [tf.constant([1.0, 2.0]), None]
    assert workers.mean(gradients) == gradients
    np.testing.assert_array_equal(workers.everyones(tf.constant([1.0, 2.0])), [[1.0, 2.0]])


def test_the_chief_is_heard(tmp_path: Path) -> None:
    first, second = run("told", 2, tmp_path)
    said = [{"worker": 0, "text": "ä", "pi": 3.141592653589793, "none": None}, []]
    assert json.loads(str(first["said"])) == json.loads(str(second["said"])) == said
    np.testing.assert_array_equal(first["variable"], [1.0, 2.0])
    np.testing.assert_array_equal(second["variable"], [1.0, 2.0])  # the chief's, where this one had 2 and 2
    np.testing.assert_array_equal(first["own"], [0, 1])
    np.testing.assert_array_equal(second["own"], [2, 3, 4])
    np.testing.assert_array_equal(second["deep"], [[4, 5], [6, 7], [8, 9]])


@pytest.mark.parametrize(
    "program",
    [
        "labels",
        pytest.param("packed", marks=pytest.mark.slow),
        pytest.param("relations", marks=pytest.mark.slow),
        pytest.param("live", marks=pytest.mark.slow),
        pytest.param("mutual", marks=pytest.mark.slow),
    ],
)
def test_two_workers_are_one(program: str, tiny_data: Artifact, tmp_path: Path) -> None:
    folders = {count: tmp_path / f"by{count}" for count in (1, 2)}
    for folder in folders.values():
        folder.mkdir()
        (folder / "prepared").symlink_to(tiny_data.path)
    (alone,) = run(program, 1, folders[1])
    first, second = run(program, 2, folders[2])
    assert len(alone["steps"]) == 12
    np.testing.assert_allclose(first["steps"], alone["steps"], rtol=0, atol=1e-5)
    for name, expected in alone.items():
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        if name == "history":
            val = [[row["val_loss"] for row in json.loads(str(found[name]))] for found in (alone, first)]
            np.testing.assert_allclose(val[1], val[0], rtol=0, atol=1e-5)
        elif name != "steps":
            np.testing.assert_allclose(first[name], expected, rtol=0, atol=1e-4, err_msg=name)
