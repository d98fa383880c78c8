"""How latency is measured."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.options import option


@dataclass(frozen=True)
class Benchmark:
    """How latency is measured."""

    target: str = option(
        "host", "device profile by name, or the path of a TOML file of your own: threads, kernels, limits"
    )
    num_processes: int = option(
        10, "fresh processes per model; comparisons need 6, percentiles beyond the median 10", minimum=1, maximum=1000
    )
    num_runs: int = option(
        100,
        "timed inferences per process, in ten turns: rounded up to a multiple of ten",
        minimum=10,
        maximum=1_000_000,
    )
    warmup_runs: int = option(
        20,
        "fewest inferences before the first timed one, in each process; they go on until the times are steady",
        minimum=1,
        maximum=100_000,
    )
