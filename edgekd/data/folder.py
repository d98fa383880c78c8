"""Class folders: ``root/<class>/*.png``, or ``root/<split>/<class>/*.png``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import sha256_file
from edgekd.config.data import Data
from edgekd.data.dataset import SPLITS
from edgekd.data.source import FileRef, Source, SourceSplit
from edgekd.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def load_folder(root: Path, config: Data) -> Source:
    """Read the layout of a folder of images; the pictures themselves are read later.

    With split folders, val or test that are missing are taken out of train; without, both are. A split is drawn
    per class from ``split_seed``, so that it is the same again; its share is one of all images that are divided. Hidden
    files, and links that lead out of the folder, are passed over; what else is passed over is a warning.

    Raises:
        DataError: no images, one class, a class with too few images, a class that a split folder lacks, a folder that
            cannot be listed.
    """
    try:
        return _load(root, config)
    except OSError as error:
        raise DataError(f'"{error.filename or root}" cannot be read: {error.strerror or error}') from None


def _load(root: Path, config: Data) -> Source:
    warnings: list[str] = []
    folders = _split_folders(root)
    found = {split: _classes(path, root, warnings) for split, path in folders.items()}
    if folders != {"train": root}:
        unused = [path.name for path in _subfolders(root) if path not in folders.values()]
        if unused:
            warnings.append(f"passed over beside the split folders: {', '.join(unused)}")
    class_names = sorted(found["train"])
    if not class_names:
        raise DataError(f'"{root}" has no images; wanted: a folder per class with {", ".join(SUFFIXES)} files in it')
    if len(class_names) < 2:
        raise DataError(
            f'"{root}" has one class, "{class_names[0]}"; a folder for each of at least two classes is wanted'
        )
    for name in class_names:
        if not name.isprintable():
            raise DataError(f'"{root}": the class folder {name!r} has a name that cannot be printed; rename it')
    for split, classes in found.items():
        for name in sorted(set(classes) ^ set(class_names)):
            lacking = split if name in class_names else "train"
            raise DataError(f'"{root}": class "{name}" has no images in {lacking}; every split needs every class')
    splits = {split: _split(classes, class_names) for split, classes in found.items()}
    sizes = np.bincount(splits["train"][1])
    for split, fraction in (("test", config.test_fraction), ("val", config.val_fraction)):
        if split not in splits:
            counts = np.maximum(1, np.rint(fraction * sizes)).astype(int)
            splits["train"], splits[split] = _take_out(splits["train"], counts, config.split_seed, class_names, root)
    return Source(
        root.resolve().name,
        tuple(class_names),
        {split: SourceSplit(*splits[split]) for split in SPLITS},
        _digest(splits),
        config.licence,
        config.source or "own data",
        warnings=tuple(warnings),
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; all is train where there is no such folder."""
    folders: dict[str, Path] = {}
    for path in _subfolders(root):
        split = SPLIT_NAMES.get(path.name.lower())
        if split in folders:
            raise DataError(
                f'"{root}": "{folders[split].name}" and "{path.name}" both name the {split} split; keep one'
            )
        if split is not None:
            folders[split] = path
    return folders if "train" in folders else {"train": root}


_Labelled = tuple[Sequence[FileRef], NDArray[np.int64]]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def _classes(folder: Path, root: Path, warnings: list[str]) -> dict[str, list[FileRef]]:
    """The images of each class folder; folders without images are no classes."""
    inside = root.resolve()
    found = {}
    for path in _subfolders(folder):
        shown = path.relative_to(root).as_posix()
        entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith((".", "__"))]
        files = [entry for entry in entries if entry.is_file() and entry.resolve().is_relative_to(inside)]
        images = [file for file in files if file.suffix.lower() in SUFFIXES]
        if images:
            found[path.name] = [FileRef(file, file.relative_to(root).as_posix()) for file in images]
            others = sorted(set(entries) - set(images))
            if others:
                warnings.append(
                    f'"{shown}": {len(others)} entries are no images and were passed over: {others[0].name}, ...'
                )
        else:
            warnings.append(f'"{shown}" has no images and is no class')
    return found


def _split(classes: dict[str, list[FileRef]], class_names: Sequence[str]) -> _Labelled:
    files = [file for name in class_names for file in classes[name]]
    labels = [label for label, name in enumerate(class_names) for _ in classes[name]]
    return files, np.asarray(labels, np.int64)


def _take_out(
    split: _Labelled, counts: NDArray[np.int64], seed: int, class_names: Sequence[str], root: Path
) -> tuple[_Labelled, _Labelled]:
    """Move ``counts[label]`` images of every class into a new split."""
    files, labels = split
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label, name in enumerate(class_names):
        members = np.flatnonzero(labels == label)
        if counts[label] >= len(members):
            raise DataError(
                f'"{root}": class "{name}" has too few images for train, val and test; at least 3 are wanted'
            )
        chosen[generator.permutation(members)[: counts[label]]] = True

    def part(mask: NDArray[np.bool_]) -> _Labelled:
        return [file for file, kept in zip(files, mask, strict=True) if kept], labels[mask]

    return part(~chosen), part(chosen)


def _digest(splits: dict[str, _Labelled]) -> str:
    digest = hashlib.sha256()
    for split in SPLITS:
        for file, label in zip(*splits[split], strict=True):
            digest.update(os.fsencode(f"{split}\0{file.name}\0{label}\0{_file_digest(file.path)}\n"))
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError:
        return "unreadable"  # named by prepare, among the other unreadable files
