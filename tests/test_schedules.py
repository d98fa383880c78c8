"""The benchmark of learned schedules: its arms, and who won by hand. Nothing is trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="the extra search is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import schedules

from edgekd import recipe
from edgekd.search import space


def base() -> recipe.Recipe:
    table = {"name": "tiny", "seed": 7, "data": {"name": "synthetic_cells", "image_size": 32}}
    prune = {"method": "channel", "keep_macs": 0.5}
    return recipe.from_table({**table, "distill": {"student": "ds_cnn", "width_multiplier": 0.5}, "prune": prune})


@pytest.mark.parametrize("arm", schedules.ARMS)
def test_every_arm_is_a_search_that_can_be(arm: str) -> None:
    made = schedules.recipe_of(arm, base(), 50_000)
    space.check(made)
    assert (made.budget.max_tflite_bytes, made.search.objectives) == (50_000, ("auc",))
    searching = arm in schedules.SEARCHED
    assert made.prune.keep_macs == (1.0 if searching else 0.5)
    assert made.distill.schedule == ("meta" if arm == "meta" else "fixed")
    ratios = [key for key in made.search.space if key.startswith(space.RATIOS)]
    assert bool(ratios) == searching
    assert set(made.search.space) - set(ratios) == (set(schedules.LOSS) if searching else {"seed"})
    assert (made.search.controller == "policy_gradient") == (arm == "policy_gradient")


def test_who_won_by_hand() -> None:
    """Differences 0.02, 0.03 and 0.04: mean 0.03, deviation 0.01, t of 2 degrees 4.3027, half width 0.02484."""
    scores = {
        "one": {"0": 0.92, "1": 0.94, "2": 0.96},
        "two": {"0": 0.90, "1": 0.91, "2": 0.92},
        "three": {"0": 0.93, "1": 0.93, "2": None},
        "none": {"0": 0.99, "1": None, "2": None},
    }
    found = schedules.verdicts(scores)
    row = found["one"]["two"]
    assert (row["n"], row["verdict"], found["two"]["one"]["verdict"]) == (3, "won", "lost")
    assert [row["difference"], *row["ci95"]] == pytest.approx([0.03, 0.00516, 0.05484], abs=1e-5)
    assert found["one"]["three"]["verdict"] == "not shown"  # -0.01 and 0.01
    assert found["one"]["three"]["n"] == 2
    assert found["one"]["none"] == {"difference": None, "ci95": None, "n": 1, "verdict": "not shown"}
    lines = schedules.sentences(found)
    assert "one against two: won, +0.0300 (+0.0052 to +0.0548) AUC on val over 3 seeds" in lines
    assert "one against none: not shown, 1 seeds with a score from both" in lines
    assert len(lines) == 12


def test_the_best_within_the_budget_counts() -> None:
    def row(number: int, auc: float | None, held: bool) -> dict[str, Any]:
        figures = {"auc": auc, "accuracy": 0.8, "tflite_bytes": 10, "p50_ms": 1.0, "n": 5}
        return {"number": number, "held": held, "changes": {"seed": number}, "measured": figures if auc else None}

    trials = [row(0, 0.99, False), row(1, 0.95, True), row(2, 0.96, True), row(3, None, False)]
    found = schedules.summary({"trials": trials, "seconds": 12.34})
    assert (found["num_trials"], found["num_complete"], found["num_held"], found["seconds"]) == (4, 3, 2, 12.3)
    assert (found["score"], found["best"]["changes"]) == (0.96, {"seed": 2})
    assert schedules.summary({"trials": trials[:1], "seconds": 0.0})["score"] is None
    first = schedules.summary({"trials": trials[::-1], "seconds": 1.0}, 2)  # by number, whatever the order
    assert (first["num_trials"], first["num_held"], first["score"]) == (2, 1, 0.95)


def test_a_cache_of_its_own_begins_with_what_is_there(tmp_path: Path) -> None:
    entry = tmp_path / "source" / "ab" / "abcd"
    entry.mkdir(parents=True)
    (entry / "facts.json").write_text("{}")
    (tmp_path / "source" / "work").mkdir()
    cache = schedules.own_cache(tmp_path / "source", tmp_path / "caches" / "own")
    assert (cache.root / "ab" / "abcd" / "facts.json").read_text() == "{}"
    assert not (cache.root / "work").exists()
    (cache.root / "more").mkdir()
    again = schedules.own_cache(tmp_path / "source", tmp_path / "caches" / "own")
    assert (again.root / "more").exists()
    assert not (tmp_path / "source" / "more").exists()
