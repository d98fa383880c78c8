"""Take a network as a stranger trained it, without its images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, channels
from edgekd._keras import tf_keras
from edgekd.artifact import Artifact, sha256_file
from edgekd.config.teacher import Teacher, TeacherFile
from edgekd.data.made_up import made_up_images
from edgekd.errors import ModelError, RecipeError
from edgekd.models import keras3
from edgekd.models.given import as_logits, check_one_each, input_of
from edgekd.models.keras_file import as_classifier
from edgekd.models.kinds import KINDS, kind_of, runtime_of
from edgekd.tasks import probabilities

NUM_IMAGES = 32
TOLERANCE = 1e-4
_BEFORE_SCALING = ("InputLayer", "Resizing", "CenterCrop", "ZeroPadding2D", "Cropping2D")
_LARGEST_SCALE = 1 / 64


def adopt(config: Teacher, out_dir: Path, *, image_size: int = 0) -> Artifact:
    """Bring a Keras file into our form: pixels in, logits out, flat, of built-in layers, in ``model/``.

    The file itself and what was made of it must give the same probabilities, to 1e-4, on made-up images. Where
    ``config.file.range`` is empty, it is 0..255 for a network that begins with a Rescaling of its own, as the networks
    of Keras applications do, and for others it must be stated.

    Args:
        config: the file, and how it takes images.
        out_dir: where ``model/`` goes.
        image_size: side of the images, for a network that takes any; 0: not stated.

    Returns:
        Facts: ``given`` (file, kind, runtime, digest), ``image_size``, ``range``, ``mean``, ``std``, ``head``,
        ``num_classes``, ``macs``, ``num_params``, ``max_prob_difference``.

    Raises:
        ModelError: a file that is no Keras model, cannot be read, or cannot be followed; the message names the layer.
        RecipeError: something about its input that neither the file nor the recipe says.
    """
    path = Path(config.model)
    kind, title = kind_of(path), f'model "{path.name}"'
    if kind not in ("keras2", "keras3"):
        raise ModelError(f"{title} is {KINDS[kind]}; a Keras model is wanted (.h5 or .keras), whose layers can be seen")
    _keras.reset(0)
    model = _keras.load_file(path) if kind == "keras2" else keras3.build(path)
    check_one_each(model.inputs, model.outputs, title)
    shape = list(model.inputs[0].shape)
    if None in shape[1:3] and not image_size:
        raise RecipeError(f"{title} takes images of any size; state data.image_size")
    side = image_size or max(shape[1:3])
    file = config.file if config.file.range else _with_range(config, model, title)
    takes = input_of(shape, "float32", file, seen_size=0, image_size=side, title=title)
    pixels = made_up_images(NUM_IMAGES, side, seed=0).astype(np.float32)
    values = takes.of(pixels)
    answers = model(values, training=False).numpy() if kind == "keras2" else keras3.fill(model, path, values)
    ours, head, answer = as_classifier(model, takes, image_size=side, title=title)
    num_classes = int(ours.output_shape[1])
    expected = as_logits(answers, answer, num_classes, title, head)
    probs = (probabilities(logits, head) for logits in (expected, ours(pixels, training=False).numpy()))
    difference = float(np.abs(np.subtract(*probs)).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{title}: its layers, made again, give other probabilities than the file, by up to {difference:.2g}; "
            "a layer means something else in the Keras that wrote it. Save the model with Keras 2 (tf_keras)"
        )
    _keras.save_model(ours, out_dir / "model")
    given = {"file": path.name, "kind": kind, "runtime": runtime_of(kind), "sha256": sha256_file(path)}
    facts = {
        "given": given,
        "image_size": side,
        **{name: list(getattr(file, name)) for name in ("range", "mean", "std")},
        "head": head,
        "num_classes": num_classes,
        "macs": channels.macs(ours),
        "num_params": int(ours.count_params()),
        "max_prob_difference": difference,
    }
    return Artifact.seal(out_dir, {**facts, "summary": _summary(facts)})


def _with_range(config: Teacher, model: Any, title: str) -> TeacherFile:
    first = next((layer for layer in _in_order(model) if type(layer).__name__ not in _BEFORE_SCALING), None)
    if isinstance(first, tf_keras.layers.Rescaling) and np.max(first.scale) <= _LARGEST_SCALE:
        return dataclasses.replace(config.file, range=(0.0, 255.0))
    raise RecipeError(
        f"{title} does not say in which range it takes pixels, and only who trained it knows: --range 0,1 "
        "(pixels / 255), --range 0,255 (as they are), --range=-1,1; with --mean and --std where they were used"
    )


def _in_order(model: Any) -> list[Any]:
    """The layers, those of a model within the model in its place."""
    found: list[Any] = []
    for layer in model.layers:
        found += _in_order(layer) if isinstance(layer, tf_keras.Model) else [layer]
    return found


def _summary(facts: dict[str, Any]) -> str:
    low, high = facts["range"]
    return (
        f"{facts['given']['file']} ({KINDS[facts['given']['kind']]}): images of {facts['image_size']} pixels in "
        f"{low:g}..{high:g}, {facts['num_classes']} outputs ({facts['head']}), {facts['macs']:,} multiply-accumulates, "
        f"{facts['num_params']:,} parameters"
    )
