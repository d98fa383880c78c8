from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekd.data.groups import by_pattern, compile_pattern, hasher
from edgekd.data.source import FileRef, Item
from edgekd.errors import DataError, RecipeError


def item(name: str) -> Item:
    return Item(FileRef(Path(name), name), ("a",))


def test_a_hash_keeps_equality_and_nothing_else() -> None:
    hashed, other = hasher(), hasher()
    assert hashed("P-1207") == hashed(" P-1207 ") != hashed("P-1208")
    assert hashed("P-1207") != other("P-1207")  # no table of hashes can be made beforehand
    assert hashed("  ") == ""
    assert "1207" not in hashed("P-1207")
    assert re.fullmatch("[0-9a-f]{32}", hashed("P-1207"))


def test_the_patient_is_the_group_of_the_pattern() -> None:
    items = [item("benign/p12_1.png"), item("benign/p12_2.png"), item("malignant/p7_1.png")]
    groups = [found.group for found in by_pattern(items, r"(p\d+)_", '"x"')]
    assert groups[0] == groups[1] != groups[2]


def test_names_without_the_pattern_are_counted_and_not_shown() -> None:
    with pytest.raises(DataError, match=r"not found in the names of 2 of 3 images") as caught:
        by_pattern([item("a/p1_x.png"), item("a/doe_john.png"), item("a/" + "p1_" * 100)], r"(p\d+)_", '"x"')
    assert "doe" not in str(caught.value)


@pytest.mark.parametrize(
    "pattern", [r"(a+)+x", r"(?:a|aa)*(b)", r"((?:[a-z]+)*)$", r"(?P<p>(?:\w*_){2,})", r"(?:x*y|z)*(a)"]
)
def test_patterns_that_can_take_forever_are_refused(pattern: str) -> None:
    with pytest.raises(RecipeError, match=r"which can take forever"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [r"(patient[0-9]+)_", r"/([^/]+)/[^/]*$", r"(?P<who>\d{4,8})", r"(?:left|right)_(\w+)", r"(\(a+\))", r"([(+]+)x+"],
)
def test_ordinary_patterns_are_taken(pattern: str) -> None:
    assert compile_pattern(pattern).groups == 1


def test_a_pattern_needs_one_group() -> None:
    with pytest.raises(RecipeError, match=r"has 0 groups; one"):
        compile_pattern(r"p\d+")
    with pytest.raises(RecipeError, match=r"has 2 groups"):
        compile_pattern(r"(p)(\d+)")
    with pytest.raises(RecipeError, match=r"is no regular expression"):
        compile_pattern(r"(p")
