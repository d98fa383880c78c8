"""Conversion to TensorFlow Lite."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from edgekd.config.training import Training
from edgekd.errors import RecipeError
from edgekd.options import option

VARIANTS = ("fp32", "fp16", "dynamic", "int8", "int8_io", "int16x8")


@dataclass(frozen=True)
class Quantize:
    """Conversion to TensorFlow Lite."""

    method: str = option(
        "ptq",
        "how INT8 gets its ranges; ptq: from the calibration images, after training; qat: from them too, and then the "
        "student trains on with INT8's rounding in every step, for when ptq falls short",
        choices=("ptq", "qat"),
    )
    variants: tuple[str, ...] = option(
        VARIANTS[:-1],
        "files to write; int8 is always there, and shipped unless layers stay in float; int16x8 (16 bits between the "
        "layers) is some fifty times slower than int8 on x86",
        choices=VARIANTS,
    )
    encoding: str = option(
        "smallest",
        "of the shipped file after pruning of weights; dense: every weight is stored; smallest: the weights of "
        "convolutions are stored by their non-zeros where the file gets smaller and runs with equal results",
        choices=("dense", "smallest"),
    )
    encoding_measure: str = option(
        "gzip",
        "what smallest looks at; gzip: bytes after compression, as in a download or an APK; raw: bytes of the file",
        choices=("gzip", "raw"),
    )
    fit_temperature: bool = option(True, "fit a temperature to val and bake it into the last layer (Guo et al. 2017)")
    reestimate_batchnorm: bool = option(
        False,
        "before conversion, take mean and variance of each batch normalization anew from training images as they are; "
        "kept where val is not worse",
    )
    calibration: str = option(
        "min_max",
        "ranges of INT8 activations over the calibration images: min_max (all that was seen), percentile, mse (the "
        "clip with the smallest squared error); the input always spans 0 to 255",
        choices=("min_max", "percentile", "mse"),
    )
    calibration_percentile: float = option(
        99.99,
        "percentile: per cent of an activation's values that each end lets through; 99.99 cuts off one in 10,000",
        above=50,
        maximum=100,
    )
    mixed: str = option(
        "none",
        "none; auto: where INT8 loses more on val than gates.max_accuracy_drop_pp allows (0.5 points where no gate is "
        "set), keep the fewest layers in float that bring it under",
        choices=("none", "auto"),
    )
    float_layers: tuple[str, ...] = option(
        (), "names of layers that stay in float in the shipped file, as edgekd layer-errors names them"
    )
    training: Training = field(
        default_factory=lambda: Training(learning_rate=0.001, warmup_epochs=0.0),
        metadata={"doc": "of qat"},
    )


def check_quantize(quantize: Quantize) -> None:
    """Raise where what is meant for a calibration after training is asked of a training within ranges."""
    if quantize.method != "qat":
        return
    whole = "trains every layer as INT8"
    for name, meant, reason in (
        ("calibration", "min_max", "starts at min_max and learns its ranges"),
        ("mixed", "none", whole),
        ("float_layers", (), whole),
        ("reestimate_batchnorm", False, "fits its ranges to the statistics that it trained with"),
    ):
        value = getattr(quantize, name)
        if value != meant:
            told = json.dumps(value)
            raise RecipeError(
                f'quantize.{name} = {told}: quantize.method = "qat" {reason}; leave it out, or set '
                'quantize.method = "ptq"'
            )
