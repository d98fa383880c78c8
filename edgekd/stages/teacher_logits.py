"""Store the teacher's logits for every view that the student will see."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekd import _keras
from edgekd._keras import tf
from edgekd.artifact import Artifact
from edgekd.data import Dataset
from edgekd.models import open_teacher
from edgekd.progress import Progress
from edgekd.recipe import Views
from edgekd.views import LOGITS_FILE, set_scene, show

BATCH_SIZE = 256


def teacher_logits(
    data: Artifact,
    teacher: Artifact,
    config: Views,
    out_dir: Path,
    *,
    num_views: int,
    seed: int,
    work: Path,
    progress: Progress,
) -> Artifact:
    """Run the teacher once over ``num_views`` views of every training image.

    Writes ``logits.npy``: float16, shape ``(num_views, num_train, K)``. A view that a killed run had finished is taken
    from ``work``.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    images = dataset.train.images
    samples = np.arange(len(images))

    rendered = tf.function(show, reduce_retracing=True)

    shards = []
    with (
        open_teacher(teacher.path) as answers,
        progress.task("teacher's logits", num_views * len(images)) as task,
    ):
        for view in range(num_views):
            shard = work / f"view_{view:04d}.npy"
            if not shard.exists():
                parts = []
                for start in range(0, len(images), BATCH_SIZE):
                    chosen = samples[start : start + BATCH_SIZE]
                    scene, _ = set_scene(config, seed, images, chosen, view)
                    pixels = rendered(tf.nest.map_structure(tf.constant, scene)).numpy()
                    parts.append(answers.predict(pixels, "train", chosen))
                    task.advance(len(chosen))
                temporary = shard.with_suffix(".tmp")
                with temporary.open("wb") as file:
                    np.save(file, np.concatenate(parts).astype(np.float16))
                temporary.replace(shard)
            else:
                task.skip(len(images))
            shards.append(np.load(shard, allow_pickle=False))
    np.save(out_dir / LOGITS_FILE, np.stack(shards))
    return Artifact.seal(out_dir, {"num_views": num_views, "num_train": len(images)})
