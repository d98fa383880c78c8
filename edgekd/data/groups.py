"""Which images belong together: patients, by a column, a file-name pattern or DICOM, without their names."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from edgekd.data.source import Item
from edgekd.errors import DataError, RecipeError

MAX_NAME = 255


def hasher() -> Callable[[str], str]:
    """A function that puts a keyed hash in the place of an identifier; empty stays empty.

    The key is random and dies with the function, so that nothing that is written down or logged can be traced back to
    an identifier by trying all of them. Only whether two are equal is kept, which is all that a split needs.
    """
    key = secrets.token_bytes(32)

    @functools.cache
    def hashed(identifier: str) -> str:
        identifier = identifier.strip()
        return hashlib.blake2b(identifier.encode(), key=key, digest_size=16).hexdigest() if identifier else ""

    return hashed


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile ``data.patient_pattern``.

    Raises:
        RecipeError: no regular expression, no single group, or one that repeats a repetition, which can take forever.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise RecipeError(f'data.patient_pattern = "{pattern}" is no regular expression: {error}') from None
    if compiled.groups != 1:
        raise RecipeError(
            f'data.patient_pattern = "{pattern}" has {compiled.groups} groups; one, around the part of the file name '
            'that is the patient, is wanted, as in "(patient[0-9]+)_"'
        )
    if _repeats_a_repetition(pattern):
        raise RecipeError(
            f'data.patient_pattern = "{pattern}" repeats a group that itself repeats, which can take forever; write it '
            "without the inner or the outer repetition"
        )
    return compiled


def by_pattern(items: Sequence[Item], pattern: str, where: str) -> list[Item]:
    """The same items, grouped by the group of ``pattern`` in their relative names.

    Raises:
        RecipeError: as :func:`compile_pattern`.
        DataError: names in which it is not found, or that are too long to be searched.
    """
    compiled, hashed = compile_pattern(pattern), hasher()
    found = [compiled.search(item.picture.name) if len(item.picture.name) <= MAX_NAME else None for item in items]
    without = sum(1 for match in found if not (match and match[1]))
    if without:
        raise DataError(
            f'{where}: data.patient_pattern = "{pattern}" is not found in the names of {without} of {len(items)} '
            'images; it is searched in "folder/file.png", relative to the data'
        )
    return [replace(item, group=hashed(match[1])) for item, match in zip(items, found, strict=True) if match]


def _repeats_a_repetition(pattern: str) -> bool:
    """Whether a group that holds a repetition, or alternatives, is itself repeated: ``(a+)+``, ``(a|aa)*``."""
    bare = re.sub(r"\[\^?\]?(?:\\.|[^\]\\])*\]", "c", re.sub(r"\\.", "e", pattern))
    repeat = r"(?:[*+]|\{\d*,\d*\})"
    inner = re.compile(r"\((?:\?:|\?P<\w+>|\?[=!]|\?<[=!])?([^()]*)\)(" + repeat + r")?")
    while match := inner.search(bare):
        risky = re.search(repeat + r"|\||R", match[1]) is not None
        if risky and match[2]:
            return True
        bare = bare[: match.start()] + ("R" if risky else "g") + bare[match.end() :]
    return False
