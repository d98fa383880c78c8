"""Small .tflite files and mutated ones, made without tensorflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import flatbuffers
import numpy as np

from edgekd._litert import schema


def dense_file(kernel: Any, *, batch: int = 1) -> bytes:
    """A file of one dense layer in float32, without bias: ``(batch, inputs)`` times ``kernel.T``.

    Args:
        kernel: shape ``(outputs, inputs)``.
        batch: first side of input and output.
    """
    generated = schema()
    kernel = np.asarray(kernel, np.float32)
    outputs, inputs = kernel.shape

    def tensor(name: str, shape: Sequence[int], buffer: int) -> Any:
        made = generated.TensorT()
        made.name, made.shape, made.buffer, made.type = name, list(shape), buffer, generated.TensorType.FLOAT32
        return made

    code = generated.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = generated.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    step = generated.OperatorT()
    step.inputs, step.outputs, step.opcodeIndex = [0, 1, -1], [2], 0
    step.builtinOptionsType = generated.BuiltinOptions.FullyConnectedOptions
    step.builtinOptions = generated.FullyConnectedOptionsT()
    graph = generated.SubGraphT()
    graph.tensors = [
        tensor("in", (batch, inputs), 1),
        tensor("kernel", kernel.shape, 2),
        tensor("out", (batch, outputs), 3),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [step]
    buffers = [generated.BufferT() for _ in range(4)]
    buffers[2].data = np.frombuffer(kernel.tobytes(), np.uint8)
    model = generated.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damaged copies: a quarter cut off, the others with 1 to 32 bytes changed, half of them in 4 KiB at either end.

    The structure of a .tflite lies at its ends, the weights between. Every copy differs from ``content``.
    """
    generator = np.random.default_rng(seed)
    whole = np.frombuffer(content, np.uint8)
    for attempt in range(count):
        if attempt % 4 == 0:
            yield content[: int(generator.integers(0, len(content)))]
            continue
        damaged = whole.copy()
        places = generator.integers(0, len(whole), 2 ** (attempt % 6))
        if attempt % 2:
            places = np.where(places % 2, places % 4096, len(whole) - 1 - places % 4096) % len(whole)
        damaged[places] ^= generator.integers(1, 256, len(places)).astype(np.uint8)
        if damaged.tobytes() == content:  # two changes of one place that undo each other
            damaged[places[0]] ^= 1
        yield damaged.tobytes()
