"""Judges the candidates of an architecture search: cost by the latency table, accuracy by the supernet's weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras
from edgekd.artifact import Artifact, digest_json
from edgekd.config.blocks import Blocks
from edgekd.config.budget import Budget
from edgekd.config.nas import Nas
from edgekd.data import Dataset, Split
from edgekd.data.prepare import calibration_indices
from edgekd.errors import UserError
from edgekd.nas.evolution import Rank
from edgekd.nas.latency_table import LatencyTable
from edgekd.options import read_table, to_table
from edgekd.stages.supernet import evenly
from edgekd.supernet import elastic
from edgekd.supernet.space import Space
from edgekd.training import evaluate


@dataclass(frozen=True)
class Judged:
    """A candidate.

    Attributes:
        predicted: ``{"p50_ms", "tflite_bytes"}`` by the latency table.
        val: ``{"loss", "auc"}`` and the accuracy by its name for the task, of the supernet's weights; None where it
            costs too much, so that nobody asked.
    """

    predicted: Mapping[str, float]
    val: Mapping[str, float] | None


def rank(judged: Judged, budget: Budget) -> Rank:
    """Within the budget by AUC and then by the loss; beyond it the nearer the better, and all of these behind."""
    over = overshoot(judged.predicted, budget)
    if over or judged.val is None:
        return (0.0, -over, 0.0)
    return (1.0, judged.val["auc"], -judged.val["loss"])


def overshoot(predicted: Mapping[str, float], budget: Budget) -> float:
    """The largest share by which a limit is missed; 0 where none is."""
    limits = {"p50_ms": budget.max_p50_ms, "tflite_bytes": budget.max_tflite_bytes}
    return max(0.0, *(predicted[cost] / limit - 1.0 for cost, limit in limits.items() if limit is not None))


class Judge:
    """Judges each candidate once, whoever asked before: what is known stands in a file, a line a candidate.

    Args:
        file: of what is known; where it is there, it is gone on with.
        data, supernet, table: what candidates are judged by; a file of other ones is refused.
        space: of the supernet.
        nas: how many images.
        budget: a candidate beyond it is not looked at further.
        seed: of the choice of images of val.

    Raises:
        UserError: a file of another supernet or table.
    """

    def __init__(
        self,
        file: Path,
        data: Artifact,
        supernet: Artifact,
        table: Artifact,
        *,
        space: Space,
        nas: Nas,
        budget: Budget,
        seed: int,
    ):
        dataset = Dataset.open(data)
        self.file, self.budget, self.image_size = file, budget, dataset.image_size
        self.table = LatencyTable.read(table.facts)
        self.model, self.space = _keras.load_model(supernet.path / "model"), space
        self.images = evenly(dataset.train.images, nas.num_batchnorm_images)
        self.val = part_of(dataset.val, nas.num_val_images, seed)
        self.answers = elastic.predictor(self.model, space, self.images)
        basis = [supernet.digest, table.digest, nas.num_batchnorm_images, nas.num_val_images, seed]
        self.known = _read(file, digest_json(basis))

    def __call__(self, blocks: Blocks) -> Judged:
        """Judge a candidate, and note it."""
        there = self.known.get(blocks)
        if there is not None and (there.val is not None or overshoot(there.predicted, self.budget)):
            return there
        predicted = self.table.predict(blocks, self.image_size)
        within = not overshoot(predicted, self.budget)
        judged = Judged(predicted, evaluate(self.answers(blocks), self.val) if within else None)
        self.known[blocks] = judged
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"blocks": to_table(blocks), **dataclasses.asdict(judged)}) + "\n")
        return judged


def part_of(val: Split, count: int, seed: int) -> Split:
    """At most so many images of val, in which the classes count alike as far as they can."""
    if count >= len(val.labels):
        return val
    indices = calibration_indices(val.labels, count, seed)
    return Split(np.asarray(val.images[indices]), val.labels[indices], val.num_classes, val.task)


def num_known(file: Path) -> int:
    """How many candidates a file holds."""
    return max(0, len(file.read_text(encoding="utf-8").splitlines()) - 1) if file.exists() else 0


def _read(file: Path, basis: str) -> dict[Blocks, Judged]:
    """What a file holds; a last line that a kill cut off is dropped. The file is begun where it is not there."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    known: dict[Blocks, Judged] = {}
    rows = [row for row in map(_parsed, lines) if row is not None]
    if rows and rows[0].get("basis") != basis:
        raise UserError(
            f'"{file}" holds candidates of another supernet or latency table: their figures cannot be compared. Name '
            "another --out, or undo what was changed"
        )
    for row in rows[1:]:
        known[read_table(Blocks, row["blocks"])] = Judged(row["predicted"], row["val"])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows or [{"basis": basis}]), encoding="utf-8")
    return known


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return row


def best(judged: Mapping[Blocks, Judged], budget: Budget, count: int) -> list[Blocks]:
    """The ``count`` of the highest rank; where none keeps the budget, the one that is nearest to it."""
    ranks = {blocks: rank(found, budget) for blocks, found in judged.items()}
    order = sorted(ranks, key=ranks.__getitem__, reverse=True)
    return [blocks for blocks in order if ranks[blocks][0]][:count] or order[:1]
