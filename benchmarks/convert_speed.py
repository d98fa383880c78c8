"""How long conversion takes: Keras's own path against edgekd's, for the fp32 and the int8 file of one student.

Timed, on a freshly built MobileNetV2 each time: (Keras) ``TFLiteConverter.from_keras_model`` once a variant, as its
guide has it; (edgekd) ``freeze`` once and ``convert`` once a variant, softmax and checks included. Same calibration
images.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import _host
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd import _keras, _litert, tflite
from edgekd.models.students import build_student
from edgekd.quiet import quiet_native_stderr

VARIANTS = ("fp32", "int8")
NUM_CLASSES = 2


def smooth_images(count: int, side: int) -> NDArray[np.uint8]:
    """Coloured clouds: white noise would be averaged away, and every image would give the same logits."""
    noise = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BILINEAR)) for small in noise]
    )


def student(images: NDArray[np.uint8], width_multiplier: float) -> Any:
    """An untrained student whose batch statistics are those of the images, so that its logits vary."""
    _keras.reset(0)
    model = build_student(
        "mobilenet_v2", image_size=images.shape[1], num_classes=NUM_CLASSES, width_multiplier=width_multiplier
    )
    for _ in range(40):
        model(np.float32(images), training=True)
    return model


def keras_path(model: Any, images: NDArray[np.uint8]) -> dict[str, bytes]:
    """The way of the TensorFlow Lite guide; the int8 file takes uint8 and gives int8 logits, the fp32 file logits."""
    tf = _keras.tf
    files = {}
    for variant in VARIANTS:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if variant == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([np.float32(image[np.newaxis])] for image in images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
        with quiet_native_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            files[variant] = converter.convert()
    return files


def edgekd_path(model: Any, images: NDArray[np.uint8]) -> dict[str, bytes]:
    """Freeze once, convert per variant."""
    frozen = tflite.freeze(model)
    return {variant: tflite.convert(frozen, variant, images) for variant in VARIANTS}


def probs_of_logits_file(content: bytes, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Softmax, in float64, of what a file without one gives."""
    interpreter = _litert.open_interpreter(content)
    logits = _litert.run(interpreter, images).astype(np.float64)
    scale, zero_point = interpreter.get_output_details()[0]["quantization"]
    if scale:
        logits = scale * (logits - zero_point)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probs


def main() -> None:
    parser = _host.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; the median is reported")
    parser.add_argument("--image-size", type=int, default=32, help="pixels")
    parser.add_argument("--width-multiplier", type=float, default=0.35, help="of MobileNetV2")
    parser.add_argument("--num-calibration-samples", type=int, default=64, help="images")
    options = parser.parse_args()
    images = smooth_images(options.num_calibration_samples, options.image_size)
    # Both get the same images; convert() adds the two extremes itself.
    shape = (1, *images.shape[1:])
    calibration = np.concatenate([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), images])

    paths: dict[str, Callable[[Any, NDArray[np.uint8]], dict[str, bytes]]] = {
        "keras": keras_path,
        "edgekd": edgekd_path,
    }
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    files: dict[str, dict[str, bytes]] = {}
    for _ in range(options.rounds):
        for name, path in paths.items():
            model = student(images, options.width_multiplier)
            start = time.perf_counter()
            files[name] = path(model, calibration if name == "keras" else images)
            seconds[name].append(time.perf_counter() - start)

    difference = {
        variant: float(
            np.abs(
                probs_of_logits_file(files["keras"][variant], images)
                - _litert.predict_probs(files["edgekd"][variant], images)
            ).max()
        )
        for variant in VARIANTS
    }
    keras_s, edgekd_s = (statistics.median(seconds[name]) for name in ("keras", "edgekd"))
    _host.report(
        {
            "benchmark": "convert_speed",
            "model": f"mobilenet_v2 {options.width_multiplier} at {options.image_size}",
            "variants": list(VARIANTS),
            "num_calibration_samples": options.num_calibration_samples,
            "rounds": options.rounds,
            "keras_path_s": round(keras_s, 2),
            "edgekd_path_s": round(edgekd_s, 2),
            "ratio": round(keras_s / edgekd_s, 1),
            "outputs_equal": all(value <= 1e-6 for value in difference.values()),
            "largest_probability_difference": difference,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
