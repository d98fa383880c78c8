"""How latency is measured."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.options import option


@dataclass(frozen=True)
class Benchmark:
    """How latency is measured."""

    target: str = option("host", "device profile: threads, kernels and pinning")
    num_processes: int = option(5, "fresh processes per model", minimum=1, maximum=1000)
    num_runs: int = option(100, "timed inferences per process", minimum=10, maximum=1_000_000)
    warmup_runs: int = option(20, "inferences before the first timed one, in each process", minimum=1, maximum=100_000)
