"""Keras to TensorFlow Lite: freeze once, convert per variant, and check that each file is what its name says."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekd.config.quantize import VARIANTS
from edgekd.errors import ConversionError, NothingToQuantizeError
from edgekd.quiet import quiet_native_stderr
from edgekd.tasks import SOFTMAX
from edgekd.tflite import calibration, cost, edit
from edgekd.tflite.view import View, open_view

if TYPE_CHECKING:
    from edgekd.fake_quant import Ranges

INTEGER_VARIANTS = ("int8", "int8_io")
CALIBRATED_VARIANTS = (*INTEGER_VARIANTS, "int16x8")
_INPUT_TYPES = {"int8": "uint8", "int8_io": "int8", "mixed": "uint8"}
_INPUT_QUANTIZATION = {"uint8": ((1.0,), (0,)), "int8": ((1.0,), (-128,))}
_LARGEST_REQUANTIZATION = 256


@dataclass(frozen=True)
class Frozen:
    """A model as one graph of constants.

    Attributes:
        function: the concrete function.
        input_shape: ``(1, h, w, c)``.
        has_ranges: whether the ranges of INT8 are in the graph, so that nothing is calibrated.
    """

    function: Any
    input_shape: tuple[int, ...]
    has_ranges: bool = False


def freeze(model: Any, ranges: Ranges | None = None) -> Frozen:
    """Trace a Keras model once, for inference on one image, and turn its variables into constants.

    ``TFLiteConverter.from_keras_model`` spends nine tenths of its time on saving every layer as a traced function of
    its own; a frozen graph converts in the time of one, with the same result.

    Args:
        model: ``(n, h, w, c)`` float32 pixels 0..255 to logits ``(n, k)``.
        ranges: of its layers' outputs in INT8, where they come of a training and not of a calibration; such a graph is
            for the integer variants.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from edgekd import fake_quant
    from edgekd._keras import tf

    shape = (1, *model.input_shape[1:])
    called = model if ranges is None else fake_quant.with_ranges(model, ranges)
    traced = tf.function(lambda pixels: called(pixels, training=False))
    function = traced.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="pixels"))
    return Frozen(convert_variables_to_constants_v2(function), shape, ranges is not None)


def convert(
    frozen: Frozen,
    variant: str,
    representative_images: NDArray[np.uint8] | None = None,
    head: str = SOFTMAX,
    *,
    ranges: str = "min_max",
    percentile: float = 99.99,
) -> bytes:
    """Make one .tflite.

    ===========  =================  ====================  ==========================================
    variant      in                 out                   inside
    ===========  =================  ====================  ==========================================
    ``fp32``     float32 0..255     float32 probabilities float32
    ``fp16``     float32 0..255     float32 probabilities float16 constants
    ``dynamic``  float32 0..255     float32 probabilities int8 weights of 1024 elements and more
    ``int8``     uint8              float32 probabilities int8, then DEQUANTIZE and the head in float32
    ``int8_io``  int8 (x - 128)     int8 logits           int8
    ``int16x8``  float32 0..255     float32 probabilities int8 weights, int16 between the layers; slow on every CPU that
                                                          lacks kernels for it, x86 among them
    ===========  =================  ====================  ==========================================

    Args:
        frozen: of :func:`freeze`.
        variant: a name in ``config.quantize.VARIANTS``.
        representative_images: uint8 ``(n, h, w, c)``, for the integer variants of a graph without ranges. An all-0 and
            an all-255 image are added, so that the input's scale is exactly 1.
        head: ``softmax`` or ``sigmoid``: what makes probabilities of the logits.
        ranges: how INT8 activations get their ranges: ``min_max``, ``percentile`` or ``mse``. The input keeps its own,
            and 16 bits have room for everything.
        percentile: of that method.

    Raises:
        ConversionError: the converter failed, or gave something else than what was asked for.
    """
    if variant not in VARIANTS:
        raise ConversionError(f'unknown variant "{variant}"; known: {", ".join(VARIANTS)}')
    if frozen.has_ranges and variant not in INTEGER_VARIANTS:
        raise ConversionError(f"{variant} is made of a graph without ranges; freeze the model alone")
    content = _run_converter(frozen, variant, representative_images, (ranges, percentile))
    content = edit.name_output(content, "logits") if variant == "int8_io" else edit.append_head(content, head, "probs")
    check(open_view(content), variant)
    return content


def _run_converter(
    frozen: Frozen, variant: str, images: NDArray[np.uint8] | None, method: tuple[str, float] = ("min_max", 0.0)
) -> bytes:
    from edgekd._keras import tf

    with _quiet_converter():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen.function])
    if variant != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    clipped = variant in INTEGER_VARIANTS and method[0] != "min_max" and not frozen.has_ranges
    if variant in CALIBRATED_VARIANTS and not frozen.has_ranges:
        seen = _calibration_images(frozen, images)
        converter.representative_dataset = lambda: ([np.float32(image[np.newaxis])] for image in seen)
    if variant in INTEGER_VARIANTS:
        if not frozen.has_ranges:  # else the converter refuses to be held to INT8; what it made is checked all the same
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8 if variant == "int8" else tf.int8
        converter.inference_output_type = tf.int8
        converter._experimental_calibrate_only = clipped
    if variant == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
    try:
        with _quiet_converter():
            content: bytes = converter.convert()
            if clipped:
                content = _quantize_clipped(content, seen, method, converter.inference_input_type)
    except ConversionError:
        raise
    except Exception as error:  # the converter raises RuntimeError, ValueError and classes of its own
        lacking = re.search(r"(?:TF Select|Custom) ops: (.+)", str(error))
        reason = (
            f"TensorFlow Lite lacks {lacking[1]}" if lacking else (str(error) or type(error).__name__).splitlines()[0]
        )
        raise ConversionError(f"the converter cannot make {variant}: {reason[:300]}") from error
    return content


def _quantize_clipped(
    calibrated: bytes, images: NDArray[np.uint8], method: tuple[str, float], input_type: Any
) -> bytes:
    """The converter's second step, on ranges of ours."""
    from tensorflow.lite.python.convert import mlir_quantize

    from edgekd._keras import tf

    ranges = calibration.clipped_ranges(calibrated, images, *method)
    content = bytes(
        mlir_quantize(calibration.with_ranges(calibrated, ranges), input_data_type=input_type, output_data_type=tf.int8)
    )
    calibration.check_ranges(open_view(content), ranges)
    return content


def _calibration_images(frozen: Frozen, images: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    if images is None or images.dtype != np.uint8 or images.shape[1:] != frozen.input_shape[1:] or not len(images):
        wanted = ", ".join(map(str, frozen.input_shape[1:]))
        got = "nothing" if images is None else f"{images.dtype} of shape {images.shape}"
        raise ConversionError(f"INT8 is calibrated with uint8 images of shape (n, {wanted}), not {got}")
    extremes = np.stack([np.full(frozen.input_shape[1:], value, np.uint8) for value in (0, 255)])
    return np.concatenate([extremes, images])


@contextmanager
def _quiet_converter() -> Iterator[None]:
    """The converter calls the path that we take deprecated, and prints its settings past Python's stderr."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), quiet_native_stderr():
            warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def check(view: View, variant: str) -> None:
    """Hold a file against its name, tensor by tensor.

    Raises:
        NothingToQuantizeError: a dynamic file with its weights in float.
        ConversionError: floating point inside an integer model (names the operators), weights of another type, an input
            that is not quantized the way the preprocessing feeds it, or another type going in or out.
    """
    if variant in INTEGER_VARIANTS:
        islands = dict.fromkeys(cost.float_islands(view))
        if islands:
            # The bridges to and from an island tell nothing about why it is there.
            names = [name for name in islands if name not in ("QUANTIZE", "DEQUANTIZE")] or list(islands)
            raise ConversionError(
                f"{variant} has floating point inside, at {', '.join(names)}; replace these layers by ones that "
                "TensorFlow Lite can run in INT8"
            )
        others = {tensor.dtype for tensor in view.tensors} - {"int8", "int32", "uint8", "bool", "float32"}
        if others:
            raise ConversionError(f"{variant} has tensors of type {', '.join(sorted(others))} inside")
    kind = cost.dtype(view)
    expected = "int8" if variant in INTEGER_VARIANTS else variant
    if (variant, kind) == ("dynamic", "fp32"):
        raise NothingToQuantizeError(
            "dynamic: no layer has the 1,024 weights from which on the converter stores them in 8 bits; the file would "
            "be that of fp32"
        )
    if kind != expected:
        raise ConversionError(
            f"{variant} was asked for and the converter gave {kind}; leave {variant} out of quantize.variants"
        )
    input_type = _INPUT_TYPES.get(variant, "float32")
    output_type = "int8" if variant == "int8_io" else "float32"
    got = (view.inputs[0].dtype, view.outputs[0].dtype)
    if got != (input_type, output_type):
        raise ConversionError(
            f"{variant} takes {input_type} and gives {output_type}; the file has {got[0]} and {got[1]}"
        )
    quantization = (view.inputs[0].scale, view.inputs[0].zero_point)
    if input_type in _INPUT_QUANTIZATION and quantization != _INPUT_QUANTIZATION[input_type]:
        raise ConversionError(
            f"{variant}: the input is quantized with scale and zero point {quantization}, not "
            f"{_INPUT_QUANTIZATION[input_type]}; pixels 0..255 would be fed wrongly"
        )
    if variant in INTEGER_VARIANTS:
        _check_requantization(view)


def _check_requantization(view: View) -> None:
    """Refuse an INT8 layer that multiplies by 256 or more: XNNPACK (LiteRT 2.3) corrupts its memory there and dies."""
    for operator, kernel in cost.weights(view):
        source, target = view.tensors[operator.inputs[0]], view.tensors[operator.outputs[0]]
        factor = source.scale[0] * max(kernel.scale) / target.scale[0]
        if factor >= _LARGEST_REQUANTIZATION:
            raise ConversionError(
                f'{operator.name} "{target.name}" hardly varies over the calibration images (requantization factor '
                f"{factor:.0f}, below {_LARGEST_REQUANTIZATION} is wanted); train the model first"
            )
