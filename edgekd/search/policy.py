"""A policy that is learned by REINFORCE (experimental): how probable each value of a dimension is.

A dimension has ``K`` values; value ``k`` has features ``x_k`` and the probability ``p_k = softmax_k(theta . x)``.
Values that are ordered have two features, their place in [-1, 1] and its square: then ``p`` is a discrete bell, or
leans to an end, and what one value taught holds for its neighbours. Others have a feature each. ``theta = 0``, where
every policy starts, is random search.

After a trial that took value ``a`` for the reward ``r`` (Williams 1992, with a moving baseline ``b`` and an entropy
bonus as in Mnih et al. 2016)::

    theta += rate (A d/dtheta log p_a + beta d/dtheta H(p)),    A = (r - b) / s

with the moving deviation ``s`` of the rewards. The dimensions are independent of each other, as the policy's factors
are. The whole policy follows from the trials so far; it has no state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Of rates 0.3 to 2, bonuses 0 to 0.1 and decays 0.8 and 0.9 on made-up quadratics of 5 to 8 dimensions, with a budget
# and without, in 30 and 60 trials: what came nearest to the optimum, and is not at the edge of what does.
LEARNING_RATE = 0.6
ENTROPY_BONUS = 0.02
BASELINE_DECAY = 0.8
MAX_ADVANTAGE = 2.0


def features(count: int, *, ordered: bool) -> Array:
    """Features of the values of a dimension, shape ``(count, m)``."""
    if not ordered:
        return np.eye(count)
    place = np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)
    return np.stack([place, place**2], axis=1)


def probabilities(theta: Array, values: Array) -> Array:
    """Of each value, shape ``(K,)``.

    Args:
        theta: shape ``(m,)``.
        values: their features, shape ``(K, m)``.
    """
    scores = values @ theta
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())


def score_gradient(theta: Array, values: Array, taken: int) -> Array:
    """``d/dtheta log p_taken = x_taken - sum_k p_k x_k``, shape ``(m,)``."""
    return np.asarray(values[taken] - probabilities(theta, values) @ values)


def entropy_gradient(theta: Array, values: Array) -> Array:
    """``d/dtheta H(p) = -sum_k p_k (log p_k + H) x_k``, shape ``(m,)``."""
    p = probabilities(theta, values)
    log_p = np.log(np.maximum(p, np.finfo(np.float64).tiny))
    return np.asarray(-(p * (log_p - p @ log_p)) @ values)


def advantages(rewards: Sequence[float]) -> list[float]:
    """``(r - b) / s`` of each reward, with the moving mean ``b`` and deviation ``s`` of those before it.

    Weights of older rewards fall by ``BASELINE_DECAY``; the quotient is cut off at ``MAX_ADVANTAGE``. The first has
    nothing before it and counts 0; where all before are equal, what is better or worse counts as much as anything may.
    """
    found, weight, first, second = [], 0.0, 0.0, 0.0
    for reward in rewards:
        baseline = first / weight if weight else reward
        deviation = np.sqrt(max(second / weight - baseline**2, 0.0)) if weight else 0.0
        away = reward - baseline if abs(reward - baseline) > 1e-12 else 0.0
        # A smaller deviation is rounding.
        found.append(float(np.clip(away / max(deviation, 1e-7), -MAX_ADVANTAGE, MAX_ADVANTAGE)))
        weight = BASELINE_DECAY * weight + 1 - BASELINE_DECAY
        first = BASELINE_DECAY * first + (1 - BASELINE_DECAY) * reward
        second = BASELINE_DECAY * second + (1 - BASELINE_DECAY) * reward**2
    return found


def learned(values: Array, taken: Sequence[int], advantage: Sequence[float]) -> Array:
    """``theta`` after some trials, shape ``(m,)``.

    Args:
        values: features, shape ``(K, m)``.
        taken: the value of each trial, in their order.
        advantage: of each.
    """
    theta = np.zeros(values.shape[1])
    for index, worth in zip(taken, advantage, strict=True):
        step = worth * score_gradient(theta, values, index) + ENTROPY_BONUS * entropy_gradient(theta, values)
        theta = theta + LEARNING_RATE * step
    return theta
