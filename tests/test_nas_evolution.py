"""Evolution: on made-up tables whose optimum is known."""

from __future__ import annotations

import itertools

import numpy as np

from edgekd.nas.evolution import evolve

SIDES = (8, 8, 8, 8)
Point = tuple[int, ...]


def draw(generator: np.random.Generator) -> Point:
    return tuple(int(generator.integers(side)) for side in SIDES)


def mutate(point: Point, generator: np.random.Generator) -> Point:
    place = int(generator.integers(len(SIDES)))
    other = (point[place] + int(generator.integers(1, SIDES[place]))) % SIDES[place]
    return (*point[:place], other, *point[place + 1 :])


# 4,096 points; the only one with 0 is (6, 1, 3, 5).
OPTIMUM = (6, 1, 3, 5)
TABLE = {
    point: (-float(sum((a - b) ** 2 for a, b in zip(point, OPTIMUM, strict=True))),)
    for point in itertools.product(*map(range, SIDES))
}


def found(seed: int, births: int = 700, **more: object) -> dict[Point, tuple[float, ...]]:
    options = {"population": 24, "sample_size": 8, "num_candidates": births, "seed": seed, **more}
    return evolve((0, 0, 0, 0), draw, mutate, TABLE.__getitem__, **options)  # type: ignore[arg-type]


def test_it_finds_the_known_optimum_without_looking_at_all() -> None:
    for seed in range(5):
        ranks = found(seed)
        assert max(ranks, key=ranks.__getitem__) == OPTIMUM
        assert len(ranks) <= 700 < len(TABLE)


def test_it_finds_the_best_within_a_budget() -> None:
    """Cost is the sum of the coordinates, at most 9; of 15 the optimum itself costs too much. By looking at all:"""

    def judge(point: Point) -> tuple[float, ...]:
        over = max(0, sum(point) - 9)
        return (0.0, -float(over)) if over else (1.0, *TABLE[point])

    best = max(judge(point) for point in TABLE)
    for seed in range(3):
        ranks = evolve((0, 0, 0, 0), draw, mutate, judge, population=24, sample_size=8, num_candidates=900, seed=seed)
        assert max(ranks.values()) == best


def test_same_seed_same_candidates_in_the_same_order() -> None:
    assert list(found(3, 100)) == list(found(3, 100))
    assert list(found(3, 100)) != list(found(4, 100))
    assert next(iter(found(3, 100))) == (0, 0, 0, 0)


def test_each_candidate_is_judged_once() -> None:
    asked: list[int] = []

    def judge(point: int) -> tuple[float, ...]:
        asked.append(point)
        return (float(point),)

    ranks = evolve(
        0,
        lambda generator: int(generator.integers(4)),
        lambda point, generator: (point + 1) % 4,
        judge,
        **{"population": 3, "sample_size": 2, "num_candidates": 50, "seed": 0},
    )
    assert sorted(asked) == sorted(ranks) == [0, 1, 2, 3]


def test_the_oldest_goes_however_good() -> None:
    """With two alive and only the older one good, the good one is gone after two births, and its children go on."""
    parents: list[int] = []

    def mutate_(point: int, generator: np.random.Generator) -> int:
        parents.append(point)
        return point - 1

    evolve(
        100,
        lambda generator: 0,
        mutate_,
        lambda point: (float(point),),
        **{"population": 2, "sample_size": 64, "num_candidates": 6, "seed": 0},
    )
    # Alive: 100, 0; then 0, 99; then 99, 98 - its parent is 99, as 100 has gone; then 98, 98, of 99; then 98, 97.
    assert parents == [100, 99, 99, 98]


def test_it_ends_when_the_time_is_up() -> None:
    left = iter([False, False, False, True])
    assert len(found(0, stop=lambda: next(left))) <= 3
