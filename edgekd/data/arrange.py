"""From a listing to a source: classes in order, splits that share no patient, a digest."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.config.data import Data
from edgekd.data.copies import joined, num_copies
from edgekd.data.dataset import SPLITS
from edgekd.data.draw import draw
from edgekd.data.groups import by_pattern
from edgekd.data.source import Item, Listing, PictureRef, Source, SourceSplit
from edgekd.data.spelling import class_order, confusable
from edgekd.errors import DataError, did_you_mean

UNREADABLE = "unreadable"


def arrange(listing: Listing, config: Data, pixels: Mapping[str, str] | None = None) -> Source:
    """Divide what a loader has listed.

    Splits that the data gives are kept, and those that are missing are taken out of train; without any, both val and
    test are. Images of one patient stay together, and so do copies of one image. The outcome depends on the seed, the
    names of the files and which are copies, and not on the order in which they were found.

    Args:
        listing: at least one item.
        config: the classes' order, shares, seed, licence and source.
        pixels: digests of the pixels by the pictures' names, as far as they were decoded: copies are equal in them.
            Without, or where a picture has none, copies are files with the same bytes.

    Raises:
        DataError: one class, names of classes that are nearly equal, a class or patients on the wrong side of a split.
        RecipeError: a patient pattern that cannot be used.
    """
    items = sorted(listing.items, key=lambda item: item.picture.name)
    if config.patient_pattern:
        items = by_pattern(items, config.patient_pattern, listing.where)
    class_names = _class_names(items, config, listing)
    number = {name: index for index, name in enumerate(class_names)}
    hot = np.zeros((len(items), len(class_names)), np.int64)
    for row, item in zip(hot, items, strict=True):
        row[[number[name] for name in item.labels]] = 1
    units = _units(items)
    parts = np.array(_given_splits(items, hot, class_names, listing))
    _check_groups(parts, units, listing.where)
    shares = {"test": config.test_fraction, "val": config.val_fraction}
    shares = {split: share for split, share in shares.items() if split not in parts}
    grouped, digests, copies = any(item.group for item in items), [_picture_digest(item.picture) for item in items], 0
    if shares:
        divided = np.flatnonzero(parts == "train")
        equal = ["" if digest == UNREADABLE else digest for digest in digests]
        equal = [(pixels or {}).get(item.picture.name, digest) for item, digest in zip(items, equal, strict=True)]
        copies = num_copies([equal[index] for index in divided])
        wholes = joined(units[divided], [equal[index] for index in divided])
        # Of several labels, images without any are a stratum too, where there are enough to be shared out.
        none = hot.sum(axis=1) == 0
        enough = len(np.unique(wholes[none[divided]])) > len(shares)
        strata = np.column_stack([hot, none]) if enough else hot
        parts[divided] = draw(
            strata[divided].astype(np.int64),
            np.unique(wholes, return_inverse=True)[1],
            shares,
            config.split_seed,
            [*class_names, "none of them"][: strata.shape[1]],
            where=listing.where,
            unit="patients" if grouped else "different images" if copies else "images",
        )
    labels = hot if listing.several else hot.argmax(axis=1)
    splits, known = {}, {}
    for split in SPLITS:
        chosen = np.flatnonzero(parts == split)
        known[split] = [digests[index] for index in chosen]
        splits[split] = SourceSplit(
            [items[index].picture for index in chosen],
            labels[chosen],
            _columns([items[index] for index in chosen]),
            units[chosen] if grouped else None,
        )
    return Source(
        listing.name,
        tuple(class_names),
        splits,
        _digest(splits, known),
        config.licence,
        config.source or "own data",
        warnings=(*listing.warnings, *_order_warning(class_names, config)),
        notes=(*listing.notes, _patients_note(splits, drawn=bool(shares)), *_copies_note(copies)),
    )


def _class_names(items: Sequence[Item], config: Data, listing: Listing) -> list[str]:
    """In the order that the recipe gives, else sorted."""
    counts = Counter(name for item in items for name in item.labels)
    wanted = config.classes or config.label_columns
    key = "data.classes" if config.classes else "data.label_columns"
    if wanted:
        for name in sorted(set(counts) - set(wanted)):
            raise DataError(
                f'{listing.where}: {counts[name]} images have the label "{name}", which is not in {key}'
                f"{did_you_mean(name, wanted)}"
            )
        for name in wanted:
            if name not in counts:
                raise DataError(f'{listing.where}: no image has the label "{name}" of {key}')
    names = list(dict.fromkeys(wanted)) or class_order(counts)
    for name in names:
        if not name.isprintable():
            raise DataError(f"{listing.where}: the class {name!r} has a name that cannot be printed; rename it")
    clashes = confusable(names)
    if clashes:
        listed = "; ".join(", ".join(f'"{name}" ({counts[name]} images)' for name in group) for group in clashes)
        raise DataError(
            f"{listing.where}: labels that differ only in case, spaces, accents or underscores: {listed}; write each "
            "class in one way, or give classes that really differ names that differ more"
        )
    if len(names) < 2:
        only = f'one class, "{names[0]}"' if names else "no labels"
        raise DataError(f"{listing.where} has {only}; at least two classes are wanted")
    return names


def _units(items: Sequence[Item]) -> NDArray[np.int64]:
    """A number for each patient, counted in the order of the names; an image of nobody known is a unit by itself."""
    numbers: dict[str, int] = {}
    keys = (item.group or f"image {index}" for index, item in enumerate(items))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _given_splits(
    items: Sequence[Item], hot: NDArray[np.int64], class_names: Sequence[str], listing: Listing
) -> list[str]:
    """The split of each item as the data gives it; train where it gives none."""
    without = sum(1 for item in items if not item.split)
    if without == len(items):
        return ["train"] * len(items)
    if without:
        raise DataError(
            f"{listing.where}: {without} of {len(items)} images have no split; give each train, val or test, or none"
        )
    given = np.array([item.split for item in items])
    if "train" not in given:
        raise DataError(f"{listing.where} has no train split, but {', '.join(sorted(set(given)))}")
    for split in sorted(set(given)) if not listing.several else ():
        for name, count in zip(class_names, hot[given == split].sum(axis=0), strict=True):
            if not count:
                raise DataError(
                    f'{listing.where}: class "{name}" has no images in {split}; every split needs every class'
                )
    return [item.split for item in items]


def _check_groups(parts: NDArray[np.str_], units: NDArray[np.int64], where: str) -> None:
    """Refuse given splits that divide a patient; the message counts, and names nobody."""
    on = {split: set(units[parts == split].tolist()) for split in SPLITS}
    found = []
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        both = on[first] & on[second]
        if both:
            images = int(np.isin(units, list(both)).sum())
            found.append(f"{len(both)} patient(s) stand in both {first} and {second} ({images} images)")
    if found:
        raise DataError(
            f"{where}: {'; '.join(found)}: the figures would be too good; mend the splits, or let edgekd draw them by "
            "patient from data without splits"
        )


def _columns(items: Sequence[Item]) -> Mapping[str, NDArray[np.str_]]:
    names = items[0].columns if items else {}
    return {name: np.array([item.columns[name] for item in items], np.str_) for name in names}


def _order_warning(class_names: Sequence[str], config: Data) -> tuple[str, ...]:
    if config.task != "ordinal" or config.classes or all(name.removeprefix("-").isdigit() for name in class_names):
        return ()
    return (f"grades are taken in the order of their letters: {' < '.join(class_names)}; data.classes gives another",)


def _patients_note(splits: Mapping[str, SourceSplit], *, drawn: bool) -> str:
    counts = {name: len(np.unique(part.groups)) for name, part in splits.items() if part.groups is not None}
    if counts:
        listed = ", ".join(f"{count} in {name}" for name, count in counts.items())
        return f"patients: {listed}; none in two splits"
    remedy = "where a patient has several, name data.patient_column or data.patient_pattern"
    return f"which images are of one patient is not known; {remedy}" + (", so that none is divided" if drawn else "")


def _copies_note(copies: int) -> tuple[str, ...]:
    kept = "the splits that edgekd draws keep copies together"
    return (f"{copies} images are copies of others; {kept}",) if copies else ()


def _digest(splits: Mapping[str, SourceSplit], known: Mapping[str, Sequence[str]]) -> str:
    """Of names, labels and what is known of each picture, its own digest among it."""
    digest = hashlib.sha256()
    for split in SPLITS:
        part = splits[split]
        for index, label in enumerate(part.labels):
            columns = [f"{name}={values[index]}" for name, values in part.columns.items()]
            group = [] if part.groups is None else [str(part.groups[index])]
            fields = (split, part.name(index), label, known[split][index], *columns, *group)
            digest.update(os.fsencode("\0".join(map(str, fields)) + "\n"))
    return digest.hexdigest()


def _picture_digest(picture: PictureRef) -> str:
    try:
        return picture.digest()
    except OSError:
        return UNREADABLE  # named by prepare, among the other unreadable files
