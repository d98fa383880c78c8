"""``edgekd inspect``: what is in a stranger's .tflite, whether it answers, and who will not like it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekd import apart
from edgekd.artifact import canonical_json
from edgekd.errors import ModelError
from edgekd.inspect.anatomy import anatomy
from edgekd.inspect.forecast import forecasts
from edgekd.tflite.metadata_reader import read_metadata
from edgekd.tflite.view import open_view

SECONDS = 60.0
MAX_BYTES = 1 << 31
"""A flatbuffer's offsets reach no further."""


def inspect(path: Path, *, seconds: float = SECONDS) -> dict[str, Any]:
    """Describe a model, and run it on made-up pictures in a process of its own.

    Args:
        path: the file.
        seconds: longest time of that run.

    Returns:
        What :func:`describe` gives, and ``run``: ``{"ran", "constant", "finite", "reason"}``.

    Raises:
        ModelError: no such file, no model, or a damaged one. A model that the interpreter refuses, or that crashes it,
            is described all the same; ``run.reason`` says why it did not run.
    """
    return {**describe(path), "run": run(path, seconds)}


def describe(path: Path) -> dict[str, Any]:
    """What the file says; nothing of it is run. Reading is bounds-checked, in Python.

    Returns:
        ``file``, ``bytes``, ``sha256``, what :func:`edgekd.inspect.anatomy.anatomy` finds, ``metadata`` (or None) with
        ``num_labels``, and ``forecasts``.

    Raises:
        ModelError: no such file, no model, or a damaged one.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f'model "{path.name}" has {size:,} bytes; a .tflite has at most {MAX_BYTES:,}')
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f'model "{path}" cannot be read: {error.strerror}') from None
    try:
        view = open_view(content)
    except ModelError as error:
        raise ModelError(str(error).replace("model these bytes", f'model "{path.name}"')) from None
    try:
        metadata = read_metadata(view)
        labels = len(metadata.labels) if metadata else 0
        found = {
            "file": path.name,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            **anatomy(view),
            "metadata": {**asdict(metadata), "num_labels": labels} if metadata else None,
            "forecasts": forecasts(view, metadata),
        }
        canonical_json(found)  # raises where a scale or a mean is no number
        return found
    except ModelError as error:
        raise ModelError(f'model "{path.name}": {error}') from None
    except Exception as error:  # shapes and links that no sound model has lead into errors of every kind
        raise ModelError(
            f'model "{path.name}" is damaged ({type(error).__name__}: {error}); fetch or build it again'
        ) from error


def run(path: Path, seconds: float = SECONDS) -> dict[str, Any]:
    """Whether LiteRT runs the model, and whether its output depends on its input."""
    try:
        answer = apart.ask("probe", {"model": str(path)}, f'model "{path.name}"', seconds)
    except ModelError as error:
        return {"ran": False, "constant": None, "finite": None, "reason": str(error)}
    return {"ran": True, "constant": answer["constant"], "finite": answer["finite"], "reason": ""}
