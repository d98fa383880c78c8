"""The only importer of ``ai_edge_litert``: opens a .tflite and runs images through it. Needs numpy and nothing more."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgekd.errors import ModelError, did_you_mean
from edgekd.quiet import quiet_native_stderr
from edgekd.tasks import SOFTMAX, probabilities

Kernel = Literal["xnnpack", "builtin", "reference"]
KERNELS: tuple[str, ...] = get_args(Kernel)

_RESOLVERS = {
    "xnnpack": OpResolverType.BUILTIN,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


@functools.cache
def schema() -> Any:
    """The generated classes of the .tflite flatbuffer schema (``ModelT``, ``TensorT``, ...)."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def open_interpreter(
    model: str | os.PathLike[str] | bytes,
    kernel: str = "xnnpack",
    num_threads: int = 1,
    *,
    preserve_all_tensors: bool = False,
) -> Interpreter:
    """Open a .tflite, ready to be invoked.

    Args:
        model: path or bytes.
        kernel: ``xnnpack`` (what LiteRT takes on a phone), ``builtin`` (its own optimised kernels) or ``reference``.
        num_threads: at least 1.
        preserve_all_tensors: keep what flows between the operators, for :func:`tensors_of`. XNNPACK keeps nothing of
            what it computes itself; take another kernel.

    Raises:
        ModelError: no such file, no TensorFlow Lite model, an operator that the kernels lack, an unknown kernel name.
    """
    if kernel not in _RESOLVERS:
        raise ModelError(f'unknown kernel "{kernel}"{did_you_mean(kernel, KERNELS)}')
    title = "these bytes" if isinstance(model, bytes) else f'"{Path(model).name}"'
    try:
        magic = model[:8] if isinstance(model, bytes) else _first_bytes(Path(model), 8)
    except OSError as error:
        raise ModelError(f"model {title} cannot be read: {error.strerror}") from None
    if magic[4:] != b"TFL3":
        raise ModelError(f"model {title}: not a TensorFlow Lite file; give a .tflite")
    # A path is mapped into memory, as on a phone; bytes would count twice in the peak memory.
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": os.fspath(model)}
    try:
        with quiet_native_stderr():
            interpreter = Interpreter(
                **source,
                num_threads=num_threads,
                experimental_op_resolver_type=_RESOLVERS[kernel],
                experimental_preserve_all_tensors=preserve_all_tensors,
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"model {title} cannot be opened with the {kernel} kernels: {reason}") from None
    return interpreter


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def as_input(interpreter: Interpreter, images: NDArray[np.uint8]) -> NDArray[Any]:
    """Bring uint8 images ``(n, h, w, 3)`` into the model's type: uint8 as is, int8 as x - 128, float32 as 0..255.

    Raises:
        ModelError: more than one input, or one of another size or type.
    """
    inputs = interpreter.get_input_details()
    if len(inputs) != 1:
        raise ModelError(f"the model takes {len(inputs)} inputs; a classifier of images takes one")
    shape, dtype = tuple(int(side) for side in inputs[0]["shape"]), inputs[0]["dtype"]
    if images.dtype != np.uint8 or images.ndim != 4 or (1, *images.shape[1:]) != shape:
        raise ModelError(
            f"the model takes uint8 images of shape {shape[1:]}, one at a time, not {images.dtype} of shape "
            f"{images.shape[1:]}; preprocess the images to that size"
        )
    return in_type(images, dtype)


def in_type(images: NDArray[np.uint8], dtype: Any) -> NDArray[Any]:
    """Pixels in the type of an input: uint8 as is, int8 as x - 128, float32 as 0..255. Raises ModelError for others."""
    if dtype == np.uint8:
        return images
    if dtype == np.int8:
        return (images ^ np.uint8(0x80)).view(np.int8)
    if dtype == np.float32:
        return images.astype(np.float32)
    raise ModelError(f"the model takes {np.dtype(dtype).name}; uint8, int8 and float32 are known")


def run(interpreter: Interpreter, images: NDArray[np.uint8]) -> NDArray[Any]:
    """Run uint8 images ``(n, h, w, 3)`` one at a time; return the raw outputs ``(n, k)`` in the model's output type.

    Raises:
        ModelError: the images do not fit the input, or there is more than one output.
    """
    outputs = interpreter.get_output_details()
    if len(outputs) != 1:
        raise ModelError(f"the model has {len(outputs)} outputs; a classifier has one")
    inputs = as_input(interpreter, images)
    input_index, output_index = interpreter.get_input_details()[0]["index"], outputs[0]["index"]
    width = int(np.prod(outputs[0]["shape"]))
    results = np.empty((len(images), width), outputs[0]["dtype"])
    for index in range(len(images)):
        interpreter.set_tensor(input_index, inputs[index : index + 1])
        interpreter.invoke()
        results[index] = interpreter.get_tensor(output_index).reshape(width)
    return results


def tensors_of(
    interpreter: Interpreter, images: NDArray[np.uint8], indices: Sequence[int]
) -> Iterator[dict[int, NDArray[Any]]]:
    """Run uint8 images ``(n, h, w, 3)`` one at a time; of each, the named tensors as they were computed.

    Args:
        interpreter: opened with ``preserve_all_tensors``.
        images: that fit the input.
        indices: of the tensors in the file.
    """
    inputs = as_input(interpreter, images)
    input_index = interpreter.get_input_details()[0]["index"]
    for index in range(len(images)):
        interpreter.set_tensor(input_index, inputs[index : index + 1])
        interpreter.invoke()
        yield {wanted: interpreter.get_tensor(wanted) for wanted in indices}


def predict_probs(
    model: str | os.PathLike[str] | bytes,
    images: NDArray[np.uint8],
    kernel: str = "xnnpack",
    num_threads: int = 1,
    head: str = SOFTMAX,
) -> NDArray[np.float32]:
    """Probabilities ``(n, k)``, float32, of uint8 images ``(n, h, w, 3)``.

    A float32 output holds probabilities. An int8 output holds logits: they are dequantized,
    ``scale * (q - zero_point)``, and go through the task's head (``softmax`` or ``sigmoid``) in float64.

    Raises:
        ModelError: the model cannot be read or its input or output is of another kind.
    """
    interpreter = open_interpreter(model, kernel, num_threads)
    results = run(interpreter, images)
    if results.dtype == np.float32:
        return results
    if results.dtype != np.int8:
        raise ModelError(f"the model gives {results.dtype}; float32 probabilities and int8 logits are known")
    scale, zero_point = interpreter.get_output_details()[0]["quantization"]
    logits = float(scale) * (results.astype(np.float64) - zero_point)
    return probabilities(logits, head).astype(np.float32)
