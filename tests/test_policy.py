"""The controller that is learned: its gradient, its updates by hand, its rewards, and a search with a known optimum."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from scipy.stats import entropy

optuna = pytest.importorskip("optuna", reason="the extra search is not installed")

from edgekd import recipe  # noqa: E402
from edgekd.errors import RecipeError  # noqa: E402
from edgekd.limits import limit  # noqa: E402
from edgekd.search import policy, result, study  # noqa: E402
from edgekd.search.policy_sampler import PolicySampler, nearest, values_of  # noqa: E402


@pytest.mark.parametrize(("count", "ordered"), [(7, True), (2, True), (4, False)])
def test_gradients_are_those_of_numeric_differentiation(count: int, ordered: bool) -> None:
    known = policy.features(count, ordered=ordered)
    theta = np.random.default_rng(count).normal(size=known.shape[1])
    for place, step in enumerate(1e-6 * np.eye(len(theta))):
        above, below = known @ (theta + step), known @ (theta - step)
        for taken in range(count):
            slope = (log_softmax(above)[taken] - log_softmax(below)[taken]) / 2e-6
            assert policy.score_gradient(theta, known, taken)[place] == pytest.approx(slope, abs=1e-8)
        slope = (entropy(softmax(above)) - entropy(softmax(below))) / 2e-6
        assert policy.entropy_gradient(theta, known)[place] == pytest.approx(slope, abs=1e-8)


def test_it_starts_as_random_search() -> None:
    for ordered in (True, False):
        known = policy.features(5, ordered=ordered)
        np.testing.assert_allclose(policy.probabilities(policy.learned(known, [], []), known), 0.2)
    assert policy.features(1, ordered=True).tolist() == [[0.0, 0.0]]


def test_one_update_by_hand() -> None:
    """Two values at -1 and 1, p = 1/2: the score of the second is (1, 0) and the entropy has no slope."""
    known = policy.features(2, ordered=True)
    theta = policy.learned(known, [1], [1.0])
    np.testing.assert_allclose(theta, [0.6, 0.0], atol=1e-12)
    np.testing.assert_allclose(policy.probabilities(theta, known), [1 - expit(1.2), expit(1.2)])
    np.testing.assert_allclose(policy.learned(known, [1], [-1.0]), [-0.6, 0.0], atol=1e-12)


def test_advantages_by_hand() -> None:
    """Weights 0.16 and 0.2 of 1 and 3: mean 0.76 / 0.36, mean square 1.96 / 0.36, so (3 - 19/9) / sqrt(80/81)."""
    assert policy.advantages([1.0, 3.0, 3.0]) == pytest.approx([0.0, 2.0, (8 / 9) / np.sqrt(80 / 81)])
    assert policy.advantages([0.5, 0.5, 0.5, 0.4]) == pytest.approx([0.0, 0.0, 0.0, -2.0])
    assert policy.advantages([]) == []


def trial(state: str, *, seen: dict[int, float] | None = None, **attributes: Any) -> Any:
    return SimpleNamespace(state=SimpleNamespace(name=state), intermediate_values=seen or {}, user_attrs=attributes)


def test_rewards_by_hand() -> None:
    size = limit("max_tflite_bytes", 100, 130, at_most=True)
    recall = limit('min_recall."ill"', 0.8, 0.6, at_most=False)
    held = limit("max_p50_ms", 2.0, 1.0, at_most=True)
    figures = {"auc": 0.9, "accuracy": 0.8}
    assert study.reward_of(trial("COMPLETE", measured=figures, limits=[held]), "auc") == 0.9
    assert study.reward_of(trial("COMPLETE", measured=figures, limits=[]), "accuracy") == 0.8
    missed = trial("COMPLETE", measured=figures, limits=[held, size, recall])
    assert study.reward_of(missed, "auc") == pytest.approx(0.9 - (0.3 + 0.25))
    far = limit("max_tflite_bytes", 100, 900, at_most=True)
    assert study.reward_of(trial("COMPLETE", measured=figures, limits=[far]), "auc") == pytest.approx(0.9 - 1.0)
    assert study.reward_of(trial("PRUNED", seen={0: 0.5, 2: 0.7, 1: 0.6}), "auc") == 0.7
    assert study.reward_of(trial("FAIL", problem="cannot be made"), "auc") == -1.0
    for lost in ({}, {"problem": study.DIED}, {"problem": study.OUT_OF_TIME}):
        assert study.reward_of(trial("FAIL", **lost), "auc") is None
    assert study.reward_of(trial("RUNNING"), "auc") is None


def test_a_dimension_as_values() -> None:
    of = optuna.distributions
    assert values_of(of.CategoricalDistribution(("b", "a", True))) == (("b", "a", True), False)
    assert values_of(of.IntDistribution(2, 8, step=3)) == ([2, 5, 8], True)
    assert values_of(of.FloatDistribution(0.0, 0.5, step=0.25)) == ([0.0, 0.25, 0.5], True)
    found, _ = values_of(of.FloatDistribution(1.0, 16.0, log=True))
    np.testing.assert_allclose(found, 16.0 ** np.linspace(0, 1, 64))
    found, _ = values_of(of.IntDistribution(0, 10_000))
    assert (len(found), found[0], found[-1]) == (64, 0, 10_000)
    assert values_of(of.IntDistribution(1, 4, log=True)) == ([1, 2, 3, 4], True)
    assert nearest([0.0, 0.25, 0.5], 0.4, ordered=True) == 2
    assert nearest(("b", "a"), "a", ordered=False) == 1


def sampler(seed: int) -> PolicySampler:
    return PolicySampler(lambda ended: study.reward_of(ended, "auc"), seed)


BEST = {"stem": 0.1, "block1": 0.6, "block2": 0.3, "block3": 0.8, "block4": 0.5}


def toy(drawn: Any) -> float:
    """Accuracy 0.95 at the best ratios and loss "kd", less the mean square away from them; half must go in the mean."""
    ratios = {name: drawn.suggest_float(name, 0.0, 0.9, step=0.1) for name in BEST}
    loss = drawn.suggest_categorical("loss", ["dkd", "kd", "dist"])
    away = float(np.mean([(ratios[name] - best) ** 2 for name, best in BEST.items()]))
    accuracy = 0.95 - away - (0.0 if loss == "kd" else 0.05)
    kept = 1 - float(np.mean(list(ratios.values())))
    drawn.set_user_attr(study.MEASURED, {"auc": accuracy})
    drawn.set_user_attr(study.LIMITS, [limit("max_tflite_bytes", 0.6, kept, at_most=True)])
    return accuracy


def searched(by: Any, count: int, opened: Any = None) -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = opened or optuna.create_study(direction="maximize", sampler=by)
    opened.sampler = by
    opened.optimize(toy, n_trials=count)
    return opened


def found_by(opened: Any) -> tuple[float, float]:
    """The best accuracy under the budget, and the mean accuracy of the last ten trials, 0 for one that is over it."""
    held = [ended.value * ended.user_attrs[study.LIMITS][0]["held"] for ended in opened.get_trials()]
    return max(held), float(np.mean(held[-10:]))


def test_it_comes_nearer_to_a_known_optimum_than_random_search() -> None:
    ours = [found_by(searched(sampler(seed), 60)) for seed in range(12)]
    control = [found_by(searched(optuna.samplers.RandomSampler(seed), 60)) for seed in range(12)]
    won = sum(one[0] > other[0] for one, other in zip(ours, control, strict=True))
    assert won >= 10  # by chance in 2 of 100 times
    assert np.mean([best for best, _ in ours]) > 0.93
    assert sum(one[1] > other[1] for one, other in zip(ours, control, strict=True)) >= 10
    assert np.mean([late for _, late in ours]) > np.mean([late for _, late in control]) + 0.1


def test_a_study_that_is_gone_on_with_draws_the_same(tmp_path: Path) -> None:
    def opened() -> Any:
        backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.jsonl"))
        storage = optuna.storages.JournalStorage(backend)
        return optuna.create_study(storage=storage, study_name="toy", direction="maximize", load_if_exists=True)

    whole = searched(sampler(3), 14)
    searched(sampler(3), 9, opened())
    again = searched(sampler(3), 5, opened())
    assert [ended.params for ended in again.get_trials()] == [ended.params for ended in whole.get_trials()]
    other = searched(sampler(4), 2)
    assert other.get_trials()[0].params != whole.get_trials()[0].params


def made(**changes: Any) -> recipe.Recipe:
    space = {"distill.temperature": {"low": 1.0, "high": 8.0, "log": True}}
    table = {"controller": "policy_gradient", "objectives": ["auc"], "space": space, **changes.pop("search", {})}
    return recipe.from_table({"name": "tiny", "data": {"name": "synthetic_cells"}, "search": table, **changes})


def test_the_study_has_it_and_the_result_names_it(tmp_path: Path) -> None:
    opened = study.open_study(made(), str(tmp_path / "study.jsonl"), create=True, seed=7)
    assert isinstance(opened.sampler, PolicySampler)
    assert 1.0 <= opened.ask().suggest_float("distill.temperature", 1.0, 8.0, log=True) <= 8.0
    assert result.drawn_by(made().search) == "policy_gradient"
    assert result.drawn_by(made(search={"controller": "sampler", "sampler": "random"}).search) == "random"


def test_without_a_reward_it_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"tflite_bytes is no part of: set \[budget\]"):
        made(search={"objectives": ["auc", "tflite_bytes"]})
    assert made(search={"objectives": ["auc", "tflite_bytes"]}, budget={"max_tflite_bytes": 1000}).budget.is_set
    with pytest.raises(RecipeError, match=r'search\.sampler = "grid" in a row'):
        made(search={"sampler": "grid"})
    with pytest.raises(RecipeError, match='did you mean "policy_gradient"'):
        made(search={"controller": "policy-gradient"})
