"""How latency is measured."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.errors import RecipeError
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
    price_per_hour: float | None = option(
        None,
        "what an hour of the machine costs, for the cost of a million images where the target is a server (cloud)",
        above=0,
        maximum=1_000_000,
    )
    currency: str = option("", 'of benchmark.price_per_hour, such as "EUR"')


def check_price(benchmark: Benchmark) -> None:
    """Raise RecipeError for a price without its currency, or a currency without a price."""
    price, currency = benchmark.price_per_hour, benchmark.currency
    if price is not None and not currency.strip():
        raise RecipeError(f'benchmark.price_per_hour = {price:g}: of which currency? Set benchmark.currency = "EUR"')
    if price is None and currency:
        raise RecipeError(f'benchmark.currency = "{currency}": of which price? Set benchmark.price_per_hour too')
