"""What a step of distillation costs: with stored logits, with the teacher in the step, by Keras 3, and without any.

Every way trains a MobileNetV2 of its own on the same random views of the same images:

- ``plain``: on labels alone;
- ``cached``: edgekd's mode ``stored``, which reads the teacher's logits from a store;
- ``online``: edgekd's mode ``live``, ResNet-50 on each batch; ``attention``, ``fitnet``, ``rkd``: with that loss;
- ``distiller``: ``keras.distillation.Distiller`` of Keras 3 with both networks from ``keras.applications``, of the same
  numbers of parameters, run by ``fit`` on prefetched batches. Its first step after the start of ``fit`` is not counted;
- ``teacher``: no step, but what storing the logits of one view costs, once.

A round times some steps of each, in random order. Ratios are medians of those of the rounds, so that a machine that is
busy elsewhere moves both sides; ``cached_over_plain`` is the cost of a step: plain images per second over cached ones.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _host
import numpy as np
import scipy.stats
from numpy.typing import NDArray

from edgekd import _keras
from edgekd._keras import tf
from edgekd.config.distill import Distill
from edgekd.config.training import Training, Views
from edgekd.data import Split
from edgekd.logits_store import Layout, LogitsStore, collect, write_shard
from edgekd.models import build_student, build_teacher
from edgekd.stages.distill import beside_teacher, on_labels, on_stored_logits
from edgekd.step import Batch, epoch_order, make_batch, make_optimizer, make_step
from edgekd.views import render, show

NUM_CLASSES = 2
NUM_VIEWS = 8
SEED = 0
WIDTH = 0.35
VIEWS = Views(horizontal_flip=True, max_shift=0.1, max_rotation=10, max_contrast=0.1, max_brightness=0.1)
FEATURE_LOSSES = ("attention", "fitnet", "rkd")
WITHOUT_TEACHER = ("plain", "cached")
TARGET = 4.0

Timed = Callable[[int, int], float]
"""``(epoch, number of steps) -> images per second``"""


def student(image_size: int) -> Any:
    return build_student("mobilenet_v2", image_size=image_size, num_classes=NUM_CLASSES, width_multiplier=WIDTH)


def teacher(image_size: int) -> Any:
    return build_teacher("resnet50", image_size=image_size, num_classes=NUM_CLASSES, weights="none")


def made_split(count: int, image_size: int) -> Split:
    """Noise: the cost of a step does not depend on what is in the pictures."""
    generator = np.random.default_rng(SEED)
    images = generator.integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8)
    return Split(images, generator.integers(0, NUM_CLASSES, count), NUM_CLASSES)


def made_store(folder: Path, num_samples: int) -> LogitsStore:
    """Made-up logits: their values cost nothing."""
    layout = Layout.cut(NUM_VIEWS, num_samples, NUM_CLASSES)
    generator = np.random.default_rng(SEED)
    for name in ("shards", "store"):
        (folder / name).mkdir()
    for shard in layout.shards():
        write_shard(folder / "shards", shard, generator.normal(0, 4, shard.shape))
    collect(folder / "shards", layout, folder / "store")
    return LogitsStore.open(folder / "store")


def batches(split: Split, soft_targets: LogitsStore | None, batch_size: int, epoch: int, steps: int) -> Iterator[Batch]:
    """The first batches of an epoch, as the training loop makes them."""
    order = epoch_order(SEED, epoch, len(split.labels))
    weights = np.ones(NUM_CLASSES, np.float32)
    for position in range(steps):
        indices = np.sort(order[position * batch_size :][:batch_size])
        yield make_batch(split, indices, epoch % NUM_VIEWS, VIEWS, SEED, soft_targets, weights)


def edgekd_way(way: str, split: Split, store: LogitsStore, batch_size: int) -> Timed:
    """The step of one way as a build would run it; the making of the batch is timed too."""
    image_size = split.images.shape[1]
    if way == "teacher":
        step = storing(image_size)
    else:
        if way == "plain":
            learner = on_labels(student(image_size), Distill())
        elif way == "cached":
            learner = on_stored_logits(student(image_size), Distill())
        else:
            config = Distill(mode="live", **({} if way == "online" else {"loss": {way: 1.0}}))
            learner, _ = beside_teacher(student(image_size), teacher(image_size), config, num_train=len(split.labels))
        step = make_step(learner, make_optimizer(learner, Training(batch_size=batch_size)))

    def timed(epoch: int, steps: int) -> float:
        start = time.perf_counter()
        for batch in batches(split, store if way == "cached" else None, batch_size, epoch, steps):
            float(step(0.01, batch))
        return steps * batch_size / (time.perf_counter() - start)

    return timed


def storing(image_size: int) -> Callable[[float, Batch], Any]:
    """The teacher's answers, shaped like a step; gives their sum."""
    model = teacher(image_size)
    predict = tf.function(lambda scene: tf.reduce_sum(model(show(scene), training=False)), reduce_retracing=True)
    return lambda _, batch: predict(tf.nest.map_structure(tf.constant, batch.scene))


def distiller_way(split: Split, batch_size: int) -> Timed:
    """Keras 3, with the settings of the edgekd ways."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise SystemExit(f"Keras 3 runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow")
    image_size = split.images.shape[1]
    shape, config, training = (image_size, image_size, 3), Distill(), Training()

    def classifier(backbone: Callable[..., Any], **options: Any) -> Any:
        pixels = keras.Input(shape)
        scaled = keras.layers.Rescaling(1 / 128, offset=-1.0)(pixels)
        features = backbone(input_tensor=scaled, include_top=False, weights=None, **options).output
        logits = keras.layers.Dense(NUM_CLASSES)(keras.layers.GlobalAveragePooling2D()(features))
        return keras.Model(pixels, logits)

    networks = {
        "teacher": (classifier(keras.applications.ResNet50), teacher(image_size)),
        "student": (classifier(keras.applications.MobileNetV2, alpha=WIDTH), student(image_size)),
    }
    for name, (theirs, ours) in networks.items():
        if theirs.count_params() != ours.count_params():
            raise SystemExit(f"{name}: {theirs.count_params()} parameters in Keras 3, {ours.count_params()} in edgekd")
    distiller = keras.distillation.Distiller(
        networks["teacher"][0],
        networks["student"][0],
        keras.distillation.LogitsDistillation(temperature=config.temperature),
        student_loss_weight=config.hard_loss_weight,
    )
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=training.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    distiller.compile(optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    class Clock(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.ends: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ends.append(time.perf_counter())

    signature = (
        *(tf.TensorSpec((None, *shape), tf.uint8), tf.TensorSpec((None, 8)), tf.TensorSpec((None,))),
        *(tf.TensorSpec((None,)), tf.TensorSpec((None,), tf.int64)),
    )

    def timed(epoch: int, steps: int) -> float:
        made = tf.data.Dataset.from_generator(
            lambda: (
                (*batch.scene.own, batch.targets.argmax(axis=1))
                for batch in batches(split, None, batch_size, epoch, steps + 1)
            ),
            output_signature=signature,
        )
        counted = made.apply(tf.data.experimental.assert_cardinality(steps + 1))
        views = counted.map(lambda *batch: (render(*batch[:4]), batch[4])).prefetch(tf.data.AUTOTUNE)
        clock = Clock()
        distiller.fit(views, shuffle=False, verbose=0, callbacks=[clock])
        return steps * batch_size / (clock.ends[-1] - clock.ends[0])

    return timed


def measure(ways: dict[str, Timed], rounds: int, steps: dict[str, int]) -> dict[str, NDArray[np.float64]]:
    """Images per second of every round, by way."""
    for timed in ways.values():  # tracing and the first allocation are not timed
        timed(0, 2)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    generator = np.random.default_rng(SEED)
    for epoch in range(rounds):
        for name in generator.permutation(list(ways)):
            rates[name].append(ways[name](epoch, steps[name]))
    return {name: np.array(values) for name, values in rates.items()}


def interval_of_median(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the median of six values or more, from their order alone (binomial, p = 1/2)."""
    count = len(values)
    outside = int(scipy.stats.binom.ppf(0.025, count, 0.5))  # values that may lie beyond each end
    ordered = np.sort(values)
    return float(ordered[outside - 1]), float(ordered[count - outside])


def main() -> None:
    parser = _host.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds; medians are reported")
    parser.add_argument("--steps", type=int, default=12, help="steps a round; a quarter of them with the teacher")
    parser.add_argument("--image-size", type=int, default=32, help="pixels")
    parser.add_argument("--batch-size", type=int, default=128, help="images")
    options = parser.parse_args()
    if options.rounds < 6:
        parser.error(f"--rounds {options.rounds}: fewer than 6 give no interval of the median")
    import keras

    load = _host.load()
    _keras.reset(SEED)
    split = made_split((options.steps + 1) * options.batch_size, options.image_size)
    with tempfile.TemporaryDirectory() as folder:
        store = made_store(Path(folder), len(split.labels))
        names = (*WITHOUT_TEACHER, "online", *FEATURE_LOSSES, "teacher")
        ways = {name: edgekd_way(name, split, store, options.batch_size) for name in names}
        ways["distiller"] = distiller_way(split, options.batch_size)
        few = max(1, options.steps // 4)
        rates = measure(ways, options.rounds, {n: options.steps if n in WITHOUT_TEACHER else few for n in ways})

    def ratio(above: str, below: str) -> float:
        return statistics.median(rates[above] / rates[below])

    low, high = interval_of_median(rates["cached"] / rates["distiller"])
    _host.report(
        {
            "benchmark": "distill_throughput",
            "teacher": f"resnet50 at {options.image_size}",
            "student": f"mobilenet_v2 {WIDTH} at {options.image_size}",
            "batch_size": options.batch_size,
            "rounds": options.rounds,
            **{f"{name}_images_per_s": round(statistics.median(values), 1) for name, values in rates.items()},
            "cached_over_plain": round(ratio("plain", "cached"), 3),
            "cached_over_plain_of_each_round": np.round(rates["plain"] / rates["cached"], 3).tolist(),
            "online_over_plain": round(ratio("plain", "online"), 2),
            "feature_losses_over_online": {name: round(ratio("online", name), 3) for name in FEATURE_LOSSES},
            "cached_against_distiller": round(ratio("cached", "distiller"), 2),
            "cached_against_distiller_of_each_round": np.round(rates["cached"] / rates["distiller"], 2).tolist(),
            "cached_against_distiller_ci95": [round(low, 2), round(high, 2)],
            "cached_against_distiller_wanted": TARGET,
            "verdict": "shown" if low >= TARGET else "refuted" if high < TARGET else "not shown",
            "keras": keras.__version__,
            "load_before": load,
            "load_after": _host.load(),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
