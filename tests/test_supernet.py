"""The supernet: its space, its elastic operations, and that a subnet taken out of it answers as it does within it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import _keras, batchnorm
from edgekd._keras import tf, tf_keras
from edgekd.artifact import Artifact
from edgekd.config.blocks import Blocks
from edgekd.config.distill import Distill
from edgekd.config.nas import Nas
from edgekd.config.training import Training
from edgekd.errors import RecipeError
from edgekd.models import build_student
from edgekd.progress import Progress, Task
from edgekd.step import Batch
from edgekd.supernet import elastic, sandwich
from edgekd.supernet.space import Space, rows_of
from edgekd.training import make_predict

BLOCKS = Blocks(
    stem_channels=8,
    channels=(8, 16),
    depths=(1, 1),
    kernels=(3, 3),
    expansions=(1, 1),
    strides=(1, 2),
    head_channels=24,
)
NAS = Nas(widths=(0.5, 1.0), depths=(0, 1, 2), kernels=(3, 5), expansions=(1, 2))


def space_of(nas: Nas = NAS, blocks: Blocks = BLOCKS) -> Space:
    return Space.of(blocks, 1.0, nas)


def largest_of(space: Space, seed: int = 0, **form: Any) -> Any:
    """The largest network; batch normalization scales and shifts by what is drawn, as after a training."""
    _keras.reset(seed)
    sizes = {"image_size": 16, "num_classes": 3, **form}
    model = build_student("blocks", width_multiplier=1.0, blocks=space.largest, **sizes)
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.gamma.assign(generator.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(generator.normal(0, 0.5, layer.beta.shape))
    return model


def images(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)


# The space


def test_the_number_of_networks_by_hand() -> None:
    """Stage 0 has 8 channels only (4 round to 8): left out, or 2 depths x 2 kernels x 2 expansions: 9. Stage 1 is never
    left out: 2 x 2 x 2 x 2 widths = 16."""
    space = space_of()
    assert space.stages[0] == ((0, 1, 2), (3, 5), (1, 2), (8,))
    assert space.stages[1] == ((1, 2), (3, 5), (1, 2), (8, 16))
    assert space.size == 9 * 16


def test_the_ends_of_the_space() -> None:
    space = space_of()
    assert space.largest == dataclasses.replace(
        BLOCKS, depths=(2, 2), kernels=(5, 5), expansions=(2, 2), channels=(8, 16)
    )
    assert space.smallest == dataclasses.replace(
        BLOCKS, depths=(0, 1), kernels=(3, 3), expansions=(1, 1), channels=(8, 8)
    )


def test_what_is_left_out_has_one_spelling() -> None:
    space = space_of()
    one, other = ([[0, kernel, 2, 8], [1, 3, 1, 16]] for kernel in (3, 5))
    assert space.blocks(one) == space.blocks(other)
    assert rows_of(space.blocks(other)).tolist() == [[0, 3, 1, 8], [1, 3, 1, 16]]


def test_all_networks_are_drawn_and_a_mutation_changes_one_value() -> None:
    space, generator = space_of(), np.random.default_rng(0)
    drawn = {space.drawn(generator) for _ in range(4000)}
    assert len(drawn) == space.size
    for blocks in sorted(drawn, key=str)[:50]:
        child = space.mutated(blocks, generator)
        assert child in drawn
        before, after = rows_of(blocks), rows_of(child)
        changed = [index for index in range(2) if before[index].tolist() != after[index].tolist()]
        assert len(changed) == 1
        # Where a stage comes or goes, so do the values that count with it.
        one, other = before[changed[0]], after[changed[0]]
        assert (one != other).sum() == 1 or 0 in (one[0], other[0])


@pytest.mark.parametrize(
    ("nas", "blocks", "words"),
    [
        (Nas(widths=(1.0,), depths=(1,), kernels=(3,), expansions=(2,)), BLOCKS, "leave one network"),
        (NAS, dataclasses.replace(BLOCKS, stem_channels=32), "must not become narrower"),
    ],
)
def test_a_space_that_cannot_be_is_refused(nas: Nas, blocks: Blocks, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        space_of(nas, blocks)


# Elastic operations


def test_the_middle_of_a_filter_by_hand() -> None:
    filters = np.arange(25.0).reshape(5, 5, 1, 1)
    assert elastic.middle(filters, 3)[..., 0, 0].tolist() == [[6, 7, 8], [11, 12, 13], [16, 17, 18]]
    assert elastic.middle(filters, 5) is not filters
    assert np.array_equal(elastic.middle(filters, 5), filters)


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_filter_and_its_middle_look_at_the_same_pixel(side: int, stride: int) -> None:
    """A 5x5 filter that is zero around its middle gives what the middle alone gives."""
    generator = np.random.default_rng(0)
    small = generator.normal(size=(3, 3, 2, 1)).astype(np.float32)
    x = generator.normal(size=(1, side, side, 2)).astype(np.float32)
    large = np.pad(small, ((1, 1), (1, 1), (0, 0), (0, 0)))
    strides = [1, stride, stride, 1]
    one, other = (tf.nn.depthwise_conv2d(x, filters, strides, "SAME").numpy() for filters in (small, large))
    assert np.allclose(one, other, atol=1e-6)
    assert np.array_equal(elastic.middle(large, 3), small)


def test_the_largest_choice_is_the_largest_network() -> None:
    """Against Keras's own layers, in training mode, where both take the statistics of the batch."""
    space = space_of()
    model, pixels = largest_of(space), images(32).astype(np.float32)
    mine = elastic.logits(model, space, pixels, tf.constant(rows_of(space.largest)))
    assert np.allclose(mine, model(pixels, training=True), atol=1e-4)


@pytest.mark.parametrize("activation", ["relu6", "hard_swish"])
def test_a_subnet_taken_out_answers_as_within_the_supernet(activation: str) -> None:
    """The student is built by Keras and its statistics are estimated layer by layer, in float64: another way to go."""
    space = space_of(blocks=dataclasses.replace(BLOCKS, activation=activation))
    model, seen, asked = largest_of(space), images(64), images(10, seed=2)
    ask, generator = elastic.predictor(model, space, seen), np.random.default_rng(3)
    chosen = [space.smallest, space.largest, *(space.drawn(generator) for _ in range(4))]
    answers = []
    for blocks in chosen:
        within = ask(blocks)(asked)
        student = elastic.extracted(model, space, blocks)
        batchnorm.reestimate(student, seen)
        alone = make_predict(student)(asked)
        assert within.shape == alone.shape == (10, 3)
        assert np.abs(within - alone).max() < 1e-5 * max(1.0, np.abs(alone).max())
        answers.append(within)
    assert all(not np.allclose(first, second) for first, second in itertools.pairwise(answers))


# The sandwich


def test_draws_are_a_function_of_seed_and_step() -> None:
    space = space_of()
    first, again = (sandwich.draws(space, 7, 3, 5).numpy() for _ in range(2))
    assert np.array_equal(first, again)
    assert first.shape == (5, 2, 4)
    assert not np.array_equal(first, sandwich.draws(space, 7, 4, 5).numpy())
    assert not np.array_equal(first, sandwich.draws(space, 8, 3, 5).numpy())
    many = sandwich.draws(space, 0, 0, 2000).numpy()
    for index, stage in enumerate(space.stages):
        for gene, values in enumerate(stage):
            counts = [int((many[:, index, gene] == value).sum()) for value in values]
            assert sum(counts) == 2000
            # Five standard deviations of a binomial count.
            assert all(abs(count - 2000 / len(values)) < 5 * np.sqrt(2000 / 4) for count in counts)


def batch(pixels: np.ndarray, step: int = 0) -> Batch:
    targets = np.eye(3, dtype=np.float32)[np.arange(len(pixels)) % 3]
    soft = np.random.default_rng(0).normal(size=targets.shape).astype(np.float32)
    ones = np.ones(len(pixels), np.float32)
    return Batch(None, *map(tf.constant, (targets, ones, soft)), 0.0, None, tf.constant(step, tf.int64))


def cross_entropy(targets: np.ndarray, logits: np.ndarray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float(-(targets * (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))).sum(axis=1).mean())


def softened(logits: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp(logits / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def test_a_step_asks_the_largest_and_the_smallest_and_sums_their_losses() -> None:
    """Without subnets between: by NumPy, from the answers of the two."""
    space = space_of()
    model, pixels = largest_of(space), images(30).astype(np.float32)
    distillation = Distill(hard_loss_weight=1.0)
    learner = sandwich.learner(model, space, distillation, subnets_per_step=0, inplace_weight=0.25, seed=0)
    seen = batch(pixels)
    largest, smallest = (
        elastic.logits(model, space, pixels, tf.constant(rows_of(blocks))).numpy().astype(np.float64)
        for blocks in (space.largest, space.smallest)
    )
    targets, t = seen.targets.numpy(), distillation.temperature
    p, q = softened(largest, t), softened(smallest, t)
    kd = t**2 * (p * (np.log(p) - np.log(q))).sum(axis=1).mean()
    wanted = cross_entropy(targets, largest) + 0.75 * cross_entropy(targets, smallest) + 0.25 * kd
    assert float(learner.loss(pixels, seen)) == pytest.approx(wanted, rel=1e-4)


def test_the_largest_learns_nothing_from_what_the_others_learn_of_it() -> None:
    """With inplace_weight 1 and labels alone, channels that only the largest has move by its own loss and no other."""
    space = space_of(Nas(widths=(0.5, 1.0), depths=(1,), kernels=(3,), expansions=(2,)))
    model, pixels = largest_of(space), images(30).astype(np.float32)
    learner = sandwich.learner(
        model, space, Distill(hard_loss_weight=1.0), subnets_per_step=0, inplace_weight=1.0, seed=0
    )
    seen, kernel = batch(pixels), model.get_layer("stage1_block0_project_conv").kernel
    with tf.GradientTape(persistent=True) as tape:
        total = learner.loss(pixels, seen)
        targets = seen.targets
        own = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, model(pixels, training=True)))
    gradient, alone = (tape.gradient(value, kernel).numpy() for value in (total, own))
    assert np.allclose(gradient[..., 8:], alone[..., 8:], atol=1e-5)
    assert not np.allclose(gradient[..., :8], alone[..., :8], atol=1e-5)


class Stopped(Exception):
    """The process would end here."""


class StoppedTask(Task):
    def end_epoch(self, record: Mapping[str, float]) -> None:
        if record["epoch"] == 1:
            raise Stopped


class StoppedProgress(Progress):
    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        yield StoppedTask()


def test_a_supernet_goes_on_where_it_was_stopped(tiny_data: Artifact, tmp_path: Path) -> None:
    """The same weights as of a training that was not stopped: of the subnets too, whose draws hang on seed and step."""
    from edgekd.stages.supernet import supernet

    tf.config.experimental.enable_op_determinism()
    options: dict[str, Any] = {
        **{"space": space_of(), "distillation": Distill(hard_loss_weight=1.0), "subnets_per_step": 1},
        **{"inplace_weight": 0.5, "num_batchnorm_images": 16, "seed": 5},
    }
    training = Training(epochs=3, batch_size=24, keep="last")

    made = []
    for name, interrupted in (("whole", False), ("resumed", True)):
        work, out = tmp_path / f"work-{name}", tmp_path / name
        out.mkdir()
        if interrupted:
            with pytest.raises(Stopped):
                supernet(tiny_data, None, training, out, work=work, progress=StoppedProgress(), **options)
        made.append(supernet(tiny_data, None, training, out, work=work, progress=Progress(), **options))
    whole, resumed = (_keras.load_model(artifact.path / "model").get_weights() for artifact in made)
    assert all(np.array_equal(first, second) for first, second in zip(whole, resumed, strict=True))
    assert made[0].digest == made[1].digest
    assert set(made[0].facts["val"]) == {"largest", "smallest"}
