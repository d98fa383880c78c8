"""Students that Keras has too, and the weights that a student starts from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekd._keras import tf_keras
from edgekd.errors import ModelError
from edgekd.models.applications import APPLICATIONS, Application, copy_published
from edgekd.models.weights import check_weights, load_weights, rescale_input

KEY = "distill.weights"


@dataclass(frozen=True)
class Published:
    """A student that is a network of ``tf_keras.applications``.

    Attributes:
        application: which, with the widths that have ImageNet weights.
        form: arguments that set its form.
    """

    application: Application
    form: Mapping[str, Any] = field(default_factory=dict)

    def make(self, **arguments: Any) -> Any:
        """The network without its top."""
        constructor = getattr(tf_keras.applications, self.application.constructor)
        return constructor(include_top=False, **self.form, **arguments)

    def title(self, width_multiplier: float) -> str:
        """The call that makes it."""
        form = "".join(f", {name}={value}" for name, value in self.form.items())
        return (
            f"tf_keras.applications.{self.application.constructor}(include_top=False, alpha={width_multiplier:g}{form})"
        )


PUBLISHED: Mapping[str, Published] = {
    "mobilenet_v1": Published(APPLICATIONS["mobilenet"]),
    "mobilenet_v2": Published(APPLICATIONS["mobilenet_v2"]),
    "mobilenet_v3_small": Published(
        dataclasses.replace(APPLICATIONS["mobilenet_v3_small"], widths=(1.0,)),
        {"minimalistic": True, "include_preprocessing": False},
    ),
}


def check_start(name: str, width_multiplier: float, weights: str) -> None:
    """Raise where a student cannot start from these weights, as far as that shows without building it.

    Raises:
        ModelError: no such file, or no published weights for this network and width.
    """
    check_weights(weights, KEY)
    if weights == "imagenet" and (name not in PUBLISHED or width_multiplier not in PUBLISHED[name].application.widths):
        there = "; ".join(
            f"{other} {', '.join(f'{width:g}' for width in family.application.widths)}"
            for other, family in PUBLISHED.items()
        )
        raise ModelError(
            f'{KEY} = "imagenet": Keras publishes none for {name} {width_multiplier:g}; there are: {there}. '
            f'Choose another student or width_multiplier, name a file, or set {KEY} = "none"'
        )


def start_from(model: Any, name: str, width_multiplier: float, weights: str) -> None:
    """Fill all of a student but its head.

    A file holds the network of ``tf_keras.applications`` without its top where the student is one of those, and what
    lies below the student's own last layer where it is not.

    Args:
        model: a student as built.
        name, width_multiplier: what it is.
        weights: ``"imagenet"``, or the path of a weights file.

    Raises:
        ModelError: weights that do not fit, or cannot be downloaded.
    """
    # Made of the model's own layers, so that what is loaded into it is in its place.
    backbone = tf_keras.Model(model.input, model.layers[-1].input)
    if name not in PUBLISHED:
        remedy = f"the file must hold the weights of {name} of width {width_multiplier:g} without its last layer"
        load_weights(lambda: backbone.load_weights(weights), key=KEY, weights=weights, remedy=remedy)
        return
    family = PUBLISHED[name]
    make = functools.partial(family.make, alpha=width_multiplier)
    remedy = (
        f"the download failed; fetch the weights of {family.title(width_multiplier)} elsewhere and set {KEY} to the "
        f'path of the file, or set {KEY} = "none"'
        if weights == "imagenet"
        else f"the file must hold the weights of {family.title(width_multiplier)}"
    )
    load_weights(lambda: copy_published(backbone, make, weights), key=KEY, weights=weights, remedy=remedy)
    # Keras's networks learned from x / 127.5 - 1 = (256 u + 1) / 255, where u = (x - 128) / 128 is what students see
    # and INT8 holds exactly. What is left of the difference is the padding, grey 128 and not 127.5: 0.1 to 0.3 % of the
    # embeddings of MobileNet 0.25.
    rescale_input(model, scale=256 / 255, offset=1 / 255)
