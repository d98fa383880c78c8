"""The stage that removes channels: its budget, its rounds, what it is refused, and that a kill changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from edgekd import _keras, channels, pipeline, recipe
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.config.distill import Distill
from edgekd.config.prune import Prune
from edgekd.config.training import Training, Views
from edgekd.errors import ModelError, RecipeError
from edgekd.logits_store import LogitsStore
from edgekd.progress import Progress, Task
from edgekd.stages import prune_channels as stage
from edgekd.stages.prune_channels import budgets, check, epochs_of_rounds, prune_channels

PRUNE = Prune(
    method="channel",
    keep_macs=0.5,
    channel_multiple=4,
    training=Training(epochs=1, batch_size=16, learning_rate=0.02, warmup_epochs=0.0),
)
ON_LABELS = Distill(hard_loss_weight=1.0, views=Views(max_shift=0.1))


def tiny_student() -> Any:
    """Multiply-accumulates: 64 positions * 27 * 16 = 27,648, 16 * 9 * 16 * 16 = 36,864, 16 * 2 = 32; in all 64,544."""
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    for name in ("stem", "body"):
        x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name=name)(x)
        x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x), name="tiny")


WHOLE = 64_544


@pytest.fixture
def student(tmp_path: Path) -> Artifact:
    folder = tmp_path / "student"
    _keras.save_model(tiny_student(), folder / "model")
    return Artifact.seal(folder, {})


@pytest.fixture
def run(tmp_path: Path, tiny_data: Artifact, student: Artifact) -> Callable[..., Artifact]:
    """Prune the tiny student on its labels; ``name`` tells the folders of several runs apart."""

    def prune(
        name: str = "run",
        logits: Artifact | None = None,
        distillation: Distill = ON_LABELS,
        progress: Progress | None = None,
        **changes: Any,
    ) -> Artifact:
        out = tmp_path / f"{name}_out"
        out.mkdir(exist_ok=True)
        config = dataclasses.replace(PRUNE, **changes)
        options = {"distillation": distillation, "seed": 3, "work": tmp_path / name, "progress": progress or Progress()}
        return prune_channels(tiny_data, logits, student, config, out, **options)

    return prune


def epochs(count: int) -> Training:
    return dataclasses.replace(PRUNE.training, epochs=count)


def test_budgets_are_even_steps_in_log_macs() -> None:
    assert budgets(dataclasses.replace(PRUNE, keep_macs=0.125, rounds=3)) == pytest.approx([0.5, 0.25, 0.125])
    assert budgets(PRUNE) == [0.5]


@pytest.mark.parametrize(
    ("count", "rounds", "shares"),
    [(5, 1, [5]), (9, 3, [2, 2, 5]), (4, 3, [1, 1, 2]), (40, 3, [10, 10, 20])],
)
def test_the_last_round_has_most_epochs(count: int, rounds: int, shares: list[int]) -> None:
    assert epochs_of_rounds(count, rounds) == shares


def test_each_round_needs_an_epoch() -> None:
    settings = {"prune.method": "channel", "prune.rounds": 5, "prune.training.epochs": 5}
    few = recipe.load("quickstart", settings)
    sizes = {"num_train": 100, "median_side": 32, "num_threads": 1}
    with pytest.raises(RecipeError, match=r"prune\.rounds = 5: below prune\.training\.epochs, 5"):
        recipe.sized_to(few, **sizes)
    recipe.sized_to(recipe.load("quickstart", {**settings, "prune.training.epochs": 6}), **sizes)


@pytest.mark.parametrize("criterion", ["l1", "bn_scale", "taylor"])
def test_what_remains_is_within_the_budget(criterion: str, run: Callable[..., Artifact]) -> None:
    made = run(criterion=criterion)
    model = _keras.load_model(made.path / "model")
    stem, body = (model.get_layer(name).filters for name in ("stem", "body"))
    macs = 64 * 27 * stem + 16 * 9 * stem * body + body * 2
    assert macs <= 0.5 * WHOLE
    assert made.facts["macs"] == {"before": WHOLE, "after": macs}
    assert made.facts["channels"] == {
        "stem": {"before": 16, "after": stem},
        "body": {"before": 16, "after": body},
    }
    # Kernels, four numbers a channel of each normalization, and the classifier with its bias.
    parameters = {n: 27 * n + 9 * n * m + 4 * (n + m) + 2 * m + 2 for n, m in ((16, 16), (stem, body))}
    assert made.facts["num_params"] == {"before": parameters[16], "after": parameters[stem]}
    assert made.facts["val_before"].keys() == {"loss", "top1", "auc"}
    assert made.facts["val_after_surgery"] != made.facts["val"]
    assert "of the multiply-accumulates" in made.facts["summary"]


def test_rounds_reach_the_budget_step_by_step(run: Callable[..., Artifact]) -> None:
    made = run(rounds=2, keep_macs=0.36, training=epochs(3))
    macs = [step["macs"] for step in made.facts["rounds"]]
    assert 0.36 * WHOLE < macs[0] <= 0.6 * WHOLE
    assert macs[1] <= 0.36 * WHOLE
    assert made.facts["macs"]["after"] == macs[1]
    assert [(row["round"], row["epoch"]) for row in made.facts["history"]] == [(0, 0), (1, 0), (1, 1)]


def test_a_protected_layer_stays_whole(run: Callable[..., Artifact]) -> None:
    made = run(protected_layers=("stem_relu",), keep_macs=0.6)
    model = _keras.load_model(made.path / "model")
    # 27,648 of the stem stay; below 0.6 * 64,544 = 38,726 is what 4 channels of the body bring: 9,216 and 8.
    assert (model.get_layer("stem").filters, model.get_layer("body").filters) == (16, 4)
    assert made.facts["channels"] == {"body": {"before": 16, "after": 4}}


def test_taylor_takes_the_distillation_loss_of_training_views(
    run: Callable[..., Artifact],
    stored: Callable[..., LogitsStore],
    tiny_data: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mean over three batches of 16 is that over all 48 images: ``KL(t || s)``, the student in inference mode."""
    seen: list[float] = []

    def watched(structure: Any, batches: Any, loss: Any) -> Any:
        seen.extend(float(loss(batch)) for batch in batches)
        return channels.l1(structure)

    monkeypatch.setattr(stage.channels, "taylor", watched)
    teacher = np.random.default_rng(0).normal(size=(1, 48, 2)).astype(np.float16)
    store = stored(teacher)
    run(
        logits=Artifact(store.folder, "", {}),
        distillation=Distill(hard_loss_weight=0.0, loss={"kd": 1.0}, temperature=1.0),
    )
    images = np.load(tiny_data.path / "train_images.npy", allow_pickle=False)
    student_log_probs = log_softmax(tiny_student()(images.astype(np.float32)).numpy(), axis=-1)
    teacher_log_probs = log_softmax(teacher[0].astype(np.float64), axis=-1)
    divergence = (np.exp(teacher_log_probs) * (teacher_log_probs - student_log_probs)).sum(axis=-1)
    assert len(seen) == 3
    assert np.mean(seen) == pytest.approx(divergence.mean(), rel=1e-4)


class Killed(Exception):
    """Stands for SIGKILL."""


class KillAt(Progress):
    """Ends the process, as it were, after so many steps of training."""

    def __init__(self, step: int):
        self.left = step

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        outer = self

        class Counted(Task):
            def advance(self, count: int, **figures: float) -> None:
                outer.left -= 1
                if outer.left == 0:
                    raise Killed

        yield Counted()


# Three steps an epoch: round 0 ends with step 3, round 1 has its checkpoints at 6 and 9.
@pytest.mark.parametrize("steps", [2, 5, 7])
def test_killed_and_resumed_ends_as_unbroken(
    steps: int, run: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"rounds": 2, "keep_macs": 0.36, "training": epochs(3)}
    with pytest.raises(Killed):
        run("broken", progress=KillAt(steps), **settings)
    # The plans of the rounds that were begun stand on disk: nothing of them is scored again.
    scored: list[int] = []
    taylor = channels.taylor
    monkeypatch.setattr(stage.channels, "taylor", lambda *inputs: scored.append(1) or taylor(*inputs))
    resumed = run("broken", **settings)
    assert len(scored) == (1 if steps == 2 else 0)
    unbroken = run("whole", **settings)
    assert resumed.digest == unbroken.digest


def test_a_damaged_plan_is_made_again(
    run: Callable[..., Artifact], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unbroken = run("whole")
    (tmp_path / "damaged" / "round0").mkdir(parents=True)
    (tmp_path / "damaged" / "round0" / "plan.json").write_text('{"stem": [0, ')
    assert run("damaged").digest == unbroken.digest
    assert "the plan of a round of channel pruning is damaged and is made again" in caplog.text


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"protected_layers": ("stemm",)},
            RecipeError,
            r'prune\.protected_layers: protected layer "stemm" is not in the model; did you mean "stem"\?',
        ),
        (
            {"keep_macs": 0.01},
            RecipeError,
            r"prune\.keep_macs = 0\.01 cannot be reached: .*channel_multiple \(4\)",
        ),
        ({"channel_multiple": 16}, RecipeError, r"prune\.keep_macs = 0\.5 cannot be reached"),
        (
            {"layer_channel_ratios": {"stemm": 0.5}},
            RecipeError,
            r'prune\.layer_channel_ratios\."stemm": no layer makes such channels; did you mean "stem"\?',
        ),
        ({"layer_channel_ratios": {"block*": 0.5}}, RecipeError, r'"block\*" fits no group .*: stem, body$'),
        ({"layer_channel_ratios": {"logits": 0.5}}, RecipeError, r'"logits" = 0\.5: they are the model\'s output'),
        (
            {"layer_channel_ratios": {"stem": 0.5, "stem_bn": 0.25}},
            RecipeError,
            r'"stem" and "stem_bn" lose the same channels; name one of them',
        ),
        (
            {"layer_channel_ratios": {"*": 0.1}},
            RecipeError,
            r"prune\.keep_macs = 0\.5 cannot be reached: .*; or set prune\.keep_macs = 1",
        ),
    ],
)
def test_what_cannot_be_is_said_of_the_untrained_student(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check(tiny_student(), dataclasses.replace(PRUNE, **changes))
    check(tiny_student(), PRUNE)


def test_ratios_go_by_name_and_pattern(run: Callable[..., Artifact]) -> None:
    """Of 16 channels a quarter of the stem's, by its own name, and half of the body's, by the longer pattern."""
    ratios = {"*": 0.75, "bod*": 0.5, "stem": 0.25}
    facts = run(layer_channel_ratios=ratios, keep_macs=1.0).facts
    assert facts["channels"] == {"stem": {"before": 16, "after": 12}, "body": {"before": 16, "after": 8}}
    structure = channels.follow(tiny_student())
    wanted = {"*": 0.75, "bod*": 0.5, "stem_bn": 0.25}
    assert stage.channel_choice.ratios(structure, wanted) == {"stem": 0.25, "body": 0.5}
    table = {"method": "channel", "rounds": 2, "layer_channel_ratios": ratios}
    with pytest.raises(RecipeError, match=r"prune\.rounds = 2: prune\.layer_channel_ratios say what goes at once"):
        recipe.from_table({"name": "tiny", "data": {"name": "synthetic_cells"}, "prune": table})


def test_a_layer_that_cannot_be_followed_is_named() -> None:
    class Doubled(_keras.tf_keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return 2 * x

    model = tiny_student()
    odd = _keras.tf_keras.Model(model.input, Doubled(name="odd")(model.get_layer("pool").output), name="custom")
    message = r'prune\.method = "channel": layer "odd" is of class Doubled.*; or set prune\.method = "weight"'
    with pytest.raises(ModelError, match=message):
        check(odd, PRUNE)


def test_bn_scale_without_normalization_is_refused_before_training() -> None:
    _keras.reset(0)
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(16, 3, name="bare")(pixels))
    model = _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x))
    with pytest.raises(ModelError, match='criterion bn_scale: the channels of layer "bare"'):
        check(model, dataclasses.replace(PRUNE, criterion="bn_scale"))


SMALL = {
    **{"data.image_size": 32, "data.num_calibration_samples": 8, "num_threads": 1},
    **{"teacher.training.epochs": 1, "teacher.training.batch_size": 8},
    **{"distill.student": "resnet8", "distill.width_multiplier": 1.0, "distill.num_views": 1},
    **{"distill.training.epochs": 1, "distill.training.batch_size": 8, "quantize.variants": ["int8"]},
    **{"prune.training.epochs": 1, "prune.training.batch_size": 8, "gates": {}},
}


@pytest.fixture
def build(
    make_npz: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Artifact]]:
    """The chain up to quantize, within this process, whose thread count is left alone."""
    monkeypatch.setattr("edgekd._keras.set_determinism", lambda num_threads: None)
    settings = {**SMALL, "data.name": "", "data.path": str(make_npz())}

    def artifacts(**prune: Any) -> dict[str, Artifact]:
        changes = {f"prune.{name}": value for name, value in prune.items()}
        loaded = recipe.load("quickstart", {**settings, **changes})
        return pipeline.artifacts(loaded, cache=Cache(tmp_path / "cache"), until="quantize")[0]

    return artifacts


def test_the_int8_file_is_really_smaller(build: Callable[..., dict[str, Artifact]]) -> None:
    (whole,) = build(method="none")["quantize"].facts["models"]
    made = build(method="channel", keep_macs=0.5)
    (small,) = made["quantize"].facts["models"]
    assert small["steps"] == ["distilled", "channel_pruned", "finetuned", "ptq"]
    assert small["macs"] <= 0.5 * whole["macs"]
    assert made["prune"].facts["macs"] == {"before": whole["macs"], "after": small["macs"]}
    # A weight is a byte; what is rounded up to whole words of the file is little.
    removed = whole["num_params"] - small["num_params"]
    # The student before pruning is that of the recipe without it, to the byte of its INT8 form; and what was measured
    # right after the removal has the shape of what is shipped and none of the training after.
    before, whole_again = made["quantize.distilled"].facts["models"]
    assert (before["id"], before["steps"], before["macs"]) == ("distilled_fp32", ["distilled"], whole["macs"])
    assert (whole_again["id"], whole_again["sha256"]) == ("distilled_int8", whole["sha256"])
    (cut,) = made["quantize.pruned"].facts["models"]
    assert (cut["id"], cut["steps"], cut["shipped"]) == ("pruned_fp32", ["distilled", "channel_pruned"], False)
    assert (cut["macs"], cut["num_params"]) == (small["macs"], small["num_params"])
    assert removed > 0
    assert whole["tflite_bytes"] - small["tflite_bytes"] > 0.95 * removed


def test_a_wrong_name_ends_the_build_before_anything_is_made(
    build: Callable[..., dict[str, Artifact]], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match='protected layer "stem_conv1" is not in the model; did you mean "stem_conv"'):
        build(method="channel", protected_layers=["stem_conv1"])
    assert not list((tmp_path / "cache").rglob("facts.json"))
