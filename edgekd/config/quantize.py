"""Conversion to TensorFlow Lite."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.options import option

VARIANTS = ("fp32", "fp16", "dynamic", "int8", "int8_io")


@dataclass(frozen=True)
class Quantize:
    """Post-training conversion to TensorFlow Lite."""

    variants: tuple[str, ...] = option(
        VARIANTS, "files to write; int8 is the one that is shipped and always there", choices=VARIANTS
    )
    fit_temperature: bool = option(True, "fit a temperature to val and bake it into the last layer (Guo et al. 2017)")
