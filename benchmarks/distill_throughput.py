"""What a step of distillation costs: the student on labels alone, on stored logits, and with the teacher in the step.

Every way renders the same random views of the same images and trains a MobileNetV2 of its own; ``cached`` reads float16
logits from a memory-mapped file as a build does, ``online`` runs ResNet-50 on each batch. A round times some steps of
each, in random order; the medians of the rounds are reported. ``cached_over_plain`` is the cost of a step: plain images
per second over cached ones.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _host
import numpy as np
from numpy.typing import NDArray

from edgekd import _keras
from edgekd.data import Split
from edgekd.models import build_student, build_teacher
from edgekd.recipe import Distill, Training, Views
from edgekd.stages.distill import beside_teacher, on_labels, on_stored_logits
from edgekd.step import epoch_order, make_batch, make_optimizer, make_step

NUM_CLASSES = 2
NUM_VIEWS = 8
SEED = 0
VIEWS = Views(horizontal_flip=True, max_shift=0.1, max_rotation=10, max_contrast=0.1, max_brightness=0.1)


def compiled(way: str, image_size: int) -> Callable[..., Any]:
    """The step of one way, with a student of its own, as a build would run it."""
    model = build_student("mobilenet_v2", image_size=image_size, num_classes=NUM_CLASSES, width_multiplier=0.35)
    config = Distill(mode="live" if way == "online" else "stored")
    if way == "plain":
        learner = on_labels(model, config)
    elif way == "cached":
        learner = on_stored_logits(model, config)
    else:
        teacher = build_teacher("resnet50", image_size=image_size, num_classes=NUM_CLASSES, weights="none")
        learner, _ = beside_teacher(model, teacher, config, num_train=1)
    return make_step(learner, make_optimizer(learner, Training(batch_size=128)))


def made_split(count: int, image_size: int) -> Split:
    """Noise: the cost of a step does not depend on what is in the pictures."""
    generator = np.random.default_rng(SEED)
    images = generator.integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8)
    return Split(images, generator.integers(0, NUM_CLASSES, count), NUM_CLASSES)


def timed(
    step: Callable[..., Any],
    split: Split,
    soft_targets: NDArray[np.float16] | None,
    batch_size: int,
    num_steps: int,
    epoch: int,
) -> float:
    """Images per second over ``num_steps`` steps, the making of the batch included."""
    order = epoch_order(SEED, epoch, len(split.labels))
    start = time.perf_counter()
    for position in range(num_steps):
        indices = np.sort(order[position * batch_size :][:batch_size])
        batch = make_batch(
            split, indices, epoch % NUM_VIEWS, VIEWS, SEED, soft_targets, np.ones(NUM_CLASSES, np.float32)
        )
        float(step(0.01, batch))
    return num_steps * batch_size / (time.perf_counter() - start)


def main() -> None:
    parser = _host.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds; the median is reported")
    parser.add_argument("--steps", type=int, default=12, help="steps a round; a quarter of them with the teacher")
    parser.add_argument("--image-size", type=int, default=32, help="pixels")
    parser.add_argument("--batch-size", type=int, default=128, help="images")
    options = parser.parse_args()
    _keras.reset(SEED)
    split = made_split(options.steps * options.batch_size, options.image_size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logits.npy"
        generator = np.random.default_rng(SEED)
        np.save(path, generator.normal(0, 4, (NUM_VIEWS, len(split.labels), NUM_CLASSES)).astype(np.float16))
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        ways: dict[str, tuple[Callable[..., Any], NDArray[np.float16] | None, int]] = {
            "plain": (compiled("plain", options.image_size), None, options.steps),
            "cached": (compiled("cached", options.image_size), stored, options.steps),
            "online": (compiled("online", options.image_size), None, max(1, options.steps // 4)),
        }
        for step, soft_targets, _ in ways.values():  # tracing and the first allocation are not timed
            timed(step, split, soft_targets, options.batch_size, 2, 0)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for epoch in range(options.rounds):
            for name in generator.permutation(list(ways)):
                step, soft_targets, num_steps = ways[name]
                rates[name].append(timed(step, split, soft_targets, options.batch_size, num_steps, epoch))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    pairs = [plain / cached for plain, cached in zip(rates["plain"], rates["cached"], strict=True)]
    _host.report(
        {
            "benchmark": "distill_throughput",
            "teacher": f"resnet50 at {options.image_size}",
            "student": f"mobilenet_v2 0.35 at {options.image_size}",
            "batch_size": options.batch_size,
            "rounds": options.rounds,
            **{f"{name}_images_per_s": round(value, 1) for name, value in medians.items()},
            "cached_over_plain": round(medians["plain"] / medians["cached"], 3),
            "cached_over_plain_of_each_round": [round(value, 3) for value in pairs],
            "online_over_plain": round(medians["plain"] / medians["online"], 2),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
