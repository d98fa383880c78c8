"""What a second worker brings on one machine: images per second of two processes with a core each, against one.

- ``teacher_training``, ``student_training``: :func:`edgekd.training.fit` on labels, as ``edgekd build --workers 2``
  runs it, with the same batch for one worker and for two;
- ``teacher_logits``: the teacher's logits, half of the shards each, as ``edgekd teacher-logits --shard``.

Each process is pinned to its core and computes on one thread. Start and compilation are not counted: a rate is that of
the images after the first steps. One and two take turns; a ratio is that of one round, and medians are reported.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _host

from edgekd.cluster import Cluster, meet, on_this_machine
from edgekd.progress import Progress, Task

WORK = ("teacher_training", "student_training", "teacher_logits")
WANTED = {"teacher_training": 1.5, "student_training": 1.5, "teacher_logits": 1.8}
NOT_COUNTED = 2
WIDTH = 0.35
VIEWS = {"horizontal_flip": True, "max_shift": 0.1}


class Clock(Progress):
    """Images per second of a task, without its first steps and what comes after its last."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.counts: list[int] = []

    @contextlib.contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """See :class:`~edgekd.progress.Progress`."""
        clock = self

        class Timed(Task):
            def advance(self, count: int, **figures: float) -> None:
                clock.times.append(time.monotonic())
                clock.counts.append(count)

        yield Timed()

    @property
    def rate(self) -> float:
        """Images per second."""
        return sum(self.counts[NOT_COUNTED:]) / (self.times[-1] - self.times[NOT_COUNTED - 1])


def work(task: dict[str, Any]) -> float:
    """What one process does; its images per second."""
    from edgekd import _keras
    from edgekd.artifact import Artifact
    from edgekd.config.training import Training, Views
    from edgekd.data import Dataset
    from edgekd.logits_store import Part, PartDone
    from edgekd.losses import cross_entropy
    from edgekd.models import build_student, build_teacher
    from edgekd.stages.teacher_logits import teacher_logits
    from edgekd.step import Learner
    from edgekd.training import fit
    from edgekd.workers import ALONE, join

    cluster, folder = Cluster(tuple(task["addresses"]), task["index"]), Path(task["folder"])
    several, clock, data = len(cluster) > 1, Clock(), Artifact.open(Path(task["data"]))
    dataset = Dataset.open(data)
    meet(cluster, {})
    _keras.set_determinism(1)
    if task["work"] == "teacher_logits":
        given = Artifact.open(Path(task["teacher"]))
        part = Part(cluster.index, len(cluster)) if several else None
        (folder / "work").mkdir(exist_ok=True)
        (folder / f"out{cluster.index}").mkdir()
        options: dict[str, Any] = {"num_views": 2 * task["views"], "seed": 0, "work": folder / "work", "part": part}
        with contextlib.suppress(PartDone):
            teacher_logits(data, given, Views(**VIEWS), folder / f"out{cluster.index}", progress=clock, **options)
        return clock.rate
    workers = join(cluster) if several else ALONE
    _keras.reset(0)
    shape: dict[str, Any] = {"image_size": dataset.image_size, "num_classes": dataset.num_classes, "weights": "none"}
    if task["work"] == "teacher_training":
        model = build_teacher(task["teacher_model"], **shape)
    else:
        model = build_student("mobilenet_v2", width_multiplier=WIDTH, **shape)
    learner = Learner.alone(model, lambda batch, logits: cross_entropy(batch.targets, logits))
    training = Training(epochs=1, batch_size=task["batch_size"])
    where: dict[str, Any] = {"work": folder / "checkpoints", "progress": clock, "title": task["work"], "seed": 0}
    fit(learner, dataset, training=training, views=Views(**VIEWS), workers=workers, **where)
    return clock.rate


def rate(name: str, count: int, task: dict[str, Any]) -> float:
    """Of so many processes together."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    addresses = on_this_machine(count).addresses
    with tempfile.TemporaryDirectory() as folder:
        more = {"work": name, "addresses": addresses, "folder": folder}
        running = []
        for index, core in enumerate(cores):
            request = json.dumps({**task, **more, "index": index, "core": core})
            command = [sys.executable, __file__, "--as", request]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        rates = [float(process.communicate()[0].splitlines()[-1]) for process in running]
    # Training counts the whole batch in every process; shards are counted where they are done.
    return sum(rates) if name == "teacher_logits" else statistics.mean(rates)


def prepare(folder: Path, options: Any) -> dict[str, Any]:
    """Images, and a teacher with its first weights: what it answers does not matter here."""
    code = (
        "import sys; from pathlib import Path; from edgekd import _keras, data; from edgekd.artifact import Artifact;"
        "from edgekd.config.data import Data; from edgekd.models import build_teacher;"
        "folder, size, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3];"
        "[(folder / part).mkdir() for part in ('data', 'teacher')];"
        "images = data.prepare(Data(name='synthetic_cells', image_size=size), folder / 'data');"
        "count = len(images.facts['class_names']);"
        "model = build_teacher(name, image_size=size, num_classes=count, weights='none');"
        "_keras.save_model(model, folder / 'teacher' / 'model'); Artifact.seal(folder / 'teacher', {})"
    )
    given = [str(folder), str(options.image_size), options.teacher]
    subprocess.run([sys.executable, "-c", code, *given], check=True)
    task = {"batch_size": options.batch_size, "teacher_model": options.teacher, "views": options.views}
    return {"data": str(folder / "data"), "teacher": str(folder / "teacher"), **task}


def main() -> None:
    parser = _host.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of one worker and two in turn; medians are reported")
    parser.add_argument("--image-size", type=int, default=64, help="pixels")
    parser.add_argument("--batch-size", type=int, default=128, help="images of a step, of all workers together")
    parser.add_argument("--teacher", default="resnet50", help="architecture of the teacher")
    parser.add_argument("--views", type=int, default=1, help="views of stored logits, for each of two workers")
    parser.add_argument("--work", action="append", choices=WORK, help="what is timed; default: all")
    parser.add_argument("--as", dest="task", help="be one of the processes")
    options = parser.parse_args()
    if options.task:
        task = json.loads(options.task)
        os.sched_setaffinity(0, {task["core"]})
        print(work(task))
        return
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two cores are needed, one for each worker")
    load = _host.load()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        task = prepare(Path(folder), options)
        for name in options.work or WORK:
            rounds = [[rate(name, count, task) for count in (1, 2)] for _ in range(options.rounds)]
            ratios = [two / one for one, two in rounds]
            figures[name] = {
                "one_worker_images_per_s": round(statistics.median(one for one, _ in rounds), 1),
                "two_workers_images_per_s": round(statistics.median(two for _, two in rounds), 1),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_of_each_round": [round(ratio, 3) for ratio in ratios],
                "wanted": WANTED[name],
                "reached": statistics.median(ratios) >= WANTED[name],
            }
    _host.report(
        {
            "benchmark": "workers",
            "teacher": f"{options.teacher} at {options.image_size}",
            "student": f"mobilenet_v2 {WIDTH} at {options.image_size}",
            "batch_size": options.batch_size,
            "threads_per_worker": 1,
            "rounds": options.rounds,
            **figures,
            "load_before": load,
            "load_after": _host.load(),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
