"""What the shipped model may cost, in bytes, milliseconds and accuracy: then build looks for a chain that keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekd.options import option


@dataclass(frozen=True)
class Budget:
    """Limits of the shipped model, decided on val; where the recipe as written misses one, other chains are tried."""

    max_tflite_bytes: int | None = option(None, "largest size of the shipped file, in bytes", minimum=1)
    max_p50_ms: float | None = option(
        None, "largest median latency of the shipped model on benchmark.target, in milliseconds", above=0
    )
    max_accuracy_drop_pp: float | None = option(
        None,
        "largest fall of accuracy from the distilled student in fp32, before pruning and QAT, to the shipped model: "
        "what compression costs as a whole, in percentage points",
        minimum=0,
        maximum=100,
    )
    min_recall: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"doc": "least recall of a class, by class name", "minimum": 0, "maximum": 1},
    )

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return self != Budget()
