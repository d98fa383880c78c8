"""The policy of :mod:`edgekd.search.policy` as a sampler of Optuna: it learns from the study and has no state.

So trials are drawn, stored, lost and resumed as those of any other sampler, by as many processes as one likes, and
equal trials and an equal seed give the equal next draw.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna

from edgekd.search import policy

MAX_VALUES = 64
"""Into so many values, evenly spaced, a range is cut that has more."""


class PolicySampler(optuna.samplers.BaseSampler):  # type: ignore[misc]  # follow_imports = "skip"
    """Draws each dimension by what REINFORCE has learned from the trials that have ended.

    Args:
        reward: what a trial has earned; None where it tells nothing.
        seed: of the draws.
    """

    def __init__(self, reward: Callable[[Any], float | None], seed: int):
        self.reward, self.seed = reward, seed

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Nothing: each dimension is drawn by itself."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Nothing, as above."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """A value of one dimension, drawn by the policy that all trials so far have taught."""
        choices, ordered = values_of(param_distribution)
        told = [
            (ended, reward)
            for ended in study.get_trials(deepcopy=False)
            if param_name in ended.params and (reward := self.reward(ended)) is not None
        ]
        taken = [nearest(choices, ended.params[param_name], ordered=ordered) for ended, _ in told]
        known = policy.features(len(choices), ordered=ordered)
        theta = policy.learned(known, taken, policy.advantages([reward for _, reward in told]))
        drawn = np.random.default_rng([self.seed, trial.number, zlib.crc32(param_name.encode())])
        return choices[int(drawn.choice(len(choices), p=policy.probabilities(theta, known)))]


def values_of(distribution: Any) -> tuple[Sequence[Any], bool]:
    """The values of a dimension, and whether they are ordered."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return distribution.choices, False
    low, high, step = distribution.low, distribution.high, distribution.step
    whole = isinstance(distribution, optuna.distributions.IntDistribution)
    if distribution.log:
        spaced = np.exp(np.linspace(np.log(low), np.log(high), MAX_VALUES))
        return (sorted({*np.rint(spaced).astype(int).tolist()}) if whole else np.clip(spaced, low, high).tolist()), True
    if step is None:
        return np.linspace(low, high, MAX_VALUES).tolist(), True
    last = round((high - low) / step)
    places = np.unique(np.rint(np.linspace(0, last, min(last + 1, MAX_VALUES))).astype(int)).tolist()
    return [low + place * step for place in places], True


def nearest(choices: Sequence[Any], value: Any, *, ordered: bool) -> int:
    """Place of a value, or of the one nearest to it, as another sampler may have drawn it."""
    return int(np.argmin(np.abs(np.asarray(choices) - value))) if ordered else list(choices).index(value)
