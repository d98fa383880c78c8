"""Store the teacher's logits for every view that the student will see."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekd import _keras
from edgekd._keras import tf
from edgekd.artifact import Artifact
from edgekd.config.training import Views
from edgekd.data import Dataset
from edgekd.logits_store import Layout, Part, PartDone, collect, finished, write_shard
from edgekd.models import open_teacher
from edgekd.progress import Progress
from edgekd.views import set_scene, show
from edgekd.workers import ALONE, Workers

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
    part: Part | None = None,
    workers: Workers = ALONE,
) -> Artifact:
    """Run the teacher once over ``num_views`` views of every training image.

    Leaves a :class:`~edgekd.logits_store.LogitsStore` of shape ``(num_views, num_train, K)``. A shard that a killed
    run, or another worker, had finished is taken from ``work``.

    Args:
        part: the shards that this worker does; what it does is the same whoever does it. None: all.
        workers: who do a part of the shards each at the same time; the chief makes the store.

    Raises:
        PartDone: this worker's shards are done, and those of others are not.
        ModelError: the teacher has other classes, or gives a logit that half precision cannot hold.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    images = dataset.train.images
    samples = np.arange(len(images))

    rendered = tf.function(show, reduce_retracing=True)

    layout = Layout.cut(num_views, len(images), dataset.num_classes)
    mine = part or Part(workers.index, workers.count)
    shards = layout.shards()[mine.index :: mine.count]
    with (
        open_teacher(teacher.path) as answers,
        progress.task("teacher's logits", sum(shard.stop - shard.start for shard in shards)) as task,
    ):
        for shard in shards:
            if finished(work, shard):
                task.skip(shard.stop - shard.start)
                continue
            parts = []
            for start in range(shard.start, shard.stop, BATCH_SIZE):
                chosen = samples[start : min(start + BATCH_SIZE, shard.stop)]
                scene, _ = set_scene(config, seed, images, chosen, shard.view)
                pixels = rendered(tf.nest.map_structure(tf.constant, scene)).numpy()
                parts.append(answers.predict(pixels, "train", chosen))
                task.advance(len(chosen))
            write_shard(work, shard, np.concatenate(parts))
    workers.meet()
    facts = {"num_views": num_views, "num_train": len(images)}
    if not workers.is_chief:
        return Artifact.seal(out_dir, facts)
    num_finished = sum(finished(work, shard) for shard in layout.shards())
    if part is not None and num_finished < len(layout.shards()):
        raise PartDone(len(shards), num_finished, len(layout.shards()))
    collect(work, layout, out_dir)
    return Artifact.seal(out_dir, facts)
