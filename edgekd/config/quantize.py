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
