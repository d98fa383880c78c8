"""What the machine did while models were timed: its clock, its load, and who else took its processors."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of all processors' time. The load average would count the training that ended a moment ago.
BUSY_SHARE = 0.10
STEAL_SHARE = 0.01
CLOCK_DROP = 0.05

_THROTTLE_COUNTS = "cpu*/thermal_throttle/core_throttle_count"


@dataclass(frozen=True)
class Reading:
    """The machine at one moment; what the system does not tell is None or empty.

    Attributes:
        at: seconds of a clock that only goes forward.
        busy_s: processor seconds since start-up that were spent on anything, summed over the processors.
        steal_s: those that the hypervisor gave to other guests.
        own_s: those of this process and of its ended children.
        clock_mhz: of each processor.
        load: processes that wanted a processor, on average over a minute.
        throttled: how often a processor was slowed down for its heat since start-up.
        celsius: the hottest sensor.
    """

    at: float
    busy_s: float
    steal_s: float
    own_s: float | None
    clock_mhz: tuple[float, ...]
    load: float | None
    throttled: int | None
    celsius: float | None


def read() -> Reading:
    """Look at the machine now."""
    import psutil

    spent, own = psutil.cpu_times(), os.times()
    names = ("user", "nice", "system", "irq", "softirq")  # guests are counted in user
    temperatures = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    return Reading(
        at=time.monotonic(),
        busy_s=sum(getattr(spent, name, 0.0) for name in names),
        steal_s=getattr(spent, "steal", 0.0),
        # Windows does not count children.
        own_s=None if os.name == "nt" else sum(own[:4]),
        clock_mhz=_clock(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        throttled=_throttled(Path("/sys/devices/system/cpu")),
        celsius=max((row.current for rows in temperatures.values() for row in rows), default=None),
    )


def _clock() -> tuple[float, ...]:
    import psutil

    try:
        return tuple(row.current for row in psutil.cpu_freq(percpu=True) or ())
    except (AttributeError, NotImplementedError, OSError):  # not on every system, not in every container
        return ()


def _throttled(folder: Path) -> int | None:
    counts = [int(path.read_text()) for path in folder.glob(_THROTTLE_COUNTS)]
    return sum(counts) if counts else None


def between(before: Reading, after: Reading, cpus: int) -> dict[str, Any]:
    """What happened between two readings: shares are of the time of all ``cpus`` processors."""
    available = max(after.at - before.at, 1e-9) * cpus
    others = None
    if before.own_s is not None and after.own_s is not None:
        own = after.own_s - before.own_s
        others = min(1.0, max(0.0, (after.busy_s - before.busy_s - own) / available))
    throttled = None if before.throttled is None or after.throttled is None else after.throttled - before.throttled
    return {
        "seconds": after.at - before.at,
        "others_share": others,
        "steal_share": max(0.0, (after.steal_s - before.steal_s) / available),
        "clock_mhz": {"before": list(before.clock_mhz), "after": list(after.clock_mhz)},
        "load": {"before": before.load, "after": after.load},
        "celsius": {"before": before.celsius, "after": after.celsius},
        "throttle_events": throttled,
    }


def warnings(found: Mapping[str, Any], cpus: int) -> Iterator[str]:
    """What :func:`between` found that makes figures doubtful, in words."""
    if (found["others_share"] or 0) > BUSY_SHARE:
        yield f"a busy neighbour: other processes took {found['others_share']:.0%} of {cpus} processors meanwhile"
    if found["steal_share"] > STEAL_SHARE:
        yield f"a busy neighbour: the hypervisor gave {found['steal_share']:.1%} of the processors' time to others"
    if found["throttle_events"]:
        yield f"throttling: the processors were slowed down for their heat {found['throttle_events']} times"
    before, after = (found["clock_mhz"][when] for when in ("before", "after"))
    if before and after and max(after) < (1 - CLOCK_DROP) * max(before):
        yield f"throttling: the fastest processor went from {max(before):.0f} to {max(after):.0f} MHz"
