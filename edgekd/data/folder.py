"""Class folders: ``root/<class>/*.png``, or ``root/<split>/<class>/*.png``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import sha256_file
from edgekd.data.dataset import SPLITS
from edgekd.data.source import FileRef, Source, SourceSplit
from edgekd.errors import DataError
from edgekd.recipe import Data

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def load_folder(root: Path, config: Data) -> Source:
    """Read the layout of a folder of images; the pictures themselves are read later.

    With split folders, val or test that are missing are taken out of train; without, both are. A split is drawn
    per class from ``split_seed``, so that it is the same again. Hidden files, and links that lead out of the folder,
    are passed over.

    Raises:
        DataError: no images, one class, a class with too few images, a class that a split folder lacks.
    """
    folders = {SPLIT_NAMES[path.name.lower()]: path for path in _subfolders(root) if path.name.lower() in SPLIT_NAMES}
    found = (
        {split: _classes(path, root) for split, path in folders.items()}
        if "train" in folders
        else {"train": _classes(root, root)}
    )
    class_names = sorted(found["train"])
    if not class_names:
        raise DataError(f'"{root}" has no images; wanted: a folder per class with {", ".join(SUFFIXES)} files in it')
    if len(class_names) < 2:
        raise DataError(
            f'"{root}" has one class, "{class_names[0]}"; a folder for each of at least two classes is wanted'
        )
    for split, classes in found.items():
        odd = sorted(set(classes) ^ set(class_names))
        if odd:
            raise DataError(
                f'"{root}": class "{odd[0]}" is not in both train and {split}; every split needs every class'
            )
    splits = {split: _split(classes, class_names) for split, classes in found.items()}
    for split, fraction in (("test", config.test_fraction), ("val", config.val_fraction)):
        if split not in splits:
            splits["train"], splits[split] = _take_out(splits["train"], fraction, config.split_seed, class_names, root)
    return Source(
        root.resolve().name,
        tuple(class_names),
        {split: SourceSplit(*splits[split]) for split in SPLITS},
        _digest(splits),
        config.licence,
        config.source or "own data",
    )


_Labelled = tuple[Sequence[FileRef], NDArray[np.int64]]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def _classes(folder: Path, root: Path) -> dict[str, list[FileRef]]:
    """The images of each class folder; folders without images are no classes."""
    inside = root.resolve()
    found = {}
    for path in _subfolders(folder):
        files = [
            FileRef(file, file.relative_to(root).as_posix())
            for file in sorted(path.iterdir())
            if file.suffix.lower() in SUFFIXES
            and not file.name.startswith(".")
            and file.is_file()
            and file.resolve().is_relative_to(inside)
        ]
        if files:
            found[path.name] = files
    return found


def _split(classes: dict[str, list[FileRef]], class_names: Sequence[str]) -> _Labelled:
    files = [file for name in class_names for file in classes[name]]
    labels = [label for label, name in enumerate(class_names) for _ in classes[name]]
    return files, np.asarray(labels, np.int64)


def _take_out(
    split: _Labelled, fraction: float, seed: int, class_names: Sequence[str], root: Path
) -> tuple[_Labelled, _Labelled]:
    """Move a share of every class, at least one image, into a new split."""
    files, labels = split
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label, name in enumerate(class_names):
        members = np.flatnonzero(labels == label)
        count = max(1, round(fraction * len(members)))
        if count >= len(members):
            raise DataError(
                f'"{root}": class "{name}" has too few images for train, val and test; at least 3 are wanted'
            )
        chosen[generator.permutation(members)[:count]] = True

    def part(mask: NDArray[np.bool_]) -> _Labelled:
        return [file for file, kept in zip(files, mask, strict=True) if kept], labels[mask]

    return part(~chosen), part(chosen)


def _digest(splits: dict[str, _Labelled]) -> str:
    lines = [
        f"{split}\0{file.name}\0{label}\0{sha256_file(file.path)}\n"
        for split in SPLITS
        for file, label in zip(*splits[split], strict=True)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
