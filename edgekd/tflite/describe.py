"""The entry of one model file in an artifact and in the report."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd.errors import ConversionError
from edgekd.tflite import cost
from edgekd.tflite.view import Tensor, open_view

# What the end of an id promises: (dtype, input type, output type).
_PROMISES = {
    "_fp32": ("fp32", "float32", "float32"),
    "_fp16": ("fp16", "float32", "float32"),
    "_dynamic": ("dynamic", "float32", "float32"),
    "_int8": ("int8", "uint8", "float32"),
    "_int8_io": ("int8", "int8", "int8"),
    "_int16x8": ("int16x8", "float32", "float32"),
    "_mixed": ("mixed", "uint8", "float32"),
}


def describe(path: Path, *, id: str, role: str, steps: Sequence[str], shipped: bool) -> dict[str, Any]:
    """Measure a .tflite file; nothing is taken from its name.

    Args:
        path: the file.
        id: ``student_int8`` and the like; what its ending promises is held against the file.
        role: ``teacher`` or ``student``.
        steps: what was done to it, in order (``distilled``, ``pruned``, ``ptq`` ...).
        shipped: whether it goes into the bundle.

    Raises:
        ModelError: not a sound model.
        ConversionError: the file is of another type than its id says.
    """
    view = open_view(path)
    types = (cost.dtype(view), view.inputs[0].dtype, view.outputs[0].dtype)
    promise = next((types for end, types in _PROMISES.items() if id.endswith(end)), types)
    if types != promise:
        raise ConversionError(f"{id}: the file is {' / '.join(types)} (inside / in / out), not {' / '.join(promise)}")
    content = path.read_bytes()
    return {
        "id": id,
        "role": role,
        "shipped": shipped,
        "steps": list(steps),
        "dtype": types[0],
        "input_type": types[1],
        "output_type": types[2],
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "tflite_bytes": len(content),
        "gzip_bytes": gzip_bytes(content),
        "num_params": cost.num_params(view),
        "macs": cost.macs(view),
        "measured_sparsity": cost.measured_sparsity(view),
    }


def describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """``{"name", "shape", "dtype"}``, and ``scale`` and ``zero_point`` of one that is quantized as a whole."""
    quantization = {"scale": tensor.scale[0], "zero_point": tensor.zero_point[0]} if tensor.scale else {}
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype, **quantization}


def gzip_bytes(content: bytes) -> int:
    """Bytes after gzip at its highest level: what a download or an APK has of it."""
    return len(gzip.compress(content, compresslevel=9, mtime=0))
