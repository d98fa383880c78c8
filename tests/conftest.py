"""What several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgekd.artifact import Artifact
from edgekd.config.data import Data


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and models beside the checkout, or where EDGEKD_SHARED_DATA says; absent ones skip the test."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("EDGEKD_SHARED_DATA", beside))
    if not path.is_dir():
        pytest.skip("real data is not there: ../shared/data, or name it with EDGEKD_SHARED_DATA")
    return path


def make_images(count: int, seed: int, side: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that anyone can tell apart: bright left half, bright right half; noise over both."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = generator.integers(0, 90, (count, side, side))
    images[labels == 0, :, : side // 2] += 120
    images[labels == 1, :, side // 2 :] += 120
    return images.astype(np.uint8), labels.astype(np.uint8)


@pytest.fixture
def make_npz(tmp_path: Path):
    """Write an NPZ file in MedMNIST layout; keyword arguments replace arrays, None leaves one out."""

    def write(name: str = "halves.npz", **changes: object) -> Path:
        arrays = {}
        for seed, (split, count) in enumerate({"train": 24, "val": 8, "test": 10}.items()):
            arrays[f"{split}_images"], arrays[f"{split}_labels"] = make_images(count, seed)
        arrays |= changes
        path = tmp_path / name
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return write


@pytest.fixture
def tiny_data(tmp_path: Path) -> Artifact:
    """A prepared data set of two classes: 48 / 16 / 20 images of 16 pixels."""
    from edgekd import data

    arrays = {}
    for seed, (split, count) in enumerate({"train": 48, "val": 16, "test": 20}.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make_images(count, seed)
    np.savez(tmp_path / "tiny.npz", **arrays)
    folder = tmp_path / "prepared"
    folder.mkdir()
    return data.prepare(Data(path=str(tmp_path / "tiny.npz"), image_size=16, num_calibration_samples=8), folder)


@pytest.fixture
def stored(tmp_path: Path):
    """Make a store of logits of shape ``(num_views, num_samples, K)``."""
    from edgekd.logits_store import Layout, LogitsStore, collect, write_shard

    def store(logits: np.ndarray) -> LogitsStore:
        folder = tmp_path / "logits"
        (folder / "work").mkdir(parents=True)
        layout = Layout.cut(*logits.shape)
        for shard in layout.shards():
            write_shard(folder / "work", shard, logits[shard.view, shard.start : shard.stop])
        (folder / "store").mkdir()
        collect(folder / "work", layout, folder / "store")
        return LogitsStore.open(folder / "store")

    return store


@pytest.fixture
def refusal_of(tmp_path: Path):
    """What a profile of one's own is refused with."""
    from edgekd import target
    from edgekd.errors import RecipeError

    def refused(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(f'description = "d"\n{text}\n', encoding="utf-8")
        with pytest.raises(RecipeError) as caught:
            target.load(str(path))
        return str(caught.value)

    return refused
