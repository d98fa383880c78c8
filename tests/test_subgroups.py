"""Accuracy by subgroup, against SciPy's tests on tables that stand here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from edgekd import statistics
from edgekd.verification.subgroups import by_subgroup


def test_a_subgroup_that_is_worse_and_one_that_lost() -> None:
    """40 images of each sex: 38 and 24 are right; the model before had the second at 36."""
    sex = np.array(["f"] * 40 + ["m"] * 40)
    after = np.array([True] * 38 + [False] * 2 + [True] * 24 + [False] * 16)
    before = np.array([True] * 38 + [False] * 2 + [True] * 36 + [False] * 4)
    rows, left_out = by_subgroup(before, after, {"sex": sex})
    assert left_out == []
    f, m = rows
    assert (f["value"], f["n"], f["accuracy"], f["others"]) == ("f", 40, 0.95, 0.6)
    assert f["accuracy_ci95"] == list(statistics.wilson_interval(38, 40))
    p = fisher_exact([[38, 2], [24, 16]]).pvalue
    # Both rows have the same p: Holm gives twice it to the first and no less to the second.
    assert (f["p_others_holm"], m["p_others_holm"]) == (pytest.approx(2 * p), pytest.approx(2 * p))
    assert f["differs"]
    assert (m["before"], m["estimate"]) == (0.9, pytest.approx(-0.3))
    assert m["p_holm"] == pytest.approx(2 * 2 / 2**12)
    assert (f["verdict"], m["verdict"]) == ("no difference shown", "lost")


def test_what_is_not_stated_is_a_group_of_its_own() -> None:
    """Its images are none of the others."""
    site = np.array(["a", "a", "b", "b", "", ""])
    after = np.array([True, True, False, True, False, False])
    rows, _ = by_subgroup(None, after, {"site": site})
    assert [(row["value"], row["accuracy"], row["others"]) for row in rows] == [
        ("a", 1.0, 0.5),
        ("b", 0.5, 1.0),
        ("not stated", 0.0, 0.75),
    ]
    assert all(row["before"] is None and row["verdict"] is None and row["p_holm"] == 1.0 for row in rows)


def test_columns_that_divide_nothing_are_left_out() -> None:
    columns = {"one": np.array(["x"] * 30), "ids": np.array([f"p{index}" for index in range(30)])}
    assert by_subgroup(None, np.ones(30, bool), columns) == (
        [],
        ["one: 1 value(s) in test; subgroups need 2 to 20", "ids: 30 value(s) in test; subgroups need 2 to 20"],
    )
