"""Share out a total over layers, each with a curve of what it costs, so that the sum of the costs is least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from edgekd.errors import RecipeError


def lower_hull(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower convex hull of points ``(x, y)``, from the lowest to the highest x.

    Where a large step is cheaper for each unit of x than the small step before it, the small one is left out. Of points
    on a line all stay, so that steps are small.
    """
    path: list[tuple[float, float]] = []
    for point in sorted(points):
        while len(path) > 1 and _slope(path[-2], path[-1]) > _slope(path[-1], point):
            path.pop()
        path.append(point)
    return path


def allocate(curves: Mapping[str, Sequence[tuple[int, float]]], total: int) -> dict[str, int]:
    """Share out ``total`` units so that the sum of the costs is least, each curve taken along its lower hull.

    The hulls are convex and bend at whole numbers only, so that going along the cheapest segment first, and cutting the
    last one short, is exact (Fox 1966, "Discrete optimization via marginal analysis").

    Args:
        curves: for each layer pairs ``(units, cost)``, the first at 0 units. A layer takes no more than its last.
        total: units to be shared out, at least 0.

    Returns:
        The units of each layer; their sum is ``total``.

    Raises:
        RecipeError: the curves do not reach so far.
    """
    reach = sum(curve[-1][0] for curve in curves.values())
    if not 0 <= total <= reach:
        raise RecipeError(f"{total} units cannot be shared out over curves that reach {reach} together")
    segments = [
        (_slope(start, end), name, int(end[0] - start[0]))
        for name, curve in curves.items()
        for start, end in pairwise(lower_hull(curve))
    ]
    given, left = dict.fromkeys(curves, 0), total
    for _, name, length in sorted(segments, key=lambda segment: segment[0]):
        taken = min(left, length)
        given[name] += taken
        left -= taken
    return given


def _slope(start: tuple[float, float], end: tuple[float, float]) -> float:
    return (end[1] - start[1]) / (end[0] - start[0])
