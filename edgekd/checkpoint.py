"""Where a training stands, on the disk: what a loop that was killed goes on from."""

from __future__ import annotations

import json
import logging
import os
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.workers import Workers

logger = logging.getLogger("edgekd")


@dataclass
class State:
    """Where a loop stands; all of it goes into the checkpoint."""

    step: int = 0
    loss_sum: float = 0.0
    best: tuple[float, float] | None = None
    best_weights: list[NDArray[Any]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """All but the weights, as JSON has it."""
        return {"step": self.step, "loss_sum": self.loss_sum, "best": self.best, "history": self.history}

    @classmethod
    def of(cls, facts: Any, best_weights: list[NDArray[Any]]) -> State:
        """Read :meth:`facts` back."""
        best = None if facts["best"] is None else (facts["best"][0], facts["best"][1])
        return cls(facts["step"], facts["loss_sum"], best, best_weights, facts["history"])


def save(path: Path, networks: Sequence[Any], optimizer: Any, state: State) -> None:
    """Write weights, optimizer and state; the file is replaced in one step."""
    groups = {
        **{f"network{index}": network.get_weights() for index, network in enumerate(networks)},
        "optimizer": [variable.numpy() for variable in optimizer.variables],
        "best": state.best_weights,
    }
    arrays = {
        f"{group}/{index:05d}": array
        for group, group_arrays in groups.items()
        for index, array in enumerate(group_arrays)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")  # another process may train the same
    with temporary.open("wb") as file:
        np.savez(file, state=np.frombuffer(json.dumps(state.facts()).encode(), np.uint8), **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def restore(path: Path, networks: Sequence[Any], optimizer: Any) -> State | None:
    """Read a checkpoint back; None where there is none, or a damaged one, which is a warning."""
    if not path.exists():
        return None
    named = {f"network{index}": network for index, network in enumerate(networks)}
    groups: dict[str, list[NDArray[Any]]] = {name: [] for name in (*named, "optimizer", "best")}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in sorted(archive.files):
                if name != "state":
                    groups[name.split("/")[0]].append(archive[name])
            facts = json.loads(archive["state"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning(f"a checkpoint is damaged and its training starts anew: {error}")
        return None
    for name, network in named.items():
        network.set_weights(groups[name])
    for variable, value in zip(optimizer.variables, groups["optimizer"], strict=True):
        variable.assign(value)
    return State.of(facts, groups["best"])


def agree(state: State, networks: Sequence[Any], optimizer: Any, workers: Workers) -> State:
    """Have all workers stand where the chief does: weights, optimizer and state, but for the best weights so far."""
    facts = workers.from_chief(state.facts)
    workers.take_from_chief([*(variable for network in networks for variable in network.weights), *optimizer.variables])
    return state if workers.is_chief else State.of(facts, [])
