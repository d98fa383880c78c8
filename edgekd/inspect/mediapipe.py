"""What MediaPipe's ImageClassifier asks of a model, by its documentation and by what version 1.2 was seen to refuse."""

from __future__ import annotations

from collections.abc import Iterator

from edgekd.tflite.metadata_reader import Metadata
from edgekd.tflite.view import View

_TYPES = ("uint8", "float32")
_METADATA = "write it with edgekd.tflite.add_metadata"
Pair = tuple[str, str]


def objections(view: View, metadata: Metadata | None) -> Iterator[Pair]:
    """What it refuses or will get wrong, each with the remedy."""
    yield from _input(view, metadata)
    yield from _output(view, metadata)


def _input(view: View, metadata: Metadata | None) -> Iterator[Pair]:
    if len(view.inputs) != 1:
        yield f"{len(view.inputs)} inputs; one image is wanted", "give the model one input"
        return
    (image,) = view.inputs
    if image.dtype not in _TYPES:
        yield (
            f"{image.dtype} input is refused; uint8 and float32 are taken",
            "convert with uint8 input (quantize.variants: int8)",
        )
    if len(image.shape) != 4 or image.shape[3] != 3 or image.shape[0] not in (-1, 1) or min(image.shape[1:]) < 1:
        yield f"input of shape {image.shape}; (1, height, width, 3), RGB, is wanted", "convert with that shape"
    if image.dtype != "float32":
        return
    if metadata is None or not metadata.mean:
        yield (
            "float32 input without NormalizationOptions is refused",
            "write its mean and deviation into the metadata (edgekd.tflite.add_metadata, where it takes pixels as they "
            "are), or convert with uint8 input",
        )
    elif len(metadata.mean) != 1 or len(metadata.std) != 1:
        yield (
            f"NormalizationOptions with {len(metadata.mean)} means; one for all channels is taken",
            "put the normalization into the graph",
        )


def _output(view: View, metadata: Metadata | None) -> Iterator[Pair]:
    if not view.outputs:
        yield "no output", "give the model one output"
        return
    probs = view.outputs[0]
    if probs.dtype not in _TYPES:
        yield f"{probs.dtype} output is refused; uint8 and float32 are taken", "convert with float32 output"
    if len(probs.shape) not in (2, 4) or any(side not in (-1, 1) for side in probs.shape[:-1]):
        yield f"output of shape {probs.shape}; (1, classes) or (1, 1, 1, classes) is wanted", "reshape it"
        return
    if metadata is None or not metadata.labels:
        yield "no labels in the file: answers are numbers instead of names", _METADATA
    elif len(metadata.labels) != probs.shape[-1]:
        yield f"{len(metadata.labels)} labels for {probs.shape[-1]} outputs", f"{_METADATA}, one label an output"
    if not _ends_in_probabilities(view):
        yield (
            "no softmax or sigmoid at the end, and MediaPipe adds none: scores are no probabilities",
            "convert with the softmax inside",
        )


def _ends_in_probabilities(view: View) -> bool:
    step = view.producers.get(view.output_indices[0])
    while step is not None and step.name in ("QUANTIZE", "DEQUANTIZE", "RESHAPE"):
        step = view.producers.get(step.inputs[0])
    return step is not None and step.name in ("SOFTMAX", "LOGISTIC")
