"""A stranger's model in a process of its own: ``python -m edgekd.model_process KIND PATH``.

What crashes, hangs or leaks takes this process with it and no other. The parent is :mod:`edgekd.models.foreign`. On
stdout goes one line of JSON that describes the model, and then, for every array that comes in, an array or an error::

    parent   +  inputs                        the end of the stream ends the process
    child    +  outputs, float32              or:  -  message, one line

An array is the number of its bytes (8, little endian) and then those of an ``.npy`` file.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Run = Callable[[NDArray[Any]], Any]


class Opened(NamedTuple):
    """A model that is ready.

    Attributes:
        inputs, outputs: ``(shape, dtype)`` each; a side that may be any is None.
        run: ``inputs (n, ...) -> outputs (n, ...)``, ``n`` being the first side of the input's shape where it is fixed.
    """

    inputs: list[tuple[list[int | None], str]]
    outputs: list[tuple[list[int | None], str]]
    run: Run


def onnx_session(path: str, num_threads: int = 0) -> Any:
    """A session of ONNX Runtime on the CPU that keeps quiet; 0 threads leaves their number to it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = num_threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def open_onnx(path: str, num_threads: int = 0) -> Opened:
    """ONNX, through ONNX Runtime on the CPU; 0 threads leaves their number to it."""
    session = onnx_session(path, num_threads)

    def rows(values: Any) -> list[tuple[list[int | None], str]]:
        names = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
        return [
            ([side if isinstance(side, int) else None for side in value.shape], names.get(value.type, value.type))
            for value in values
        ]

    name = session.get_inputs()[0].name
    return Opened(
        rows(session.get_inputs()), rows(session.get_outputs()), lambda array: session.run(None, {name: array})[0]
    )


def open_tflite(path: str) -> Opened:
    """TensorFlow Lite, through LiteRT; integer outputs become real numbers, ``scale * (q - zero_point)``."""
    from edgekd._litert import open_interpreter

    interpreter = open_interpreter(path)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(array: NDArray[Any]) -> NDArray[np.float32]:
        interpreter.set_tensor(inputs[0]["index"], array)
        interpreter.invoke()
        result: NDArray[Any] = interpreter.get_tensor(outputs[0]["index"])
        scale, zero_point = outputs[0]["quantization"]
        values = result.astype(np.float32)
        return np.asarray(scale * (values - zero_point), np.float32) if scale else values

    def rows(details: Any) -> list[tuple[list[int | None], str]]:
        return [([int(side) for side in row["shape"]], np.dtype(row["dtype"]).name) for row in details]

    return Opened(rows(inputs), rows(outputs), run)


def open_saved_model(path: str) -> Opened:
    """A TensorFlow SavedModel: its signature ``serving_default``."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    function = loaded.signatures["serving_default"]
    inputs = function.structured_input_signature[1]
    outputs = function.structured_outputs
    name, result = next(iter(inputs)), next(iter(outputs))

    def rows(specs: Any) -> list[tuple[list[int | None], str]]:
        return [(spec.shape.as_list(), spec.dtype.name) for spec in specs]

    def run(array: NDArray[Any]) -> Any:
        # Here and not in a closure of the signature alone: it does not keep its model alive.
        return loaded.signatures["serving_default"](**{name: tf.constant(array)})[result].numpy()

    return Opened(rows(inputs.values()), rows(outputs.values()), run)


def open_keras(path: str) -> Opened:
    """A ``.keras`` file of Keras 3, in its safe mode."""
    import keras

    model = keras.models.load_model(path, compile=False, safe_mode=True)
    rows = [[(list(value.shape), value.dtype) for value in values] for values in (model.inputs, model.outputs)]
    return Opened(rows[0], rows[1], lambda array: np.asarray(model(array, training=False)))


OPENERS: dict[str, Callable[[str], Opened]] = {
    "onnx": open_onnx,
    "tflite": open_tflite,
    "saved_model": open_saved_model,
    "keras3": open_keras,
}


def in_batches(opened: Opened, array: NDArray[Any]) -> NDArray[np.float32]:
    """Run any number of inputs; a model of a fixed batch size gets so many at a time, the last ones filled up."""
    size = opened.inputs[0][0][0]
    if size is None:
        return np.asarray(opened.run(array), np.float32)
    parts = []
    for start in range(0, len(array), size):
        part = array[start : start + size]
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        parts.append(np.asarray(opened.run(filled), np.float32)[: len(part)])
    return np.concatenate(parts)


def send(stream: IO[bytes], array: NDArray[Any]) -> None:
    """Write a mark and an array, and see them off."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    stream.write(b"+" + buffer.tell().to_bytes(8, "little"))
    stream.write(buffer.getbuffer())
    stream.flush()


def receive(stream: IO[bytes]) -> NDArray[Any]:
    """Read an array, its mark having been read. Raises ValueError or EOFError where it ends too early."""
    length = int.from_bytes(stream.read(8), "little")
    array: NDArray[Any] = np.load(io.BytesIO(stream.read(length)), allow_pickle=False)
    return array


def serve(opened: Opened, source: IO[bytes], target: IO[bytes]) -> None:
    """Answer until the source ends."""
    while source.read(1) == b"+":
        array = receive(source)
        try:
            result = in_batches(opened, array)
        except Exception as error:  # a stranger's model raises what it likes
            target.write(b"-" + _one_line(error).encode() + b"\n")
            target.flush()
        else:
            send(target, result)


def main() -> None:
    """Open, describe, serve."""
    kind, path = sys.argv[1:]
    # What libraries print goes to stderr, so that stdout holds the answers alone.
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        opened = OPENERS[kind](str(Path(path)))
        description: dict[str, Any] = {"inputs": opened.inputs, "outputs": opened.outputs}
    except Exception as error:  # the parent reports it with the file's name
        description = {"error": _one_line(error)}
    target.write(json.dumps(description).encode() + b"\n")
    target.flush()
    if "error" not in description:
        serve(opened, sys.stdin.buffer, target)


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


if __name__ == "__main__":
    main()
