"""Preprocess a data set once, into the artifact that every stage reads."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import Artifact, write_json
from edgekd.config.data import Data
from edgekd.data.coverage import coverage_warnings
from edgekd.data.dataset import COLUMNS_FILE, SPLITS
from edgekd.data.decode import Found, write_split
from edgekd.data.fingerprint import Fingerprints
from edgekd.data.leak_check import check_leaks
from edgekd.data.redraw import keep_copies_together
from edgekd.data.source import PictureRef, Pictures, Source, SourceSplit, are_pixels
from edgekd.data.sources import find, finish, load_source
from edgekd.errors import DataError, listed
from edgekd.preprocessing import SIXTEEN_BIT_MAX
from edgekd.progress import Progress

logger = logging.getLogger("edgekd")

PROBED_PICTURES = 200
KEPT_PICTURES = 64


@dataclass(frozen=True)
class Probe:
    """What sizes a recipe.

    Attributes:
        num_train, num_val, num_test: images.
        median_side: median of the shorter side, in pixels.
        num_classes: at least 2.
        fingerprint: SHA-256 of the source bytes.
        task: a name in :data:`edgekd.tasks.TASKS`.
        pictures: the first of test, as they came, to time what an app does with them.
    """

    num_train: int
    num_val: int
    num_test: int
    median_side: int
    num_classes: int
    fingerprint: str
    task: str
    pictures: Pictures = field(default=(), repr=False, compare=False)


def probe(config: Data) -> Probe:
    """Look at a data set without preparing it, and say what was guessed. Raises DataError as the loaders do."""
    source = load_source(config)
    for note in source.notes:
        logger.info(f"{source.name}: {note}")
    pictures = source.splits["train"].pictures
    if are_pixels(pictures):
        side = min(pictures.shape[1:3])
    else:
        step = max(1, len(pictures) // PROBED_PICTURES)
        sides = [size for size in map(_shorter_side, pictures[::step]) if size]
        if not sides:
            raise DataError(f'"{config.path}": none of the images looked at can be read, "{pictures[0].name}" for one')
        side = int(np.median(sides))
    counts = {f"num_{name}": len(source.splits[name].labels) for name in SPLITS}
    return Probe(
        **counts,
        median_side=side,
        num_classes=len(source.class_names),
        fingerprint=source.sha256,
        task=source.task,
        pictures=source.splits["test"].pictures[:KEPT_PICTURES],
    )


def prepare(config: Data, out_dir: Path, *, progress: Progress | None = None) -> Artifact:
    """Decode and preprocess every picture once.

    Writes ``<split>_images.npy`` (uint8 ``(n, s, s, 3)``), ``<split>_labels.npy`` (int64 ``(n,)``, of a multi-label
    task ``(n, K)``) and ``calibration_indices.npy`` (into train, sorted); where they are known, ``<split>_groups.npy``
    (int64 ``(n,)``, a number for each patient) and ``columns.json`` (subgroups by split and column); where images of
    two splits are nearly the same, ``near_duplicates.png`` with such pairs side by side. Calibration images are drawn
    from train alone, in equal shares of the classes as far as they reach. Splits that are drawn keep copies together.

    Args:
        config: which data, and the image size, which must be set.
        out_dir: folder of the artifact.
        progress: where the task is shown.

    Raises:
        DataError: unreadable pictures, unless ``skip_unreadable`` is set; a class that a split lacks; more images in
            two splits than ``max_duplicates`` allows.
    """
    listing = find(config)
    source = finish(listing, config)
    _check_classes(source)
    found = Found()
    splits: dict[str, SourceSplit] = {}
    prints: dict[str, Fingerprints] = {}
    with (progress or Progress()).task("data", sum(len(split.labels) for split in source.splits.values())) as task:
        for name in SPLITS:
            path = out_dir / f"{name}_images.npy"
            splits[name], prints[name] = write_split(path, source.splits[name], config, found, task)
    _check_unreadable(found.unreadable, config)
    source, together = keep_copies_together(replace(source, splits=splits), prints, listing, config, out_dir)
    checked = check_leaks(source, together, config, out_dir)
    source, splits = checked.source, checked.source.splits
    _check_classes(source)
    for name in SPLITS:
        np.save(out_dir / f"{name}_labels.npy", splits[name].labels)
        if (groups := splits[name].groups) is not None:
            np.save(out_dir / f"{name}_groups.npy", groups)
    if splits["train"].columns:
        columns = {name: {key: cells.tolist() for key, cells in splits[name].columns.items()} for name in SPLITS}
        write_json(out_dir / COLUMNS_FILE, columns)
    indices = calibration_indices(splits["train"].labels, config.num_calibration_samples, config.split_seed)
    np.save(out_dir / "calibration_indices.npy", indices)
    warnings = _warnings(source, config, out_dir, found, indices)
    facts = _facts(source, config, indices, found.unreadable, [*warnings, *checked.warnings])
    return Artifact.seal(out_dir, {**facts, "leaks": checked.facts})


def calibration_indices(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Choose ``count`` training images: a random one of each class in turn, until there are enough. Sorted.

    Of several labels an image, one with each label in turn, and one without any.
    """
    generator = np.random.default_rng(seed)
    if labels.ndim == 2:
        groups = [*(labels.T == 1), ~labels.any(axis=1)]
    else:
        groups = [labels == label for label in np.unique(labels)]
    queues = [list(generator.permutation(np.flatnonzero(group))) for group in groups]
    chosen: set[int] = set()
    while len(chosen) < min(count, len(labels)):
        for queue in queues:
            while queue and queue[-1] in chosen:
                queue.pop()
            if queue and len(chosen) < count:
                chosen.add(int(queue.pop()))
    return np.asarray(sorted(chosen), np.int64)


def _shorter_side(picture: PictureRef) -> int | None:
    try:
        return picture.shorter_side()
    except DataError:
        return None


def _check_classes(source: Source) -> None:
    for name in SPLITS:
        labels = source.splits[name].labels
        if labels.ndim == 2:
            for column, label in zip(labels.T, source.class_names, strict=True):
                if column.min() == column.max():
                    having = "without" if column.min() else "with"
                    raise DataError(f'{name} has no image {having} label "{label}"; every split needs both')
            continue
        absent = np.setdiff1d(np.arange(len(source.class_names)), labels)
        if len(absent):
            raise DataError(
                f'{name} has no image of class "{source.class_names[absent[0]]}"; every split needs every class'
            )


def _check_unreadable(unreadable: dict[str, str], config: Data) -> None:
    if unreadable and not config.skip_unreadable:
        raise DataError(
            f"{len(unreadable)} unreadable image(s): {listed(list(unreadable))} (the first: "
            f"{next(iter(unreadable.values()))}); "
            "mend or remove them, or go on without them: --set data.skip_unreadable=true"
        )


def _warnings(source: Source, config: Data, out_dir: Path, found: Found, calibration: NDArray[np.int64]) -> list[str]:
    warnings = list(source.warnings)
    largest = max(found.largest.values(), default=SIXTEEN_BIT_MAX)
    if largest <= config.sixteen_bit_max // 2:
        levels = largest * 256 // (config.sixteen_bit_max + 1) + 1
        warnings.append(
            f"{len(found.largest)} image(s) of 16 bits have no value above {largest}, so that {config.sixteen_bit_max} "
            f"as white leaves {levels} grey levels of 256; for 12 bits in 16: --set data.sixteen_bit_max=4095"
        )
    if found.unreadable:
        warnings.append(f"{len(found.unreadable)} unreadable image(s) left out")
    num_train = len(source.splits["train"].labels)
    if config.num_calibration_samples > num_train:
        warnings.append(
            f"data.num_calibration_samples = {config.num_calibration_samples}: train has {num_train} images; all of "
            "them calibrate INT8"
        )
    train, val = (np.load(out_dir / f"{name}_images.npy", mmap_mode="r", allow_pickle=False) for name in SPLITS[:2])
    warnings += coverage_warnings(
        train[calibration],
        source.splits["train"].labels[calibration],
        val,
        source.splits["val"].labels,
        source.class_names,
    )
    return warnings


def _facts(
    source: Source, config: Data, indices: NDArray[np.int64], unreadable: dict[str, str], warnings: list[str]
) -> dict[str, object]:
    return {
        "name": source.name,
        "licence": source.licence,
        "source": source.origin,
        "attribution": source.attribution,
        "public": source.public,
        "task": source.task,
        "class_names": list(source.class_names),
        "image_size": config.image_size,
        "resize": config.resize,
        "sixteen_bit_max": config.sixteen_bit_max,
        **{f"num_{name}": len(source.splits[name].labels) for name in SPLITS},
        "num_calibration": len(indices),
        "calibration_indices": indices.tolist(),
        "sha256": source.sha256,
        "warnings": warnings,
        "unreadable": sorted(unreadable),
        **({"notes": list(source.notes)} if source.notes else {}),
    }
