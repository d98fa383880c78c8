"""Store the teacher's logits for every view that the student will see."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekd import _keras
from edgekd._keras import tf
from edgekd.artifact import Artifact
from edgekd.config.training import Views
from edgekd.data import Dataset
from edgekd.logits_store import Layout, collect, finished, write_shard
from edgekd.models import open_teacher
from edgekd.progress import Progress
from edgekd.views import set_scene, show

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

    Leaves a :class:`~edgekd.logits_store.LogitsStore` of shape ``(num_views, num_train, K)``. A shard that a killed
    run had finished is taken from ``work``.

    Raises:
        ModelError: the teacher has other classes, or gives a logit that half precision cannot hold.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    images = dataset.train.images
    samples = np.arange(len(images))

    rendered = tf.function(show, reduce_retracing=True)

    layout = Layout.cut(num_views, len(images), dataset.num_classes)
    with (
        open_teacher(teacher.path) as answers,
        progress.task("teacher's logits", num_views * len(images)) as task,
    ):
        for shard in layout.shards():
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
    collect(work, layout, out_dir)
    return Artifact.seal(out_dir, {"num_views": num_views, "num_train": len(images)})
