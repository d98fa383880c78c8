"""A recipe: one frozen dataclass per stage, read from TOML and validated once.

Every key is optional but the data set. Unknown keys, wrong types and values out of range raise
:class:`~edgekd.errors.RecipeError` with the dotted key, the value, what is allowed and the nearest known name.
A value of 0 that is documented as "chosen from the data" is filled in by :func:`sized_to` before the first stage runs.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from edgekd.errors import RecipeError, did_you_mean
from edgekd.options import option, read_table, to_table


@dataclass(frozen=True)
class Views:
    """Random views of a training image; a view is a pure function of (seed, sample, view number)."""

    horizontal_flip: bool = option(False, "mirror left and right in half of the views")
    vertical_flip: bool = option(False, "mirror top and bottom in half of the views")
    max_shift: float = option(0.0, "largest shift along each axis, as a fraction of the side", minimum=0, maximum=0.5)
    max_rotation: float = option(0.0, "largest rotation, in degrees", minimum=0, maximum=180)
    max_zoom: float = option(0.0, "largest zoom in or out, as a fraction", minimum=0, maximum=0.5)
    max_brightness: float = option(0.0, "largest change of brightness, as a fraction of 255", minimum=0, maximum=0.5)
    max_contrast: float = option(0.0, "largest change of contrast, as a fraction", minimum=0, maximum=0.9)
    mixup_alpha: float = option(
        0.0,
        "mix each view with another image's, pixels and labels alike, in shares drawn from Beta(alpha, alpha); 0: not",
        minimum=0,
        maximum=100,
    )
    cutmix_alpha: float = option(
        0.0,
        "paste a box of another image's view into each, whose area is drawn from Beta(alpha, alpha); 0: not. With "
        "both, each view gets one of the two",
        minimum=0,
        maximum=100,
    )


@dataclass(frozen=True)
class Training:
    """How a network's weights are fitted."""

    epochs: int = option(0, "passes over the training images; 0: chosen from the data", minimum=0, maximum=10_000)
    batch_size: int = option(128, "images per step", minimum=1, maximum=65_536)
    optimizer: str = option("sgd", "sgd (Nesterov momentum 0.9) or adamw", choices=("sgd", "adamw"))
    learning_rate: float = option(0.03, "learning rate at its peak", above=0, maximum=10)
    schedule: str = option(
        "cosine",
        "course of the learning rate after warm-up: cosine (to 0), step (times step_factor at step_epochs), constant",
        choices=("cosine", "step", "constant"),
    )
    step_epochs: tuple[int, ...] = option((), "epochs at which schedule = step multiplies", minimum=1)
    step_factor: float = option(0.1, "factor of schedule = step", above=0, maximum=1)
    warmup_epochs: float = option(1.0, "epochs over which the learning rate rises from 0", minimum=0, maximum=10_000)
    weight_decay: float = option(
        5e-4, "decoupled weight decay of kernels, per unit of learning rate", minimum=0, maximum=1
    )
    class_weights: str = option(
        "none",
        "weights of the loss on the labels: none, or balanced (every class counts alike, however many its images)",
        choices=("none", "balanced"),
    )
    focal_gamma: float = option(
        0.0,
        "focusing of the loss on the labels: (1 - p) ** gamma weighs what is already right less",
        minimum=0,
        maximum=10,
    )
    label_smoothing: float = option(
        0.0, "mass moved from the true class to the uniform distribution", minimum=0, below=1
    )
    keep: str = option(
        "best",
        "the epoch whose weights are kept: best (highest AUC on val) or last; a val split of a hundred images chooses "
        "among many epochs by chance",
        choices=("best", "last"),
    )


@dataclass(frozen=True)
class Data:
    """The images, and how they become the model's input."""

    name: str = option("", "a data set known by name (see the README); empty: own data at path")
    path: str = option("", "a class folder or an NPZ file in MedMNIST layout; with a name: its file, already here")
    task: str = option(
        "auto",
        "what is asked of an image: multi-class (one class), ordinal (one grade; their order is that of the labels), "
        "multi-label (any number of findings), or auto: ordinal for data that is known to be, multi-label where an NPZ "
        "has 0/1 labels of shape (n, labels), else multi-class",
        choices=("auto", "multi-class", "ordinal", "multi-label"),
    )
    image_size: int = option(
        0, "side of the model's square input, in pixels; 0: chosen from the data", minimum=0, maximum=1024
    )
    resize: str = option(
        "stretch", "how an image meets the square: stretch or center_crop", choices=("stretch", "center_crop")
    )
    num_calibration_samples: int = option(256, "training images that calibrate INT8", minimum=2, maximum=100_000)
    val_fraction: float = option(
        0.15, "share taken for validation where the data has no such split", above=0, below=0.5
    )
    test_fraction: float = option(0.15, "share taken for the test where the data has no such split", above=0, below=0.5)
    split_seed: int = option(0, "seed of those splits and of the choice of calibration images", minimum=0)
    skip_unreadable: bool = option(False, "go on without unreadable files; the report counts them")
    licence: str = option("", "licence of own data, for the report and the manifest")
    source: str = option("", "where own data comes from, for the report and the manifest")


@dataclass(frozen=True)
class TeacherFile:
    """How a teacher that comes as a file takes images and answers; sizes and types are read from the file."""

    layout: str = option(
        "auto",
        "order of the input's axes: nhwc, nchw, or auto (by where 1 or 3 channels stand)",
        choices=("auto", "nhwc", "nchw"),
    )
    channels: str = option(
        "auto", "rgb, bgr, grey, or auto (rgb of three, grey of one)", choices=("auto", "rgb", "bgr", "grey")
    )
    range: tuple[float, ...] = option((0.0, 1.0), "what the grey levels 0 and 255 become, before mean and std")
    mean: tuple[float, ...] = option((), "then taken off: one number, or one for each channel")
    std: tuple[float, ...] = option((), "then divided by: one number, or one for each channel")
    output: str = option(
        "auto",
        "logits, probabilities, or auto (probabilities where all answers to val lie in 0..1 and sum to 1)",
        choices=("auto", "logits", "probabilities"),
    )
    accept_weak: bool = option(
        False, "go on with a teacher that is no better on val than always naming the largest class"
    )


def is_teacher_file(model: Any) -> bool:
    """Whether ``teacher.model`` is a path, and no name: it has a slash or a dot."""
    return isinstance(model, str) and any(mark in model for mark in "/\\.")


@dataclass(frozen=True)
class Teacher:
    """The large model whose knowledge is distilled."""

    model: str = option(
        "resnet_small",
        "architecture by name: resnet_small, a network of tf_keras.applications (resnet50, mobilenet, densenet121, "
        "...), one that another package registers, ensemble (the mean of the logits of its members), or the path of a "
        "model: .h5 or .keras, .onnx, .tflite, the folder of a SavedModel, or stored logits (.npz)",
    )
    weights: str = option(
        "none", "none, imagenet (downloads), or the path of a file with the weights of the network without its top"
    )
    width_multiplier: float = option(
        1.0, "width of every layer against the published network, where it has several", above=0, maximum=4
    )
    image_size: int = option(
        0,
        "side to which the teacher resizes the view that the student sees, inside its graph; 0: data.image_size",
        minimum=0,
        maximum=1024,
    )
    frozen_epochs: int = option(
        0, "epochs before training.epochs in which the head alone learns", minimum=0, maximum=10_000
    )
    frozen_learning_rate: float = option(0.03, "learning rate at the start of those epochs", above=0, maximum=10)
    copies: int = option(1, "train it from this many seeds, and take the mean of the logits", minimum=1, maximum=100)
    members: Mapping[str, Teacher] = field(
        default_factory=dict,
        metadata={
            "doc": "with model = ensemble: teachers by name, each a table like this one. What a member leaves out it "
            "takes from here, but for model, copies and file"
        },
    )
    file: TeacherFile = field(default_factory=TeacherFile)
    seed: int | None = option(
        None, "the teacher's own seed, so that students of several seeds share it; not set: seed", minimum=0
    )
    training: Training = field(default_factory=Training)
    views: Views = field(default_factory=Views)

    @property
    def is_file(self) -> bool:
        """Whether it comes as a file and is not trained here."""
        return is_teacher_file(self.model)


@dataclass(frozen=True)
class Distill:
    """Knowledge distillation into a student.

    loss = w * cross_entropy(labels, student) + (1 - w) * sum of weight * loss, with w = hard_loss_weight. The loss
    ``kd`` is T**2 * KL(softmax(teacher / T) || softmax(student / T)) with T = temperature (Hinton et al. 2015).
    """

    student: str = option(
        "mobilenet_v2",
        "architecture by name: mobilenet_v2, mobilenet_v1, mobilenet_v3_small (minimalistic), efficientnet_lite0, "
        "resnet8, ds_cnn, or one that another package registers",
    )
    width_multiplier: float = option(
        0.35, "width of every layer against the published architecture", above=0, maximum=2
    )
    weights: str = option(
        "none",
        "where the student starts: none, imagenet (for the widths that Keras publishes of mobilenet_v1, mobilenet_v2 "
        "and mobilenet_v3_small; downloads), or the path of a weights file of the backbone",
    )
    mode: str = option(
        "stored",
        "where the teacher's answers come from: stored (once per view, before the student is trained), live (in every "
        "step), mutual (in every step, and the teacher goes on learning from the student), self (the teacher is the "
        "student trained alone)",
        choices=("stored", "live", "mutual", "self"),
    )
    loss: Mapping[str, float] = field(
        default_factory=lambda: {"kd": 1.0},
        metadata={"doc": "losses by name, with their weights; a name alone counts 1", "minimum": 0, "name_alone": True},
    )
    dkd_target_weight: float = option(1.0, "alpha of the loss dkd: weight of the true class", minimum=0, maximum=1000)
    dkd_nontarget_weight: float = option(8.0, "beta of the loss dkd: weight of the others", minimum=0, maximum=1000)
    crd_negatives: int = option(
        4096,
        "other images that the loss crd tells each image from, in every step; at most all training images",
        minimum=1,
        maximum=1_000_000,
    )
    layer_pairs: Mapping[str, str] = field(
        default_factory=dict,
        metadata={"doc": "student layer and teacher layer whose features are compared; empty: those of equal stride"},
    )
    temperature: float = option(2.0, "softens both distributions", above=0, maximum=100)
    temperature_end: float | None = option(
        None, "temperature at the end of the training, reached linearly; not set: it stays", above=0, maximum=100
    )
    hard_loss_weight: float = option(
        0.5, "share of the loss on the labels; 1 trains the student without the teacher", minimum=0, maximum=1
    )
    hard_loss_weight_end: float | None = option(
        None, "that share at the end of the training, reached linearly; not set: it stays", minimum=0, maximum=1
    )
    num_views: int = option(8, "views of each image for which the teacher's logits are stored", minimum=1, maximum=1024)
    train_alone: bool = option(
        False, "train the same student for as many steps without the teacher too, for comparison"
    )
    finetune_epochs: int = option(
        0, "epochs on the labels alone at the end, kept where val improves", minimum=0, maximum=10_000
    )
    finetune_learning_rate: float = option(0.001, "learning rate of those epochs", above=0, maximum=10)
    training: Training = field(default_factory=Training)
    views: Views = field(default_factory=Views)

    @property
    def uses_teacher(self) -> bool:
        """Whether the teacher has any share of the loss, at any time."""
        return self.hard_loss_weight < 1.0 or self.at_end().hard_loss_weight < 1.0

    def at_end(self) -> Distill:
        """The same with the temperature and the weight that its schedules end at."""
        return dataclasses.replace(
            self,
            temperature=self.temperature if self.temperature_end is None else self.temperature_end,
            hard_loss_weight=self.hard_loss_weight if self.hard_loss_weight_end is None else self.hard_loss_weight_end,
            temperature_end=None,
            hard_loss_weight_end=None,
        )


@dataclass(frozen=True)
class Prune:
    """Pruning with the distillation loss kept: of single weights (Zhu and Gupta 2017), or of whole channels."""

    method: str = option(
        "none",
        "none; weight: single weights become zero; channel: whole channels go, and a smaller and faster model remains",
        choices=("none", "weight", "channel"),
    )
    initial_sparsity: float = option(0.0, "weight: fraction of zeros at the first pruning step", minimum=0, below=1)
    final_sparsity: float = option(0.5, "weight: fraction of zeros at the end", minimum=0, below=1)
    end_fraction: float = option(
        0.6, "weight: share of the steps after which the final sparsity is reached; the rest heals", above=0, maximum=1
    )
    frequency: int = option(20, "weight: steps between two updates of the masks", minimum=1)
    keep_macs: float = option(
        0.5, "channel: fraction of the student's multiply-accumulates that may stay", above=0, maximum=1
    )
    criterion: str = option(
        "taylor",
        "channel: what a channel is worth: l1 (size of its weights), bn_scale (its factor in batch normalization), "
        "taylor (what the distillation loss on training views would change by without it)",
        choices=("l1", "bn_scale", "taylor"),
    )
    rounds: int = option(
        1,
        "channel: removals, with training after each; 1: all at once. training.epochs are shared out, most of them to "
        "the last round, and the learning rate runs its course in each",
        minimum=1,
        maximum=1000,
    )
    channel_multiple: int = option(
        8, "channel: layers keep all channels or a multiple of this; kernels like 8", minimum=1, maximum=1024
    )
    protected_layers: tuple[str, ...] = option(
        (), "channel: names of layers that keep all their channels (and so do layers that are added to them)"
    )
    training: Training = field(default_factory=lambda: Training(learning_rate=0.01, warmup_epochs=0.0))


VARIANTS = ("fp32", "fp16", "dynamic", "int8", "int8_io")


@dataclass(frozen=True)
class Quantize:
    """Post-training conversion to TensorFlow Lite."""

    variants: tuple[str, ...] = option(
        VARIANTS, "files to write; int8 is the one that is shipped and always there", choices=VARIANTS
    )
    fit_temperature: bool = option(True, "fit a temperature to val and bake it into the last layer (Guo et al. 2017)")


@dataclass(frozen=True)
class Verify:
    """What is proved about the shipped bytes."""

    margin_pp: float = option(
        2.0, "largest loss of accuracy that still counts as none, in percentage points", above=0, maximum=100
    )


@dataclass(frozen=True)
class Gates:
    """Limits, decided on val, that the shipped model must hold; build ends with 1 when one falls short."""

    max_tflite_bytes: int | None = option(None, "largest size of the shipped file, in bytes", minimum=1)
    max_accuracy_drop_pp: float | None = option(
        None,
        "largest fall of accuracy from student_fp32 to the shipped model, in percentage points",
        minimum=0,
        maximum=100,
    )
    min_top1: float | None = option(None, "least top-1 of the shipped model", minimum=0, maximum=1)
    min_label_accuracy: float | None = option(
        None, "multi-label: least share of right yes-or-no answers of the shipped model", minimum=0, maximum=1
    )
    min_quadratic_kappa: float | None = option(
        None, "ordinal: least quadratic-weighted kappa of the shipped model", minimum=-1, maximum=1
    )
    min_auc: float | None = option(None, "least AUC of the shipped model", minimum=0, maximum=1)
    min_recall: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"doc": "least recall of a class, by class name", "minimum": 0, "maximum": 1},
    )


@dataclass(frozen=True)
class Benchmark:
    """How latency is measured."""

    target: str = option("host", "device profile: threads, kernels and pinning")
    num_processes: int = option(5, "fresh processes per model", minimum=1, maximum=1000)
    num_runs: int = option(100, "timed inferences per process", minimum=10, maximum=1_000_000)
    warmup_runs: int = option(20, "inferences before the first timed one, in each process", minimum=1, maximum=100_000)


@dataclass(frozen=True)
class Bundle:
    """The drop-in asset."""

    num_golden: int = option(8, "golden input tensors", minimum=8, maximum=16)
    golden_images_licence: str = option(
        "", "licence under which images of the test split may go into the bundle as goldens; empty: made images"
    )
    onnx: bool = option(False, "put the int8 student in as ONNX too, for ONNX Runtime (needs the extra onnx)")
    min_confidence: float = option(0.0, "below this probability the app says low confidence", minimum=0, maximum=1)
    intended_use: str = option(
        "Demonstration only. Not a medical device. Not for diagnosis.", "text shown by the report and the app"
    )


@dataclass(frozen=True)
class Recipe:
    """A whole build."""

    name: str = option("", "name of the recipe; names the run folder")
    seed: int = option(0, "seed of weights, order and views", minimum=0, maximum=2**31 - 1)
    num_threads: int = option(
        0, "threads of training; 0: the cores of this machine. Part of the result", minimum=0, maximum=1024
    )
    data: Data = field(default_factory=Data)
    teacher: Teacher = field(default_factory=Teacher)
    distill: Distill = field(default_factory=Distill)
    prune: Prune = field(default_factory=Prune)
    quantize: Quantize = field(default_factory=Quantize)
    verify: Verify = field(default_factory=Verify)
    gates: Gates = field(default_factory=Gates)
    benchmark: Benchmark = field(default_factory=Benchmark)
    bundle: Bundle = field(default_factory=Bundle)


def builtin_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("edgekd") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a built-in recipe by name, or a TOML file by path.

    Args:
        name_or_path: ``"quickstart"``, or ``"my/recipe.toml"``.
        overrides: dotted keys and their values (``{"distill.temperature": 2.0}``), applied before validation.

    Raises:
        RecipeError: no such recipe, no TOML, an unknown key, a value that is not allowed.
    """
    path = Path(name_or_path)
    if name_or_path in builtin_names():
        text = (resources.files("edgekd") / "recipes" / f"{name_or_path}.toml").read_text(encoding="utf-8")
        default_name = name_or_path
    elif path.is_dir():
        raise RecipeError(f'"{name_or_path}" is a folder, not a recipe; did you mean --data {name_or_path}?')
    elif path.suffix == ".toml" and path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f'recipe "{name_or_path}" cannot be read: {error}') from None
        default_name = path.stem
    elif path.is_file():
        raise RecipeError(f'"{name_or_path}" is no recipe (*.toml); for images did you mean --data {name_or_path}?')
    elif path.suffix == ".toml":
        raise RecipeError(f'recipe "{name_or_path}" does not exist; built-in recipes: {", ".join(builtin_names())}')
    else:
        raise RecipeError(f'unknown recipe "{name_or_path}"{did_you_mean(name_or_path, builtin_names())}')
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f'recipe "{name_or_path}" is not valid TOML: {error}') from None
    table.setdefault("name", default_name)
    for key, value in (overrides or {}).items():
        _set(table, key, value)
    if not table["name"]:
        raise RecipeError(f'name = "": a recipe has a name; leave the key out to use "{default_name}"')
    return from_table(table)


def from_table(table: Mapping[str, Any]) -> Recipe:
    """Make a validated recipe of nested dictionaries as TOML gives them."""
    recipe = read_table(Recipe, _with_inheritance(table))
    _check_across(recipe)
    return recipe


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML text that :func:`load` reads back to an equal recipe."""
    import tomli_w

    return tomli_w.dumps(to_table(recipe))


def parse_value(text: str) -> Any:
    """Read the right side of ``--set key=value``: a TOML value, or else a plain string.

    Raises:
        RecipeError: more than one line.
    """
    if len(text.splitlines()) > 1:
        raise RecipeError(f"{text!r}: one line is wanted")
    try:
        # Within brackets a comment would swallow the closing one, and a second value would show.
        values = tomllib.loads(f"values = [{text}]")["values"]
    except tomllib.TOMLDecodeError:
        return text
    # No key takes a date: what looks like one is a name.
    if len(values) == 1 and isinstance(values[0], (bool, int, float, str, list, dict)):
        return values[0]
    return text


# A laptop without a GPU trains MobileNetV2 0.35 at about 750 images of 32x32 a second (two cores); these many image
# presentations are enough for small medical sets to level off and keep a default build within an hour at 64 pixels.
_AUTO_PRESENTATIONS = {"teacher": 60_000, "distill": 120_000, "prune": 40_000}
_AUTO_SIDES = (32, 64, 96, 128)


def sized_to(recipe: Recipe, *, num_train: int, median_side: int, num_threads: int) -> Recipe:
    """Fill in what the recipe leaves to the data.

    Image size: the smallest of 32, 64, 96, 128 that is at least 0.75 of the median image side. Epochs: enough that
    each stage shows a fixed number of images, at least 5 and at most 100 epochs. Batch size: no larger than leaves
    eight steps an epoch.

    Args:
        num_train: training images.
        median_side: median over the images of the shorter side, in pixels.
        num_threads: threads to use where the recipe says 0.

    Raises:
        RecipeError: more rounds of channel pruning than the epochs are enough for.
    """
    side = next((side for side in _AUTO_SIDES if side >= 0.75 * median_side), _AUTO_SIDES[-1])
    data = dataclasses.replace(recipe.data, image_size=recipe.data.image_size or side)

    def sized(training: Training, stage: str) -> Training:
        epochs = training.epochs or min(100, max(5, round(_AUTO_PRESENTATIONS[stage] / num_train)))
        return dataclasses.replace(training, epochs=epochs, batch_size=max(1, min(training.batch_size, num_train // 8)))

    def sized_teacher(teacher: Teacher) -> Teacher:
        members = {name: sized_teacher(member) for name, member in teacher.members.items()}
        return dataclasses.replace(teacher, training=sized(teacher.training, "teacher"), members=members)

    prune = dataclasses.replace(recipe.prune, training=sized(recipe.prune.training, "prune"))
    if prune.method == "channel" and 1 < prune.rounds >= prune.training.epochs:
        raise RecipeError(
            f"prune.rounds = {prune.rounds}: below prune.training.epochs, {prune.training.epochs}, so that each round "
            "has an epoch and the last has more"
        )
    return dataclasses.replace(
        recipe,
        num_threads=recipe.num_threads or num_threads,
        data=data,
        teacher=sized_teacher(recipe.teacher),
        distill=dataclasses.replace(recipe.distill, training=sized(recipe.distill.training, "distill")),
        prune=prune,
    )


def _set(table: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for name in parents:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(f'unknown key "{dotted}": "{name}" is a value and holds no keys')
        table = inner
    table[last] = value


def _with_inheritance(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the members of an ensemble what they leave out; what is no table is left to the reader to refuse."""
    teacher = table.get("teacher")
    if not isinstance(teacher, Mapping) or not isinstance(teacher.get("members"), Mapping):
        return table
    shared = {key: value for key, value in teacher.items() if key not in ("model", "copies", "members", "seed", "file")}
    members = {
        # A file is taken as it is: what is said of networks is not meant for it.
        name: member
        if isinstance(member, Mapping) and is_teacher_file(member.get("model"))
        else _filled(member, shared)
        for name, member in teacher["members"].items()
    }
    return {**table, "teacher": {**teacher, "members": members}}


def _filled(own: Any, shared: Any) -> Any:
    if not isinstance(own, Mapping) or not isinstance(shared, Mapping):
        return own
    return {**shared, **{key: _filled(value, shared.get(key)) for key, value in own.items()}}


def _check_across(recipe: Recipe) -> None:
    """Rules that concern more than one key, or what a key means outside of the recipe."""
    if recipe.name != Path(recipe.name).name or recipe.name in (".", ".."):
        raise RecipeError(f'name = "{recipe.name}": names the run folder, so that it may not lead to another one')
    if not recipe.data.name and not recipe.data.path:
        raise RecipeError('data.name = "": name a data set (data.name), or give --data PATH')
    if recipe.prune.initial_sparsity > recipe.prune.final_sparsity:
        raise RecipeError(
            f"prune.initial_sparsity = {recipe.prune.initial_sparsity}: "
            f"at most prune.final_sparsity, {recipe.prune.final_sparsity}"
        )
    if "int8" not in recipe.quantize.variants:
        raise RecipeError("quantize.variants: int8 is the shipped model and cannot be left out")
    if recipe.bundle.onnx and "int8_io" not in recipe.quantize.variants:
        raise RecipeError("bundle.onnx = true is made from the variant int8_io; add it to quantize.variants")
    if "fp32" not in recipe.quantize.variants:
        for key, wanted in (
            ("gates.max_accuracy_drop_pp", recipe.gates.max_accuracy_drop_pp is not None),
            ("distill.train_alone", recipe.distill.train_alone),
        ):
            if wanted:
                raise RecipeError(f"{key} compares with the student in fp32; add fp32 to quantize.variants")
    if len(set(recipe.quantize.variants)) < len(recipe.quantize.variants):
        raise RecipeError(f"quantize.variants = {list(recipe.quantize.variants)}: each at most once")
    if recipe.data.val_fraction + recipe.data.test_fraction >= 0.8:
        raise RecipeError("data.val_fraction + data.test_fraction: below 0.8, so that something is left to train on")
    if 0 < recipe.data.image_size < 16:
        raise RecipeError(f"data.image_size = {recipe.data.image_size}: at least 16, or 0 (chosen from the data)")
