"""The scripts that put the benchmark to the test: their counts, their intervals, and the slowdown that they make."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import _slowed
import noise_check
import repeat_check


def trials(kind: str, verdicts: dict[str, int], ratio: float = 1.0, seconds: float = 6.0) -> list[dict[str, Any]]:
    names = [verdict for verdict, count in verdicts.items() for _ in range(count)]
    return [{"kind": kind, "verdict": verdict, "ratio": ratio, "seconds": seconds} for verdict in names]


def test_two_of_200_reach_the_goal() -> None:
    """Clopper and Pearson's interval of 2 of 200 is 0.12 % to 3.57 %; of 195 of 200, 94.26 % to 99.18 %."""
    same = trials("same", {"within noise": 198, "slower": 1, "faster": 1})
    slowed = trials("slowed", {"slower": 195, "within noise": 5}, ratio=1.05)
    found = noise_check.summary(same + slowed)
    assert (found["same"]["told_apart"], found["same"]["rate"]) == (2, 0.01)
    assert found["same"]["ci95"] == pytest.approx([0.0012, 0.0357], abs=5e-5)
    assert (found["slowed"]["found"], found["slowed"]["rate"]) == (195, 0.975)
    assert found["slowed"]["ci95"] == pytest.approx([0.9426, 0.9918], abs=5e-5)
    assert found["slowed"]["median_ratio"] == 1.05
    assert set(found["goals"].values()) == {True}


@pytest.mark.parametrize(
    ("told_apart", "missed", "seconds", "broken"),
    [
        (4, 0, 6.0, "told_apart_interval_reaches_1_percent_and_stays_under_5"),  # 4 of 200: up to 5.04 %
        (8, 0, 6.0, "told_apart_interval_reaches_1_percent_and_stays_under_5"),  # from 1.74 %
        (2, 11, 6.0, "slowdown_found_in_95_percent"),
        (2, 0, 20.1, "trials_within_20_s"),
    ],
)
def test_what_falls_short_is_named(told_apart: int, missed: int, seconds: float, broken: str) -> None:
    same = trials("same", {"within noise": 200 - told_apart, "slower": told_apart}, seconds=seconds)
    slowed = trials("slowed", {"slower": 200 - missed, "faster": missed})
    goals = noise_check.summary(same + slowed)["goals"]
    assert [name for name, reached in goals.items() if not reached] == [broken]


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    model, out, made = tmp_path / "m.tflite", tmp_path / "found.json", []
    model.write_bytes(b"model")

    def trial(path: Path, kind: str, number: int, settings: Any) -> dict[str, Any]:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((kind, number))
        return {"kind": kind, "verdict": "within noise", "ratio": 1.0, "seconds": 1.0}

    monkeypatch.setattr(noise_check, "trial", trial)
    monkeypatch.setattr(
        sys, "argv", ["noise_check.py", str(model), "--trials", "3", "--slowed-trials", "2", "--out", str(out)]
    )
    with pytest.raises(KeyboardInterrupt):
        noise_check.main()
    assert len(json.loads(out.read_text())["trials"]) == 3
    made[:] = []
    noise_check.main()
    assert made == [("slowed", 1), ("same", 2)]
    assert json.loads(capsys.readouterr().out)["same"]["trials"] == 3
    model.write_bytes(b"another")
    with pytest.raises(SystemExit, match="is of other settings"):
        noise_check.main()


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.5])
def test_the_slowed_interpreter_takes_the_stated_fraction_longer(fraction: float) -> None:
    lasted = []

    class Inner:
        get_input_details = set_tensor = None

        def invoke(self) -> None:
            began = time.perf_counter_ns()
            while time.perf_counter_ns() < began + 2_000_000:
                pass
            lasted.append(time.perf_counter_ns() - began)

    slowed, ratios = _slowed.Slowed(Inner(), fraction), []
    for _ in range(20):
        began = time.perf_counter_ns()
        slowed.invoke()
        ratios.append((time.perf_counter_ns() - began) / lasted[-1])
    # An interruption in the spin makes it longer, never shorter.
    assert 1 + fraction <= min(ratios) <= 1 + fraction + 0.01


def test_repeated_ratios_are_counted_within_the_stated_intervals() -> None:
    def row(model: str, ratio: float, low: float, high: float) -> dict[str, Any]:
        return {"model": model, "baseline": "base", "ratio": ratio, "ci95": [low, high]}

    first = {"at": 0.0, "ratios": [row("a", 0.5, 0.4, 0.6), row("b", 2.0, 1.9, 2.1), row("c", 1.0, 0.9, 1.1)]}
    second = {"at": 3660.0, "ratios": [row("a", 0.6, 0.5, 0.7), row("b", 2.2, 2.05, 2.4), row("c", 1.3, 1.2, 1.4)]}
    found = repeat_check.compare(first, second)
    assert (found["minutes_apart"], found["pairs"]) == (61.0, 3)
    assert (found["within_stated_interval"], found["intervals_overlap"]) == (1, 2)
    assert [(row["within"], row["overlap"]) for row in found["rows"]] == [(True, True), (False, True), (False, False)]
