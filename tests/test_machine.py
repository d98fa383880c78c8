"""What is said of a machine, from readings made by hand and from this one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgekd import machine

BEFORE = machine.Reading(
    at=100.0,
    busy_s=1000.0,
    steal_s=5.0,
    own_s=40.0,
    clock_mhz=(2600.0, 3000.0),
    load=0.5,
    throttled=7,
    celsius=50.0,
)
# Ten seconds of two processors: 20 processor seconds. We took 8 of the 9 busy ones.
AFTER = dataclasses.replace(BEFORE, at=110.0, busy_s=1009.0, own_s=48.0, load=1.0, celsius=61.0)


def said(after: machine.Reading, before: machine.Reading = BEFORE) -> list[str]:
    return list(machine.warnings(machine.between(before, after, 2), 2))


def test_a_quiet_machine() -> None:
    assert machine.between(BEFORE, AFTER, 2) == {
        "seconds": 10.0,
        "others_share": pytest.approx(0.05),
        "steal_share": 0.0,
        "clock_mhz": {"before": [2600.0, 3000.0], "after": [2600.0, 3000.0]},
        "load": {"before": 0.5, "after": 1.0},
        "celsius": {"before": 50.0, "after": 61.0},
        "throttle_events": 0,
    }
    assert said(AFTER) == []


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"busy_s": 1013.0}, "a busy neighbour: other processes took 25% of 2 processors meanwhile"),
        ({"steal_s": 5.5}, "a busy neighbour: the hypervisor gave 2.5% of the processors' time to others"),
        ({"throttled": 9}, "throttling: the processors were slowed down for their heat 2 times"),
        ({"clock_mhz": (2500.0, 2000.0)}, "throttling: the fastest processor went from 3000 to 2500 MHz"),
    ],
)
def test_what_makes_figures_doubtful_is_said(changes: dict[str, Any], warning: str) -> None:
    assert said(dataclasses.replace(AFTER, **changes)) == [warning]


@pytest.mark.parametrize(
    "changes", [{"busy_s": 1009.9}, {"steal_s": 5.19}, {"clock_mhz": (2600.0, 2850.0)}, {"clock_mhz": (1.0, 3500.0)}]
)
def test_what_is_usual_is_not(changes: dict[str, Any]) -> None:
    """Close to the limits: a tenth, a hundredth, five hundredths."""
    assert said(dataclasses.replace(AFTER, **changes)) == []


def test_what_the_system_does_not_tell_is_unknown_and_no_warning() -> None:
    unknown: dict[str, Any] = {"own_s": None, "clock_mhz": (), "load": None, "throttled": None, "celsius": None}
    before, after = (dataclasses.replace(reading, **unknown) for reading in (BEFORE, AFTER))
    found = machine.between(before, after, 2)
    assert (found["others_share"], found["throttle_events"]) == (None, None)
    assert said(after, before) == []


def test_throttle_counts_are_added_up(tmp_path: Path) -> None:
    assert machine._throttled(tmp_path) is None
    for name, count in (("cpu0", 3), ("cpu1", 4)):
        folder = tmp_path / name / "thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{count}\n")
    assert machine._throttled(tmp_path) == 7


def test_our_own_processor_time_is_not_a_neighbours() -> None:
    """Half a second of this process and half a second of a child are ours."""
    before = machine.read()
    ends = time.process_time() + 0.5
    while time.process_time() < ends:
        pass
    spin = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    after = machine.read()
    assert before.own_s is not None
    assert after.own_s is not None
    assert after.own_s - before.own_s >= 0.95
    # Processor time is counted in ticks of 10 ms.
    assert after.busy_s - before.busy_s >= after.own_s - before.own_s - 0.2
