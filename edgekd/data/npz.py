"""NPZ files in MedMNIST layout: ``{train,val,test}_images`` and ``{train,val,test}_labels``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import sha256_file
from edgekd.config.data import Data
from edgekd.data import medmnist
from edgekd.data.dataset import SPLITS
from edgekd.data.source import Source, SourceSplit
from edgekd.errors import DataError

MAX_BYTES = 16 * 2**30


def load_npz(path: Path, name: str, config: Data) -> Source:
    """Read an NPZ file; nothing is unpickled.

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
    arrays = _read(path, title)
    entry = medmnist.TABLE.get(name)
    labels = {split: _labels(arrays[f"{split}_labels"], f"{split}_labels", title) for split in SPLITS}
    several = labels["train"].ndim == 2
    if entry is not None and several != (entry.task == "multi-label"):
        raise DataError(f"{title}: train_labels have shape {labels['train'].shape}; {name} is {entry.task}")
    num_classes = len(entry.class_names) if entry else _num_classes(labels, title)
    splits = {}
    for split in SPLITS:
        images = _images(arrays[f"{split}_images"], f"{split}_images", title)
        if len(images) != len(labels[split]):
            raise DataError(f"{title}: {split} has {len(images)} images and {len(labels[split])} labels")
        largest = 1 if several else num_classes - 1
        if labels[split].min() < 0 or labels[split].max() > largest:
            raise DataError(
                f"{title}: {split}_labels go from {labels[split].min()} to {labels[split].max()}; "
                f"with {num_classes} {'labels an image' if several else 'classes'} 0 to {largest} are allowed"
            )
        wanted = (len(labels[split]), num_classes) if several else (len(labels[split]),)
        if labels[split].shape != wanted:
            raise DataError(f"{title}: {split}_labels have shape {labels[split].shape}; {wanted} is wanted")
        splits[split] = SourceSplit(images, labels[split])
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


def _read(path: Path, title: str) -> dict[str, NDArray[Any]]:
    wanted = [f"{split}_{part}" for split in SPLITS for part in ("images", "labels")]
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MAX_BYTES:
            raise DataError(
                f"{title} unpacks to {size / 2**30:.0f} GiB, more than {MAX_BYTES // 2**30}; use a class folder"
            )
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                raise DataError(f"{title} lacks {', '.join(missing)}; it holds {', '.join(archive.files) or 'nothing'}")
            return {name: archive[name] for name in wanted}
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise whatever the broken bytes lead them to
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "pickle" in reason:
            reason = "object arrays are pickles, which are never read"
        raise DataError(f"{title} cannot be read as NPZ: {reason}") from None


def _images(array: NDArray[Any], name: str, title: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[3:] not in ((), (1,), (3,)):
        raise DataError(
            f"{title}: {name} is {array.dtype} with shape {array.shape}; "
            "uint8 with shape (n, h, w) or (n, h, w, 3) is wanted"
        )
    if 0 in array.shape:
        raise DataError(f"{title}: {name} is empty, shape {array.shape}")
    return array[..., 0] if array.shape[3:] == (1,) else array


def _labels(array: NDArray[Any], name: str, title: str) -> NDArray[np.int64]:
    if not np.issubdtype(array.dtype, np.integer) or array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise DataError(
            f"{title}: {name} is {array.dtype} with shape {array.shape}; whole numbers with shape (n,) or (n, 1) are "
            "wanted, or 0 and 1 with shape (n, labels)"
        )
    if not len(array):
        raise DataError(f"{title}: {name} is empty")
    return (array.reshape(-1) if array.shape[1:] in ((), (1,)) else array).astype(np.int64)
