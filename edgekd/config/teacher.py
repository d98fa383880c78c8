"""The large model whose knowledge is distilled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekd.config.training import Training, Views
from edgekd.options import option


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
