"""Teachers that come as files: what they can be used for, and how their input and output are brought to ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import tf
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher, TeacherFile
from edgekd.config.training import Views
from edgekd.errors import MissingRequirementError, ModelError, RecipeError
from edgekd.models.kinds import KINDS, kind_of
from edgekd.tasks import SIGMOID, SOFTMAX

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow makes grey of colour
_LEAST_PROBABILITY = 1e-7


def check_file(config: Teacher, key: str) -> None:
    """Raise where a file cannot be a teacher as configured; ``key`` is the dotted key of its table.

    Raises:
        ModelError: no such file, or of no known kind.
        RecipeError: settings that a file does not take.
        MissingRequirementError: ONNX without ONNX Runtime.
    """
    if not config.is_file:
        if config.file != TeacherFile():
            raise RecipeError(f'{key}.file: "{config.model}" is the name of a network and no file; leave it out')
        return
    if kind_of(Path(config.model)) == "onnx" and find_spec("onnxruntime") is None:
        raise MissingRequirementError(f'{key}.model = "{config.model}" needs onnxruntime; pip install "edgekd[onnx]"')
    for name in ("range", "mean", "std"):
        lengths = (2,) if name == "range" else (0, 1, 3)
        if len(getattr(config.file, name)) not in lengths:
            wanted = "two numbers" if name == "range" else "one number, or one for each of three channels"
            raise RecipeError(f"{key}.file.{name} = {list(getattr(config.file, name))}: {wanted}")
    if any(deviation <= 0 for deviation in config.file.std):
        raise RecipeError(f"{key}.file.std = {list(config.file.std)}: above 0")


def check_use(config: Teacher, key: str, distill: Distill, features: Sequence[str]) -> None:
    """Raise RecipeError where a distillation wants of a file what it cannot give.

    Args:
        config: a table of the recipe that describes a teacher.
        key: its dotted key.
        distill: how the student learns.
        features: names of the losses that compare feature maps.
    """
    if not config.is_file or (kind := kind_of(Path(config.model))) == "keras2":
        return
    title = f'{key}.model = "{config.model}" is {KINDS[kind]}'
    remedy = "give the teacher as a Keras 2 model (.h5 or .keras), or as a network by name"
    if features:
        raise RecipeError(
            f'distill.loss "{features[0]}" compares feature maps, and {title}, of which the answers alone can be had; '
            f"choose losses on logits (kd, kd_standardized, dkd, dist), or {remedy}"
        )
    if distill.mode in ("live", "mutual"):
        raise RecipeError(
            f'distill.mode = "{distill.mode}" runs the teacher within the training step, and {title}, which runs in a '
            f'process of its own; set distill.mode = "stored", or {remedy}'
        )
    if kind == "logits" and distill.views != Views():
        raise RecipeError(
            f"distill.views changes the images, and {title}, which were made of images as they are; leave "
            "distill.views out, or give the teacher itself"
        )


def unused_settings(config: Teacher, fixed_size: bool) -> list[str]:
    """A warning where the recipe says of a file what is said of networks that are trained.

    Args:
        config: the table, which another teacher may have left there.
        fixed_size: whether the file says which size its input has.
    """
    defaults = {"weights": "none", "width_multiplier": 1.0, "frozen_epochs": 0, "copies": 1}
    if fixed_size:
        defaults["image_size"] = 0
    unused = [f"teacher.{name}" for name, default in defaults.items() if getattr(config, name) != default]
    return [f"{', '.join(unused)}: not used, as {Path(config.model).name} is taken as it is"] if unused else []


@dataclass(frozen=True)
class Input:
    """What a model takes: ``pixels @ matrix + offset`` of RGB pixels in 0..255, resized and laid out.

    Attributes:
        size: height and width, in pixels.
        layout: ``nhwc`` or ``nchw``.
        dtype: ``float32``, ``uint8`` or ``int8``.
        matrix: shape ``(3, c)``.
        offset: shape ``(c,)``.
    """

    size: tuple[int, int]
    layout: str
    dtype: str
    matrix: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]

    def of(self, pixels: NDArray[np.float32]) -> NDArray[Any]:
        """Bring pixels ``(n, s, s, 3)`` into the form that the model takes."""
        if pixels.shape[1:3] != self.size:
            pixels = tf.image.resize(pixels, self.size, "bilinear").numpy()
        values = pixels @ np.array(self.matrix, np.float32) + np.array(self.offset, np.float32)
        if self.dtype != "float32":
            limits = np.iinfo(self.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        if self.layout == "nchw":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values, self.dtype)


def input_of(
    shape: Sequence[int | None], dtype: str, config: TeacherFile, *, seen_size: int, image_size: int, title: str
) -> Input:
    """Read from the shape what it says, take the rest from the recipe, and refuse what neither says.

    Args:
        shape: of the model's input, with the batch; None where a side may be any.
        dtype: of the model's input.
        config: the recipe's ``teacher.file``.
        seen_size: the recipe's ``teacher.image_size``, for a model that takes any; 0: not stated.
        image_size: side of the data's images.
        title: what messages call the model.

    Raises:
        RecipeError: something that must be stated, or is stated otherwise than the model has it.
    """
    if len(shape) != 4:
        raise RecipeError(f"{title} takes an input of shape {_shown(shape)}; images have 4 dimensions")
    if dtype not in ("float32", "uint8", "int8"):
        raise RecipeError(f"{title} takes {dtype}; float32, uint8 and int8 are known")
    fits = [name for name, axis in (("nhwc", 3), ("nchw", 1)) if shape[axis] in (1, 3, None)]
    exact = [name for name, axis in (("nhwc", 3), ("nchw", 1)) if shape[axis] in (1, 3)]
    layout = config.layout
    if layout == "auto":
        likely = exact or fits
        if len(likely) != 1:
            raise RecipeError(f"{title} takes {_shown(shape)}, which may be nhwc or nchw; state teacher.file.layout")
        layout = likely[0]
    elif layout not in fits:
        raise RecipeError(
            f'teacher.file.layout = "{layout}": {title} takes {_shown(shape)}; '
            f'did you mean "{"nchw" if layout == "nhwc" else "nhwc"}"?'
        )
    count = shape[3 if layout == "nhwc" else 1]
    height, width = shape[1:3] if layout == "nhwc" else shape[2:4]
    channels = config.channels
    if channels == "auto":
        if count is None:
            raise RecipeError(f"{title} takes any number of channels; state teacher.file.channels")
        channels = "grey" if count == 1 else "rgb"
    if count not in (None, 1 if channels == "grey" else 3):
        raise RecipeError(f'teacher.file.channels = "{channels}": {title} takes {_shown(shape)}, {count} channel(s)')
    size = (height or seen_size or image_size, width or seen_size or image_size)
    return Input(size, layout, dtype, *_affine(channels, dtype, config, title))


def _affine(
    channels: str, dtype: str, config: TeacherFile, title: str
) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Matrix ``(3, c)`` and offset ``(c,)`` from RGB in 0..255 to what the model takes."""
    mixing = {"rgb": np.eye(3), "bgr": np.eye(3)[:, ::-1], "grey": np.array(_LUMA)[:, None]}[channels]
    count = mixing.shape[1]
    if dtype != "float32":
        if config.mean or config.std or config.range != TeacherFile().range:
            raise RecipeError(
                f"teacher.file: {title} takes {dtype}, which is the grey level; leave out range, mean, std"
            )
        offset = np.full(count, -128.0 if dtype == "int8" else 0.0)
        return tuple(map(tuple, mixing.tolist())), tuple(offset.tolist())
    for name in ("mean", "std"):
        if len(getattr(config, name)) not in (0, 1, count):
            raise RecipeError(f"teacher.file.{name} = {list(getattr(config, name))}: {title} takes {count} channel(s)")
    low, high = config.range
    mean, deviation = np.array(config.mean or (0.0,)), np.array(config.std or (1.0,))
    matrix = mixing * ((high - low) / 255 / deviation)
    offset = np.broadcast_to((low - mean) / deviation, (count,))
    return tuple(map(tuple, matrix.tolist())), tuple(offset.tolist())


def output_kind(outputs: NDArray[np.float32], stated: str, title: str, head: str = SOFTMAX) -> str:
    """``logits`` or ``probabilities``: as stated, or what these answers to many images show.

    Probabilities lie between 0 and 1, and sum to 1 where the head is a softmax.

    Raises:
        RecipeError: one output between 0 and 1, which may be either; stated probabilities that are none.
    """
    rows = outputs.reshape(len(outputs), -1)
    between = bool(np.all((rows >= 0) & (rows <= 1)))
    if stated == "probabilities" and not between:
        raise RecipeError(
            f'teacher.file.output = "probabilities": {title} answers with {rows.min():.3g} to {rows.max():.3g} on val; '
            'did you mean "logits"?'
        )
    if stated != "auto":
        return stated
    if rows.shape[1] == 1 and between:
        raise RecipeError(
            f"{title} answers with one number, between 0 and 1 for every image of val; state teacher.file.output"
        )
    sums_to_one = head == SIGMOID or np.allclose(rows.sum(axis=1), 1, atol=1e-2)
    return "probabilities" if between and sums_to_one else "logits"


def as_logits(
    outputs: NDArray[np.float32], output: str, num_classes: int, title: str, head: str = SOFTMAX
) -> NDArray[np.float32]:
    """Logits ``(n, K)`` of a model's outputs.

    Probabilities p become log(p), which a softmax turns back into them, or log(p / (1 - p)) where the head is a
    sigmoid; they are kept 1e-7 away from 0, and for a sigmoid from 1. One output for two classes is that of class 1: a
    logit z becomes (0, z), a probability p (log(1 - p), log(p)).

    Raises:
        ModelError: another number of outputs than of classes.
    """
    rows = outputs.reshape(len(outputs), -1).astype(np.float32)
    count = rows.shape[1]
    if count == 1 and num_classes == 2 and head == SOFTMAX:
        rows = np.concatenate([1 - rows if output == "probabilities" else np.zeros_like(rows), rows], axis=1)
    elif count != num_classes:
        raise ModelError(classes_differ(title, count, num_classes))
    if output == "logits":
        return rows
    if head == SIGMOID:
        rows = np.clip(rows.astype(np.float64), _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
        return (np.log(rows) - np.log1p(-rows)).astype(np.float32)
    logits: NDArray[np.float32] = np.log(np.clip(rows, _LEAST_PROBABILITY, 1.0))
    return logits


def classes_differ(title: str, count: int, num_classes: int) -> str:
    """The message where a teacher's outputs are not the data's classes."""
    return (
        f"{title} has {count} outputs, the data {num_classes} classes; a teacher answers for the data's classes, in "
        "the order of their numbers"
    )


def check_one_each(inputs: Sequence[Any] | None, outputs: Sequence[Any] | None, title: str) -> None:
    """Raise ModelError unless a model has one input and one output."""
    if len(inputs or ()) != 1 or len(outputs or ()) != 1:
        counts = f"{len(inputs or ())} inputs and {len(outputs or ())} outputs"
        raise ModelError(f"{title} has {counts}; a classifier has one of each")


def _shown(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("n" if side is None else str(side) for side in shape) + ")"
