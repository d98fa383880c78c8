"""NPZ files in MedMNIST layout: ``{train,val,test}_images`` and ``{train,val,test}_labels``.

Images stay in the file until they are asked for, so that a set may be larger than memory.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import sha256_file
from edgekd.config.data import Data
from edgekd.data import archive, medmnist
from edgekd.data.archive import ArchivedImages
from edgekd.data.dataset import SPLITS
from edgekd.data.source import Images, Source, SourceSplit
from edgekd.errors import DataError
from edgekd.preprocessing import MAX_PIXELS

MAX_BYTES = 2**40
"""Of all arrays: what a small file that unpacks to more would do to the disk."""


def load_npz(path: Path, name: str, config: Data) -> Source:
    """Read the labels of an NPZ file, and look where its images are; nothing is unpickled.

    Args:
        path: of the file.
        name: of a MedMNIST set, whose class names, licence and official MD5 apply; or empty.
        config: licence and source of own data.

    Raises:
        DataError: no such file, arrays that are missing, empty or of another kind, labels that do not fit.
    """
    title = f'"{path}"'
    if not path.is_file():
        raise DataError(f"{title} is no .npz file; data set {name} is wanted as one" if name else f"{title} is no file")
    images, arrays = _read(path, title)
    entry = medmnist.TABLE.get(name)
    labels = {split: _labels(arrays[split], f"{split}_labels", title) for split in SPLITS}
    several = labels["train"].ndim == 2
    if entry is not None and several != (entry.task == "multi-label"):
        raise DataError(f"{title}: train_labels have shape {labels['train'].shape}; {name} is {entry.task}")
    num_classes = len(entry.class_names) if entry else _num_classes(labels, title)
    splits = {}
    for split in SPLITS:
        if len(images[split]) != len(labels[split]):
            raise DataError(f"{title}: {split} has {len(images[split])} images and {len(labels[split])} labels")
        largest = 1 if several else num_classes - 1
        if labels[split].min() < 0 or labels[split].max() > largest:
            raise DataError(
                f"{title}: {split}_labels go from {labels[split].min()} to {labels[split].max()}; "
                f"with {num_classes} {'labels an image' if several else 'classes'} 0 to {largest} are allowed"
            )
        wanted = (len(labels[split]), num_classes) if several else (len(labels[split]),)
        if labels[split].shape != wanted:
            raise DataError(f"{title}: {split}_labels have shape {labels[split].shape}; {wanted} is wanted")
        splits[split] = SourceSplit(images[split], labels[split])
    present = np.unique(splits["train"].labels)
    if not several and len(present) < num_classes:
        first = next((index for index, label in enumerate(present) if index != label), len(present))
        raise DataError(f"{title}: train has no image of class {first}, the labels are 0 to {num_classes - 1}")
    sha256 = sha256_file(path)
    if entry is None:
        class_names = tuple(f"{'label' if several else 'class'}_{index}" for index in range(num_classes))
        hint = "every image has exactly one label: for a multi-class task give class numbers of shape (n,)"
        alone = several and all(np.all(part.sum(axis=1) == 1) for part in labels.values())
        warnings = (hint,) if alone else ()
        return Source(
            path.stem, class_names, splits, sha256, config.licence, config.source or path.name, warnings=warnings
        )
    notes = []
    if medmnist.md5_file(path) != entry.md5:
        notes.append(f"{path.name} is not the official {name} file (its MD5 differs); figures are for these bytes")
    counts = tuple(len(splits[split].labels) for split in SPLITS)
    if counts != entry.counts:
        notes.append(f"{path.name} has {counts} images in train, val and test; {name} has {entry.counts}")
    return Source(
        name,
        entry.class_names,
        splits,
        sha256,
        entry.licence,
        f"MedMNIST v2, {medmnist.BASE_URL}{name}.npz",
        medmnist.ATTRIBUTION,
        public=True,
        warnings=tuple(notes),
        task=entry.task,
    )


def _num_classes(labels: dict[str, NDArray[np.int64]], title: str) -> int:
    """Of own data: the columns of 0/1 labels, or one more than the largest class number."""
    if labels["train"].ndim == 2:
        return int(labels["train"].shape[1])
    num_classes = int(max(part.max() for part in labels.values())) + 1
    if num_classes < 2:
        raise DataError(f"{title} has one class; at least two are wanted")
    return num_classes


def _read(path: Path, title: str) -> tuple[dict[str, Images], dict[str, NDArray[Any]]]:
    """Images and labels by split."""
    wanted = [f"{split}_{part}" for split in SPLITS for part in ("images", "labels")]
    with archive.reading(title), zipfile.ZipFile(path) as file:
        there = [name.removesuffix(".npy") for name in file.namelist()]
        missing = [name for name in wanted if name not in there]
        if missing:
            raise DataError(f"{title} lacks {', '.join(missing)}; it holds {', '.join(there) or 'nothing'}")
        size = sum(info.file_size for info in file.infolist())
        if size > MAX_BYTES:
            raise DataError(
                f"{title} unpacks to {size / 2**30:.0f} GiB, more than {MAX_BYTES // 2**30}; use a class folder"
            )
        labels = {split: archive.read_whole(file, f"{split}_labels") for split in SPLITS}
        return {split: _images(file, path, f"{split}_images", title) for split in SPLITS}, labels


def _images(file: zipfile.ZipFile, path: Path, name: str, title: str) -> Images:
    header = archive.read_header(file, name)
    shape, dtype = header.shape, header.dtype
    if dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
        raise DataError(
            f"{title}: {name} is {dtype} with shape {shape}; uint8 with shape (n, h, w) or (n, h, w, 3) is wanted"
        )
    if 0 in shape:
        raise DataError(f"{title}: {name} is empty, shape {shape}")
    if shape[1] * shape[2] > MAX_PIXELS:
        raise DataError(
            f"{title}: {name} has images of more than {MAX_PIXELS:,} pixels, shape {shape}; scale them down"
        )
    if header.fortran_order:
        array = archive.read_whole(file, name)
        return array[..., 0] if shape[3:] == (1,) else array
    return ArchivedImages(path, name, shape, np.arange(shape[0]))


def _labels(array: NDArray[Any], name: str, title: str) -> NDArray[np.int64]:
    if not np.issubdtype(array.dtype, np.integer) or array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise DataError(
            f"{title}: {name} is {array.dtype} with shape {array.shape}; whole numbers with shape (n,) or (n, 1) are "
            "wanted, or 0 and 1 with shape (n, labels)"
        )
    if not len(array):
        raise DataError(f"{title}: {name} is empty")
    return (array.reshape(-1) if array.shape[1:] in ((), (1,)) else array).astype(np.int64)
