"""The two data sets that are neither downloaded from MedMNIST nor given by path."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.config.data import Data
from edgekd.data import synthetic_cells
from edgekd.data.synthetic_cells import CLASS_NAMES, draw_cell, load_synthetic_cells
from edgekd.errors import DataError

CELLS = Data(name="synthetic_cells")


def test_cells_say_that_they_are_synthetic() -> None:
    source = data.load_source(CELLS)
    assert "synthetic" in source.name
    assert "synthetic" in source.origin
    assert any("drawn, not photographed" in warning for warning in source.warnings)


def test_cells_have_balanced_classes_and_no_image_twice() -> None:
    source = load_synthetic_cells(CELLS)
    assert {name: np.bincount(split.labels).tolist() for name, split in source.splits.items()} == {
        "train": [600] * 4,
        "val": [100] * 4,
        "test": [200] * 4,
    }
    pictures = [image.tobytes() for split in source.splits.values() for image in split.pictures]
    assert len(set(pictures)) == len(pictures) == 3600
    assert len(pictures[0]) == 32 * 32 * 3


def test_cells_are_the_same_in_another_process() -> None:
    code = "from edgekd.data.synthetic_cells import draw_cell as d; print(d('neutrophil', (0, 3)).tobytes().hex())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert bytes.fromhex(other.stdout) == draw_cell("neutrophil", (0, 3)).tobytes()
    assert draw_cell("neutrophil", (0, 3)).tobytes() != draw_cell("neutrophil", (0, 7)).tobytes()


def test_cells_do_not_depend_on_the_last_bit_of_the_mathematics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine's sine may end on another bit; the pixels must not show it."""
    plain = [draw_cell(kind, (9, number)) for number, kind in enumerate(CLASS_NAMES * 5)]
    for name in ("sin", "cos", "sqrt"):
        function = getattr(np, name)
        monkeypatch.setattr(synthetic_cells.np, name, lambda x, function=function: np.nextafter(function(x), 2.0))
    for number, kind in enumerate(CLASS_NAMES * 5):
        np.testing.assert_array_equal(draw_cell(kind, (9, number)), plain[number])


def test_the_cells_are_told_apart_by_more_than_mean_colour() -> None:
    """A nearest-mean-colour rule is far from enough: shape and texture carry the classes."""
    source = load_synthetic_cells(CELLS)
    train, test = (
        (part.pictures.reshape(len(part.labels), -1, 3).mean(axis=1), part.labels)
        for part in (source.splits["train"], source.splits["test"])
    )
    means = np.stack([train[0][train[1] == label].mean(axis=0) for label in range(4)])
    guess = ((test[0][:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert 0.25 < (guess == test[1]).mean() < 0.7


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Images of the shape of CIFAR-100; each one's first pixel is its number."""
    from edgekd._keras import tf_keras

    def made_up(count: int) -> tuple[np.ndarray, np.ndarray]:
        images = np.zeros((count, 32, 32, 3), np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
        return images, (np.arange(count) % 100)[:, None].astype(np.int64)

    def load_data(label_mode: str) -> object:
        print("Downloading data")
        assert label_mode == "fine"
        return made_up(50_000), made_up(10_000)

    monkeypatch.setattr(tf_keras.datasets.cifar100, "load_data", load_data)
    return made_up(50_000)


def test_cifar100_takes_val_out_of_train_class_by_class(
    cifar: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    source = data.load_source(Data(name="cifar100"))
    assert {name: np.unique(np.bincount(split.labels)).tolist() for name, split in source.splits.items()} == {
        "train": [450],
        "val": [50],
        "test": [100],
    }
    for split in ("train", "val"):
        part = source.splits[split]
        low, high = part.pictures[:, 0, 0, :2].astype(int).T
        number = low + 256 * high
        np.testing.assert_array_equal(part.labels, number % 100)
    assert len(source.class_names) == 100
    assert (source.class_names[0], source.class_names[53], source.class_names[99]) == ("apple", "orange", "worm")
    assert any("not medical" in warning for warning in source.warnings)
    written = capsys.readouterr()
    assert written.out == ""
    assert "Downloading" in written.err


def test_cifar100_without_network_says_which_file_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekd._keras import tf_keras

    def load_data(label_mode: str) -> object:
        raise Exception("URL fetch failure\non https://somewhere")

    monkeypatch.setattr(tf_keras.datasets.cifar100, "load_data", load_data)
    with pytest.raises(
        DataError, match=r"put cifar-100-python\.tar\.gz into ~/\.keras/datasets/ \(URL fetch failure\)$"
    ):
        data.probe(Data(name="cifar100"))


def test_sets_are_fingerprinted_by_their_pixels(tmp_path: Path) -> None:
    source = load_synthetic_cells(CELLS)
    digest = hashlib.sha256()
    for split in ("train", "val", "test"):
        digest.update(source.splits[split].pictures.tobytes())
    assert data.probe(CELLS).fingerprint == digest.hexdigest()
