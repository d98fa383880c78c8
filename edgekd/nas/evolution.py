"""Regularised evolution (Real et al. 2019, algorithm 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Candidate = TypeVar("Candidate")
Rank = tuple[float, ...]


def evolve(
    first: Candidate,
    draw: Callable[[np.random.Generator], Candidate],
    mutate: Callable[[Candidate, np.random.Generator], Candidate],
    judge: Callable[[Candidate], Rank],
    *,
    population: int,
    sample_size: int,
    num_candidates: int,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> dict[Candidate, Rank]:
    """Look for the candidate of the highest rank.

    The population starts with ``first`` and draws. Then a few of it compete, the best of them has a mutated child, and
    the oldest goes: whoever is to stay has to be good again in a child, so that luck does not last.

    Args:
        first: where to start.
        draw: a random candidate; equal ones are equal as keys.
        mutate: a candidate next to another.
        judge: its rank, the higher the better; asked once for each candidate.
        population: how many are alive.
        sample_size: how many compete to be a parent, drawn with replacement.
        num_candidates: births, ``first`` included; the same candidate may be born again.
        seed: of everything drawn.
        stop: asked before every birth whether the time is up.

    Returns:
        Every candidate with its rank, in the order in which they were first born.
    """
    generator = np.random.default_rng(seed)
    ranks: dict[Candidate, Rank] = {}
    alive: deque[Candidate] = deque(maxlen=population)
    for birth in range(num_candidates):
        if stop():
            break
        born: Any = first
        if 0 < birth < population:
            born = draw(generator)
        elif birth:
            sample = [alive[index] for index in generator.integers(len(alive), size=sample_size)]
            born = mutate(max(sample, key=ranks.__getitem__), generator)
        if born not in ranks:
            ranks[born] = judge(born)
        alive.append(born)
    return ranks
