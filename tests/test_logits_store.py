"""The store of the teacher's logits: bytes by hand, kills, workers, damage, and what it takes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd import _keras
from edgekd.artifact import Artifact, digest_folder
from edgekd.config.training import Views
from edgekd.data import Dataset
from edgekd.errors import DataError, ModelError
from edgekd.logits_store import INDEX_FILE, Layout, LogitsStore, Shard, collect, finished, write_shard
from edgekd.progress import Progress, Task
from edgekd.stages import teacher_logits as stage
from edgekd.views import render, view_parameters

LAYOUT = Layout(num_views=2, num_samples=5, num_classes=3, rows_per_shard=2)
LOGITS = np.random.default_rng(0).normal(0, 5, (2, 5, 3)).astype(np.float32)


def folders(path: Path) -> tuple[Path, Path]:
    work, folder = path / "work", path / "store"
    work.mkdir(parents=True)
    folder.mkdir()
    return work, folder


def written(path: Path) -> Path:
    work, folder = folders(path)
    for shard in LAYOUT.shards():
        write_shard(work, shard, LOGITS[shard.view, shard.start : shard.stop])
    collect(work, LAYOUT, folder)
    return folder


def test_shards_by_hand() -> None:
    assert [(shard.view, shard.start, shard.stop) for shard in LAYOUT.shards()] == [
        *((0, 0, 2), (0, 2, 4), (0, 4, 5)),
        *((1, 0, 2), (1, 2, 4), (1, 4, 5)),
    ]
    assert LAYOUT.shards()[4].name == "view_0001_rows_000000002.f16"
    assert LAYOUT.shards()[5].num_bytes == 1 * 3 * 2
    assert [len(Layout(1, rows, 2, 4).shards()) for rows in (3, 4, 5)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("num_samples", "num_classes", "rows"),
    [
        (48, 2, 8192),
        (16 * 8192, 2, 8192),
        (16 * 8192 + 1, 2, 8193),
        (1_000_000, 100, 62_500),
        (1_000_000, 1000, 8388),  # 2^24 / 2000 = 8388.6
        (100_000, 10**7, 1),
    ],
)
def test_how_a_store_is_cut(num_samples: int, num_classes: int, rows: int) -> None:
    assert Layout.cut(8, num_samples, num_classes) == Layout(8, num_samples, num_classes, rows)


def test_bytes_by_hand(tmp_path: Path) -> None:
    """IEEE 754 half precision: 1 is 3C00, -2 is C000, 0.5 is 3800, the largest number 7BFF; little end first."""
    shard = Shard(0, 0, 2, 2)
    write_shard(tmp_path, shard, np.array([[1.0, -2.0], [0.5, 65504.0]]))
    assert (tmp_path / shard.name).read_bytes() == bytes.fromhex("003c 00c0 0038 ff7b")
    assert [path.name for path in tmp_path.iterdir()] == [shard.name]


def test_it_gives_back_what_was_written(tmp_path: Path) -> None:
    folder = written(tmp_path)
    store = LogitsStore.open(folder)
    assert len(store) == 2
    for samples in ([0, 1, 2, 3, 4], [4, 0, 3], [2, 2], [3], []):
        for view in range(2):
            found = store[view, np.array(samples, np.int64)]
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, LOGITS[view][samples].astype(np.float16))
    index = json.loads((folder / INDEX_FILE).read_text())
    assert (index["shape"], index["dtype"], index["rows_per_shard"]) == ([2, 5, 3], "float16", 2)
    assert sorted(path.name for path in folder.iterdir()) == sorted([INDEX_FILE, *index["shards"]])


def test_half_precision_is_off_by_no_more_than_it_says(tmp_path: Path) -> None:
    values = np.linspace(8, 15.99, 3000, dtype=np.float32).reshape(1, 1000, 3)
    work, folder = folders(tmp_path)
    layout = Layout.cut(1, 1000, 3)
    write_shard(work, layout.shards()[0], values[0])
    collect(work, layout, folder)
    error = np.abs(LogitsStore.open(folder)[0, np.arange(1000)] - values[0])
    assert 0 < error.max() <= 1 / 256


def test_workers_may_do_any_shard_and_leave_the_same_bytes(tmp_path: Path) -> None:
    expected = digest_folder(written(tmp_path / "one"))
    work, folder = folders(tmp_path / "three")
    for worker in (2, 0, 1, 1):  # one is run twice
        for shard in LAYOUT.shards()[worker::3]:
            write_shard(work, shard, LOGITS[shard.view, shard.start : shard.stop])
    collect(work, LAYOUT, folder)
    assert digest_folder(folder) == expected


def test_without_hard_links_the_shards_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digest_folder(written(tmp_path / "linked"))

    def refuse(self: Path, target: Path) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert digest_folder(written(tmp_path / "copied")) == expected


def test_a_kill_while_writing_leaves_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = LAYOUT.shards()[0]

    def kill(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", kill)
    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path, shard, LOGITS[0, :2])
    assert not finished(tmp_path, shard)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, "nan"), (np.inf, "inf"), (-65505.0, "-65505"), (7e4, "70000")],
)
def test_logits_that_do_not_fit_are_refused(value: float, said: str, tmp_path: Path) -> None:
    logits = np.zeros((2, 3))
    logits[1, 2] = value
    with pytest.raises(ModelError, match=rf"class 2 of training image 3, view 1, is {said}; allowed: -65504 to 65504"):
        write_shard(tmp_path, LAYOUT.shards()[4], logits)
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"have shape \(2, 10\); 2 images of 3 classes want \(2, 3\)"):
        write_shard(tmp_path, LAYOUT.shards()[0], np.zeros((2, 10)))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    name = LAYOUT.shards()[3].name
    folder = written(tmp_path)
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{name}\" is missing .*build them again: finished shards are kept"):
        LogitsStore.open(folder)
    (tmp_path / "again").mkdir()
    (tmp_path / "work" / name).unlink()
    with pytest.raises(DataError, match=rf"{name}\" is missing"):
        collect(tmp_path / "work", LAYOUT, tmp_path / "again")
    assert not (tmp_path / "again" / INDEX_FILE).exists()


@pytest.mark.parametrize("change", ["flip", "cut", "empty"])
def test_a_damaged_shard_is_named(change: str, tmp_path: Path) -> None:
    folder = written(tmp_path)
    store = LogitsStore.open(folder)
    path = folder / LAYOUT.shards()[1].name
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.unlink()
    path.write_bytes({"flip": bytes(content), "cut": bytes(content[:5]), "empty": b""}[change])
    with pytest.raises(DataError, match=rf"{path.name}\" is damaged: .*; delete it and build .* again"):
        LogitsStore.open(folder)
    if change != "flip":  # after the store was opened its size is looked at, and no more
        with pytest.raises(DataError, match=rf"{path.name}\" is damaged"):
            store[0, np.array([2])]
    np.testing.assert_array_equal(store[0, np.array([0])], LOGITS[0, :1].astype(np.float16))


def test_a_shard_that_goes_away_is_named(tmp_path: Path) -> None:
    store = LogitsStore.open(written(tmp_path))
    (store.folder / LAYOUT.shards()[0].name).unlink()
    with pytest.raises(DataError, match="is missing"):
        store[0, np.array([1])]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"shape": [2, 5], "rows_per_shard": 2}', '{"shape": [1, 1, 1], "rows_per_shard": 0}'),
        '{"shape": [1, 1, 1], "rows_per_shard": "2", "dtype": "float16", "shards": {}}',
        '{"shape": [0, 1, 1], "rows_per_shard": 1, "dtype": "float32", "shards": {}}',
    ],
)
def test_an_index_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX_FILE).write_text(text)
    with pytest.raises(DataError, match=r"index.json\" is no index of logits \(.+\); build the teacher's logits again"):
        LogitsStore.open(tmp_path)


def test_no_store_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no index of logits"):
        LogitsStore.open(tmp_path / "nowhere")


@pytest.mark.parametrize("key", [(2, [0]), (-1, [0]), (0, [5]), (0, [1, -1])])
def test_views_and_samples_that_are_not_there(key: tuple[int, list[int]], tmp_path: Path) -> None:
    store = LogitsStore.open(written(tmp_path))
    with pytest.raises(IndexError):
        store[key[0], np.array(key[1])]


# The stage


def run_stage(data: Artifact, teacher: Artifact, work: Path, out: Path, progress: Progress | None = None) -> Artifact:
    work.mkdir(exist_ok=True, parents=True)
    out.mkdir(parents=True)
    options = {"num_views": 2, "seed": 3, "work": work, "progress": progress or Progress()}
    return stage.teacher_logits(data, teacher, Views(max_shift=0.1), out, **options)


@pytest.fixture
def teacher(tmp_path: Path) -> Artifact:
    _keras.reset(1)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    x = layers.Conv2D(4, 3, strides=4, name="conv")(layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels))
    logits = layers.Dense(2, name="logits")(layers.Flatten(name="flat")(x))
    _keras.save_model(_keras.tf_keras.Model(pixels, logits, name="teacher"), tmp_path / "teacher" / "model")
    return Artifact.seal(tmp_path / "teacher", {})


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """48 training images a view in three shards of 20, 20 and 8 rows."""
    monkeypatch.setattr(Layout, "cut", lambda *shape: Layout(*shape, rows_per_shard=20))


class KillingProgress(Progress, Task):
    """Ends the stage after so many images, as a kill would."""

    def __init__(self, left: int):
        self.left = left
        self.skipped = 0

    def task(self, title: str, total: int, unit: str = "images"):
        return contextlib.nullcontext(self)

    def advance(self, count: int, **figures: float) -> None:
        self.left -= count
        if self.left < 0:
            raise KeyboardInterrupt

    def skip(self, count: int) -> None:
        self.skipped += count


@pytest.mark.usefixtures("small_shards")
def test_the_stage_stores_what_the_teacher_says_of_each_view(
    tiny_data: Artifact, teacher: Artifact, tmp_path: Path
) -> None:
    made = run_stage(tiny_data, teacher, tmp_path / "work", tmp_path / "out")
    store = LogitsStore.open(made.path)
    model, images = _keras.load_model(teacher.path / "model"), Dataset.open(tiny_data).train.images
    samples = np.array([0, 19, 20, 47])
    for view in range(2):
        drawn = view_parameters(Views(max_shift=0.1), 3, samples, view, 16)
        pixels = render(images[samples], drawn.transforms, drawn.contrast, drawn.brightness)
        np.testing.assert_allclose(store[view, samples], model(pixels).numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("small_shards")
def test_killed_again_and_again_it_gives_the_same_bytes(tiny_data: Artifact, teacher: Artifact, tmp_path: Path) -> None:
    unbroken = run_stage(tiny_data, teacher, tmp_path / "unbroken", tmp_path / "expected")
    work, kept = tmp_path / "work", []
    for kill in range(5):
        progress = KillingProgress(left=20)  # one shard more each time, then a kill within the next
        with pytest.raises(KeyboardInterrupt):
            run_stage(tiny_data, teacher, work, tmp_path / f"out{kill}", progress)
        kept.append(progress.skipped)
    assert kept == [0, 20, 40, 48 + 0, 48 + 20]
    assert run_stage(tiny_data, teacher, work, tmp_path / "out").digest == unbroken.digest


# What it takes


def test_small_benchmark_holds_and_is_far_below_the_size_of_the_store() -> None:
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, str(root / "benchmarks" / "logits_store.py"), "--num-samples", "50000"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    payload = 8 * 50_000 * 100 * 2
    assert figures["held"]
    assert payload <= figures["disk_bytes"] < 1.001 * payload
    # Standing maps would count 80 MB here.
    assert max(figures["memory_bytes_writing"], figures["memory_bytes_reading"]) < payload / 2
    assert figures["num_batches_read"] == 8 * 391
