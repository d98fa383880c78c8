"""What it takes to prepare and train on images that need not fit into memory: peak memory, and time spent waiting.

Images are drawn as they are asked for, prepared by the data stage into files that are mapped, and trained on by the
loop that every network goes through, for some steps; then each batch of an epoch is made once, without training. Each
part runs in a fresh process, and again in one with a few images alone: that is the process without data, whose peak is
taken off. Resident memory counts mapped pages. Waiting is the time in which the loop had no batch; the first steps, in
which TensorFlow compiles, are left out.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _host
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.artifact import Artifact
from edgekd.config.data import Data
from edgekd.measure import peak_rss_bytes
from edgekd.progress import Progress, Task

MAX_MEMORY_BYTES = 1024**3
MAX_WAITING = 0.05
NAME = "drawn_on_demand"
HELD_OUT = 512  # images of val and of test each
FEW = 2048
STEPS_LEFT_OUT = 5


@dataclass(frozen=True)
class Drawn:
    """A picture that is drawn when it is read: blurred noise, dark or bright by its class."""

    number: int
    side: int

    @property
    def name(self) -> str:  # noqa: D102 - these four as a PictureRef has them
        return f"drawn {self.number}"

    def read(self) -> NDArray[np.uint8]:  # noqa: D102
        coarse = np.random.default_rng(self.number).integers(0, 160, (8, 8, 3)) + 90 * (self.number % 2)
        small = Image.fromarray(coarse.astype(np.uint8))
        return np.asarray(small.resize((self.side, self.side), Image.Resampling.BILINEAR))

    def shorter_side(self) -> int:  # noqa: D102
        return self.side

    def digest(self) -> str:  # noqa: D102
        return f"{self.number}"


def prepare(folder: Path, num_train: int, side: int) -> dict[str, float]:
    """Run the data stage over drawn pictures."""
    from edgekd import data
    from edgekd.data.source import Source, SourceSplit

    def load(config: Data) -> Source:
        splits, start = {}, 0
        for name, count in (("train", num_train), ("val", HELD_OUT), ("test", HELD_OUT)):
            numbers = range(start, start + count)
            splits[name] = SourceSplit([Drawn(number, side) for number in numbers], np.array(numbers) % 2)
            start += count
        return Source(NAME, ("dark", "bright"), splits, "0" * 64, "Apache-2.0", "drawn", task="binary")

    data.DATASETS.register(NAME)(load)
    start = time.perf_counter()
    data.prepare(Data(name=NAME, image_size=side), folder)
    return {"seconds": time.perf_counter() - start}


class _EnoughError(Exception):
    """The steps that were wanted are done."""


def train(folder: Path, num_steps: int, batch_size: int) -> dict[str, float]:
    """Train a student for some steps, and count how long the loop waits for its batches."""
    from edgekd import _keras, losses, training
    from edgekd.config.training import Training, Views
    from edgekd.data import Dataset
    from edgekd.models.students import build_student
    from edgekd.step import Learner

    waited, marks = [], []
    ahead = training.ahead

    def timed(items: Iterator[Any]) -> Iterator[Any]:
        given = ahead(items)
        try:
            while True:
                start = time.perf_counter()
                batch = next(given)
                marks.append(time.perf_counter())
                waited.append(marks[-1] - start)
                yield batch
        finally:
            given.close()

    class Counter(Task):
        done = 0

        def advance(self, count: int, **figures: float) -> None:
            self.done += 1
            if self.done == num_steps:
                raise _EnoughError

    class Counting(Progress):
        @contextmanager
        def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
            yield Counter()

    dataset = Dataset.open(Artifact.open(folder))
    _keras.reset(0)
    model = build_student("mobilenet_v1", image_size=dataset.image_size, num_classes=2, width_multiplier=0.25)
    learner = Learner.alone(model, lambda batch, logits: losses.cross_entropy(batch.targets, logits))
    training.ahead = timed
    settings = Training(epochs=10_000, batch_size=batch_size)
    try:
        training.fit(
            learner,
            dataset,
            training=settings,
            views=Views(),
            seed=0,
            work=folder.parent / "work",
            progress=Counting(),
            title="student",
        )
    except _EnoughError:
        pass
    finally:
        training.ahead = ahead
    seconds = marks[-1] - marks[STEPS_LEFT_OUT]
    steps = len(marks) - 1 - STEPS_LEFT_OUT
    return {
        "step_ms": 1000 * seconds / steps,
        "waiting": sum(waited[STEPS_LEFT_OUT + 1 :]) / seconds,
        "images_per_s": steps * batch_size / seconds,
    }


def read(folder: Path, batch_size: int) -> dict[str, float]:
    """Make every batch of an epoch, as training does, and train on none: each image is read once."""
    from edgekd.config.training import Training, Views
    from edgekd.data import Dataset
    from edgekd.step import make_batches

    train = Dataset.open(Artifact.open(folder)).train
    start = time.perf_counter()
    settings = Training(epochs=1, batch_size=batch_size)
    count = sum(len(batch.indices) for batch in make_batches(train, settings, Views(), 0, None, 0))
    return {"num_images": count, "images_per_s": count / (time.perf_counter() - start)}


def measured(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    return {**work(*arguments), "memory_bytes": peak_rss_bytes()}


def in_fresh_process(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measured, work, *arguments).result()


def main() -> None:
    parser = _host.parser(__doc__)
    parser.add_argument("--gib", type=float, default=4.0, help="prepared training images, in GiB")
    parser.add_argument("--side", type=int, default=96, help="their side, in pixels")
    parser.add_argument("--num-steps", type=int, default=300, help="steps that are trained")
    parser.add_argument("--batch-size", type=int, default=128, help="images of a step")
    parser.add_argument("--folder", type=Path, help="where the images are written for the time; default: the system's")
    options = parser.parse_args()
    num_train = int(options.gib * 2**30) // (3 * options.side**2)
    found = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for kind, count in (("without_data", FEW), ("with_data", num_train)):
            folder = Path(name) / kind / "data"
            folder.mkdir(parents=True)
            found[f"prepare_{kind}"] = in_fresh_process(prepare, folder, count, options.side)
            found[f"train_{kind}"] = in_fresh_process(train, folder, options.num_steps, options.batch_size)
            found[f"read_{kind}"] = in_fresh_process(read, folder, options.batch_size)
            shutil.rmtree(folder.parent)
    above = {
        part: found[f"{part}_with_data"]["memory_bytes"] - found[f"{part}_without_data"]["memory_bytes"]
        for part in ("prepare", "train", "read")
    }
    waiting = found["train_with_data"]["waiting"]
    _host.report(
        {
            "benchmark": "stream_memory",
            "num_train": num_train,
            "side": options.side,
            "image_bytes": num_train * 3 * options.side**2,
            "batch_size": options.batch_size,
            "num_steps": options.num_steps,
            "memory_bytes_above_preparing": above["prepare"],
            "memory_bytes_above_training": above["train"],
            "memory_bytes_above_reading": above["read"],
            "max_memory_bytes": MAX_MEMORY_BYTES,
            "waiting": round(waiting, 4),
            "max_waiting": MAX_WAITING,
            "held": max(above.values()) <= MAX_MEMORY_BYTES and waiting <= MAX_WAITING,
            **{name: {key: round(value, 4) for key, value in row.items()} for name, row in found.items()},
            "load": _host.load(),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
