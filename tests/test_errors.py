from __future__ import annotations

import pytest

from edgekd import errors
from edgekd.errors import EdgekdError, UserError, did_you_mean


def all_errors(base: type[EdgekdError] = EdgekdError) -> list[type[EdgekdError]]:
    return [base, *(found for child in base.__subclasses__() for found in all_errors(child))]


def test_exit_codes_are_those_of_the_design() -> None:
    codes = {error.__name__: error.exit_code for error in all_errors()}
    assert codes == {
        "EdgekdError": 1,
        "UserError": 2,
        "RecipeError": 2,
        "DataError": 2,
        "ModelError": 2,
        "OutputError": 2,
        "ConversionError": 1,
        "NothingToQuantizeError": 1,
        "TrainingError": 1,
        "BenchmarkError": 1,
        "SearchError": 1,
        "WorkerError": 1,
        "MissingRequirementError": 3,
    }


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_the_tree_drawn_in_the_docstring_is_the_real_one(error: type[EdgekdError]) -> None:
    drawn = [line for line in (errors.__doc__ or "").splitlines() if error.__name__ in line.strip("| `-").split()[:1]]
    assert len(drawn) == 1
    # One level of drawing is four columns: "|-- " or "`-- " or "|   ".
    depth = drawn[0].index(error.__name__) // 4 - 1
    assert depth == len([base for base in error.__mro__ if base.__name__.endswith("Error")]) - 1
    codes = [int(word) for word in drawn[0].split() if word.isdigit()]
    assert codes in ([error.exit_code], [])
    assert codes or issubclass(error, UserError) or error is EdgekdError


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("quikstart", ["default", "quickstart"], '; did you mean "quickstart"?'),
        ("zzz", ["b", "a"], "; known: a, b"),  # nothing near: all, sorted
        ("zzz", [], ""),
        ("prune", {"prune": 1, "distill": 2}, '; did you mean "prune"?'),
    ],
)
def test_did_you_mean(name: str, known: list[str], expected: str) -> None:
    assert did_you_mean(name, known) == expected
