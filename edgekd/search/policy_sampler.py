"""The policy of :mod:`edgekd.search.policy` as a sampler of Optuna: it learns from the study and has no state.

So trials are drawn, stored, lost and resumed as those of any other sampler, by as many processes as one likes, and
equal trials and an equal seed give the equal next draw.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from edgekd.config.search import ACCURACIES
from edgekd.limits import shortfall
from edgekd.search import policy, study

MAX_VALUES = 64
"""Into so many values, evenly spaced, a range is cut that has more."""


class PolicySampler(optuna.samplers.BaseSampler):
    """Draws each dimension by what REINFORCE has learned from the trials that have ended.

    Args:
        objectives: of the search; the first accuracy among them is the reward.
        seed: of the draws.
    """

    def __init__(self, objectives: Sequence[str], seed: int):
        self.accuracy = next(name for name in objectives if name in ACCURACIES)
        self.seed = seed

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
            if param_name in ended.params and (reward := reward_of(ended, self.accuracy)) is not None
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


def reward_of(trial: Any, accuracy: str) -> float | None:
    """What a trial has earned; None where it tells nothing, as it runs, was killed, or its time was up.

    ===========================  ==================================================================
    keeps the budget             the accuracy on val, in [0, 1]
    does not                     that, less the shortfall: that of each limit as a share of it, at most 1 in all
    cannot be made               -1
    was stopped early            the last AUC on val: of a student that is behind
    ===========================  ==================================================================
    """
    state, attributes = trial.state.name, trial.user_attrs
    if state == "COMPLETE":
        return _earned(attributes.get(study.MEASURED), attributes.get(study.LIMITS, ()), accuracy)
    if state == "PRUNED" and trial.intermediate_values:
        return float(trial.intermediate_values[max(trial.intermediate_values)])
    problem = attributes.get(study.PROBLEM)
    return -1.0 if state == "FAIL" and problem not in (None, study.DIED, study.OUT_OF_TIME) else None


def _earned(measured: Mapping[str, Any] | None, limits: Sequence[Mapping[str, Any]], accuracy: str) -> float | None:
    if measured is None:
        return None
    missed = sum(shortfall(row) for row in limits if not row["held"])
    return float(measured[accuracy]) - min(1.0, missed)
