from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.artifact import Artifact
from edgekd.config.data import Data
from edgekd.data.prepare import calibration_indices
from edgekd.errors import DataError
from edgekd.preprocessing import preprocess
from edgekd.progress import Progress, Task

MakeNpz = Callable[..., Path]


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Artifact]:
    def run(path: Path, **config: object) -> Artifact:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        return data.prepare(Data(**{"path": str(path), "image_size": 16, "num_calibration_samples": 6, **config}), out)

    return run


def test_the_artifact_is_what_the_contract_says(make_npz: MakeNpz, prepare: Callable[..., Artifact]) -> None:
    path = make_npz("cells.npz")
    artifact = prepare(path, licence="CC0", source="ward 3")
    assert {file.name for file in artifact.path.iterdir()} == {
        *(f"{split}_{part}.npy" for split in ("train", "val", "test") for part in ("images", "labels")),
        *("calibration_indices.npy", "facts.json"),
    }
    indices = np.load(artifact.path / "calibration_indices.npy").tolist()
    sha256 = artifact.facts["sha256"]
    assert artifact.facts == {
        "name": "cells",
        "licence": "CC0",
        "source": "ward 3",
        "attribution": "",
        "public": False,
        "task": "binary",
        "class_names": ["class_0", "class_1"],
        "image_size": 16,
        "resize": "stretch",
        "sixteen_bit_max": 65535,
        "num_train": 24,
        "num_val": 8,
        "num_test": 10,
        "num_calibration": 6,
        "calibration_indices": indices,
        "sha256": sha256,
        "warnings": [],
        "unreadable": [],
        "leaks": {"max_duplicates": 0.02, "dropped": {}, "exact": [], "near": [], "conflicts": []},
    }
    with np.load(path) as arrays:
        dataset = data.Dataset.open(Artifact.open(artifact.path))
        for name in ("train", "val", "test"):
            split = getattr(dataset, name)
            assert isinstance(split.images, np.memmap)
            assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64)
            np.testing.assert_array_equal(split.labels, arrays[f"{name}_labels"])
            for source, image in zip(arrays[f"{name}_images"], split.images, strict=True):
                np.testing.assert_array_equal(preprocess(source, 16), image)
    assert (dataset.num_classes, dataset.image_size, dataset.class_names) == (2, 16, ["class_0", "class_1"])
    np.testing.assert_array_equal(dataset.calibration_images, dataset.train.images[indices])


def test_the_same_config_gives_the_same_bytes(make_npz: MakeNpz, prepare: Callable[..., Artifact]) -> None:
    path = make_npz()
    first, second, other = prepare(path), prepare(path), prepare(path, split_seed=1)
    assert first.digest == second.digest
    assert first.facts["calibration_indices"] != other.facts["calibration_indices"]


def test_resize_is_taken_from_the_config(make_npz: MakeNpz, prepare: Callable[..., Artifact]) -> None:
    wide = np.zeros((24, 16, 48), np.uint8)
    wide[:, :, 16:32] = 200
    path = make_npz(train_images=wide)
    images = data.Dataset.open(prepare(path, resize="center_crop")).train.images
    assert (np.asarray(images) == 200).all()


def test_calibration_takes_the_classes_in_turn() -> None:
    labels = np.array([0] * 90 + [1] * 8 + [2] * 2)
    indices = calibration_indices(labels, 20, seed=0)
    # In turn 0, 1, 2, 0, 1, 2, then 0, 1 alternately until 1 has none left, then 0 alone.
    assert np.bincount(labels[indices]).tolist() == [10, 8, 2]
    assert np.bincount(labels[calibration_indices(labels, 7, seed=0)]).tolist() == [3, 2, 2]
    assert indices.tolist() == sorted(set(indices.tolist()))
    assert calibration_indices(labels, 20, seed=0).tolist() == indices.tolist()
    assert calibration_indices(labels, 20, seed=1).tolist() != indices.tolist()
    assert calibration_indices(labels, 1000, seed=0).tolist() == list(range(100))


def test_too_few_for_calibration_is_a_warning(make_npz: MakeNpz, prepare: Callable[..., Artifact]) -> None:
    facts = prepare(make_npz(), num_calibration_samples=100).facts
    assert facts["num_calibration"] == 24
    assert facts["warnings"] == ["data.num_calibration_samples = 100: train has 24 images; all of them calibrate INT8"]


def test_progress_counts_every_picture(make_npz: MakeNpz, tmp_path: Path) -> None:
    seen = []

    class Recorder(Progress):
        @contextmanager
        def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
            class Count(Task):
                def advance(self, count: int, **figures: float) -> None:
                    seen.append(count)

            yield Count()
            seen.append((title, total))

    data.prepare(Data(path=str(make_npz()), image_size=16), tmp_path, progress=Recorder())
    assert seen[-1] == ("data", 42)
    assert sum(seen[:-1]) == 42


def test_unknown_names_and_paths_are_told(tmp_path: Path, make_npz: MakeNpz) -> None:
    with pytest.raises(DataError, match='unknown data set "pneumoniamist"; did you mean "pneumoniamnist"'):
        data.probe(Data(name="pneumoniamist"))
    with pytest.raises(DataError, match="unknown data set"):
        data.probe(Data(name="pneumoniamist", path=str(make_npz())))
    with pytest.raises(DataError, match=r'data.path = "nowhere": no such file or folder'):
        data.probe(Data(path="nowhere"))
    with pytest.raises(DataError, match="takes no path"):
        data.probe(Data(name="synthetic_cells", path=str(make_npz())))
    with pytest.raises(DataError, match=r"is no \.npz file; data set breastmnist is wanted as one"):
        data.probe(Data(name="breastmnist", path=str(tmp_path)))
    (tmp_path / "images.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=r"is an archive, and archives are not unpacked; unpack it"):
        data.probe(Data(path=str(tmp_path / "images.zip")))


def test_known_names() -> None:
    assert {"synthetic_cells", "cifar100", "pneumoniamnist", "chestmnist"} <= set(data.DATASETS)


def test_calibration_images_show_every_label_and_none_of_them() -> None:
    labels = np.zeros((200, 3), np.int64)
    labels[:2, 0], labels[1:5, 1], labels[100, 2] = 1, 1, 1  # rare, together in image 1, and once
    chosen = calibration_indices(labels, 20, 3)
    assert len(set(chosen)) == 20
    assert chosen.tolist() == sorted(chosen)
    assert {0, 1, 2, 3, 4, 100} <= set(chosen)
    np.testing.assert_array_equal(chosen, calibration_indices(labels, 20, 3))
    assert len(calibration_indices(labels, 500, 3)) == 200


def test_several_labels_are_prepared_as_they_are_and_each_split_needs_both(
    make_npz: MakeNpz, prepare: Callable[..., Artifact]
) -> None:
    def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
        counts = {"train": 24, "val": 8, "test": 10}
        return {f"{split}_labels": (np.arange(n)[:, None] >> np.arange(2)) % 2 for split, n in counts.items()} | changes

    prepared = data.Dataset.open(prepare(make_npz(**arrays())))
    assert (prepared.task.name, prepared.num_classes, prepared.train.labels.shape) == ("multi-label", 2, (24, 2))
    np.testing.assert_array_equal(prepared.val.targets(np.array([1, 2])), [[1, 0], [0, 1]])
    for value, having in ((0, "with"), (1, "without")):
        labels = arrays()["val_labels"]
        labels[:, 1] = value
        with pytest.raises(DataError, match=f'val has no image {having} label "label_1"'):
            prepare(make_npz(**arrays(val_labels=labels)))
