"""One measuring process: ``python -m edgekd.measure`` reads a request, a line on stdin, and prints one JSON line.

Where it is to take turns with other processes, it prints a line when it is warm and after each turn, and waits for a
line before each turn. It imports numpy and LiteRT alone, so that its peak memory is that of the model and the
interpreter. A stranger's model that crashes takes this process with it and no other.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REQUEST_FIELDS = ("model", "images", "kernel", "num_threads", "pin_cpus", "warmup_runs", "num_runs", "num_turns")


def measure(request: dict[str, Any], await_turn: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Time one model.

    Of several turns each begins with an inference that is not timed: what ran meanwhile has taken the caches.

    Args:
        request: ``model`` and ``images`` (paths; images is an .npy of inputs ``(n, ...)`` in the model's type),
            ``kernel``, ``num_threads``, ``pin_cpus``, ``warmup_runs`` (fewest; :mod:`edgekd.steady` has the rule),
            ``num_runs``, ``num_turns`` (over which the runs are spread evenly, rounded up).
        await_turn: returns when the next turn begins.

    Returns:
        ``{"init_ms", "first_ms", "warmup_runs", "steady", "invoke_ms": [...], "num_turns", "cpu_share",
        "involuntary_switches", "peak_rss_bytes", "pinned"}``. ``init_ms`` is from opening the file to allocated
        tensors; ``invoke_ms`` are the timed runs alone, without copying the input; ``cpu_share`` is the processor time
        of the timed part over its wall time, below 1 on one thread where something else had the processor.
    """
    pinned = False
    if request["pin_cpus"] and hasattr(os, "sched_setaffinity"):
        allowed = os.sched_getaffinity(0) & set(request["pin_cpus"])
        if allowed:
            os.sched_setaffinity(0, allowed)
            pinned = True
    import numpy as np

    from edgekd import steady
    from edgekd._litert import open_interpreter

    images = np.load(request["images"], allow_pickle=False)
    started = time.perf_counter_ns()
    interpreter = open_interpreter(request["model"], request["kernel"], request["num_threads"])
    initialised = time.perf_counter_ns()
    index = interpreter.get_input_details()[0]["index"]
    number = 0

    def run() -> float:
        nonlocal number
        interpreter.set_tensor(index, images[number % len(images)][None])
        number += 1
        before = time.perf_counter_ns()
        interpreter.invoke()
        return (time.perf_counter_ns() - before) / 1e6

    first = run()
    warming, is_steady = steady.warm_up(run, request["warmup_runs"])
    turns = request["num_turns"]
    times: list[float] = []
    switches = spent = lasted = 0
    for _ in range(turns):
        if turns > 1:
            await_turn()
            run()
        switched, used, began = _involuntary_switches(), time.process_time_ns(), time.perf_counter_ns()
        times += [run() for _ in range(math.ceil(request["num_runs"] / turns))]
        lasted += time.perf_counter_ns() - began
        spent += time.process_time_ns() - used
        switches += _involuntary_switches() - switched
    return {
        "init_ms": (initialised - started) / 1e6,
        "first_ms": first,
        "warmup_runs": len(warming),
        "steady": is_steady,
        "invoke_ms": times,
        "num_turns": turns,
        "cpu_share": spent / max(lasted, 1),
        "involuntary_switches": switches,
        "peak_rss_bytes": peak_rss_bytes(),
        "pinned": pinned,
    }


def _involuntary_switches() -> int:
    """How often the system took the processor from this process; 0 where it does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def peak_rss_bytes() -> int:
    """Largest resident memory of this program so far.

    On Linux from ``/proc``: what ``getrusage`` reports there includes the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def main() -> None:
    """Answer one request; an edgekd error is answered as ``{"error": message}``."""
    from edgekd.errors import EdgekdError

    def await_turn() -> None:
        print("{}", flush=True)
        if not sys.stdin.readline():
            sys.exit("nobody waits for the answer any more")

    request = json.loads(sys.stdin.readline())
    try:
        answer = measure({name: request[name] for name in REQUEST_FIELDS}, await_turn)
    except EdgekdError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
