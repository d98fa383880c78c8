"""Sharing out a total: convex hulls by hand, and the least sum by trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from edgekd.allocation import allocate, lower_hull
from edgekd.errors import RecipeError


@pytest.mark.parametrize(
    ("points", "hull"),
    [
        ([(0, 0.0)], [(0, 0.0)]),
        ([(0, 0.0), (1, 3.0), (2, 2.0)], [(0, 0.0), (2, 2.0)]),  # the large step is cheaper than the small one
        ([(0, 0.0), (1, 1.0), (2, 3.0)], [(0, 0.0), (1, 1.0), (2, 3.0)]),
        ([(0, 0.0), (1, 1.0), (2, 2.0)], [(0, 0.0), (1, 1.0), (2, 2.0)]),  # on a line all stay
        ([(2, 2.0), (0, 0.0), (1, 0.5)], [(0, 0.0), (1, 0.5), (2, 2.0)]),
        ([(0, 0.0), (1, -1.0), (2, -0.5), (3, -1.5)], [(0, 0.0), (1, -1.0), (3, -1.5)]),  # a layer better without
    ],
)
def test_lower_hull(points: list[tuple[int, float]], hull: list[tuple[int, float]]) -> None:
    assert lower_hull(points) == hull


@pytest.mark.parametrize("seed", range(5))
def test_lower_hull_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.stack([np.arange(20.0), rng.normal(size=20)], axis=1)
    hull = ConvexHull(points)
    below = {
        int(place)
        for simplex, plane in zip(hull.simplices, hull.equations, strict=True)
        if plane[1] < 0
        for place in simplex
    }
    assert [int(x) for x, _ in lower_hull(map(tuple, points))] == sorted(below)


def test_the_cheapest_goes_first_and_the_last_segment_is_cut() -> None:
    """a costs 0.1 a unit up to 4, then 1; b 0.2 up to 10."""
    curves = {"a": [(0, 0.5), (4, 0.9), (8, 4.9)], "b": [(0, 0.5), (10, 2.5)]}
    assert allocate(curves, 3) == {"a": 3, "b": 0}
    assert allocate(curves, 9) == {"a": 4, "b": 5}
    assert allocate(curves, 16) == {"a": 6, "b": 10}
    assert allocate(curves, 18) == {"a": 8, "b": 10}
    assert allocate(curves, 0) == {"a": 0, "b": 0}


@pytest.mark.parametrize("seed", range(8))
def test_no_other_sharing_costs_less(seed: int) -> None:
    """Every sharing of every total over three layers, costs read off the hulls by numpy."""
    rng = np.random.default_rng(seed)
    curves = {
        name: [(0, 0.3), *((int(units), float(rng.normal(0.5, 0.5))) for units in places)]
        for name, places in (("a", (2, 4, 6)), ("b", (1, 5)), ("c", (3, 4, 7)))
    }
    hulls = {name: np.array(lower_hull(curve)).T for name, curve in curves.items()}

    def cost(shares: dict[str, int]) -> float:
        return float(sum(np.interp(shares[name], *hull) for name, hull in hulls.items()))

    every = [dict(zip("abc", shares, strict=True)) for shares in itertools.product(range(7), range(6), range(8))]
    for total in range(6 + 5 + 7 + 1):
        shares = allocate(curves, total)
        assert sum(shares.values()) == total
        least = min(cost(other) for other in every if sum(other.values()) == total)
        assert cost(shares) == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("total", [-1, 4])
def test_more_than_there_is(total: int) -> None:
    with pytest.raises(RecipeError, match=f"^{total} units cannot be shared out over curves that reach 3 together$"):
        allocate({"a": [(0, 0.0), (2, 1.0)], "b": [(0, 0.0), (1, 1.0)]}, total)
