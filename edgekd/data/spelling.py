"""Names as people write them: nearly equal ones, usual ones."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development", "valset"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "testset", "holdout"), "test"),
}


def plain(name: str) -> str:
    """Without case, accents, spaces and underscores: ``"Pneumonía "`` and ``"pneumonia"`` are the same word.

    Signs that may mean something (``+``, ``-``, ``<``) stay.
    """
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(sign for sign in decomposed if not (sign.isspace() or unicodedata.combining(sign) or sign == "_"))


def split_of(name: str) -> str:
    """``train``, ``val`` or ``test``, or an empty text where a name is none of the usual ones of a split."""
    key = plain(name)
    return SPLIT_NAMES.get(key) or SPLIT_NAMES.get(
        key.removesuffix("set").removesuffix("data").removesuffix("split"), ""
    )


def confusable(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only in case, spaces, accents or underscores."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        found[plain(name)].append(name)
    return [group for group in found.values() if len(group) > 1]


def class_order(names: Iterable[str]) -> list[str]:
    """Whole numbers by their value (``2`` before ``10``), anything else by its letters."""
    known = sorted(set(names))
    return sorted(known, key=int) if all(_is_number(name) for name in known) else known


def usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of ``names``, in their order, that ``columns`` have, however it is written there; None if none."""
    by_plain = {"".join(filter(str.isalnum, plain(column))): column for column in reversed(columns)}
    return next((by_plain[name] for name in names if name in by_plain), None)


def _is_number(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()
