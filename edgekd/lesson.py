"""What a trained student goes on learning from while it is compressed: images, views, the teacher's stored logits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import objectives
from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.training import Training, Views
from edgekd.data import Dataset
from edgekd.logits_store import LogitsStore
from edgekd.progress import Progress
from edgekd.step import Learner, Objective
from edgekd.training import fit
from edgekd.workers import ALONE, Workers


@dataclass(frozen=True)
class Lesson:
    """A training that any form of the student can be given.

    Attributes:
        dataset: images.
        objective: of :func:`edgekd.objectives.while_pruning`.
        views: random views of the training images.
        soft_targets: the teacher's logits for these views; None where the whole weight is on the labels.
        seed: of order and views.
        work: folder of the checkpoint.
        progress: where the task is shown.
        workers: who share each step.
    """

    dataset: Dataset
    objective: Objective
    views: Views
    soft_targets: LogitsStore | None
    seed: int
    work: Path
    progress: Progress
    workers: Workers = ALONE

    @classmethod
    def of(
        cls,
        data: Artifact,
        logits: Artifact | None,
        distillation: Distill,
        *,
        seed: int,
        work: Path,
        progress: Progress,
        workers: Workers = ALONE,
    ) -> Lesson:
        """The lesson of a recipe, from the artifacts of the stages before."""
        dataset = Dataset.open(data)
        objective = objectives.while_pruning(distillation, dataset.task.head)
        soft_targets = None if logits is None else LogitsStore.open(logits.path)
        return cls(dataset, objective, distillation.views, soft_targets, seed, work, progress, workers)

    def give(self, model: Any, training: Training, title: str, **options: Any) -> list[dict[str, float]]:
        """Train a model in place; the options and the history are those of :func:`edgekd.training.fit`."""
        return fit(
            Learner.alone(model, self.objective),
            self.dataset,
            training=training,
            views=self.views,
            seed=self.seed,
            work=self.work,
            progress=self.progress,
            title=title,
            soft_targets=self.soft_targets,
            workers=self.workers,
            **options,
        )
