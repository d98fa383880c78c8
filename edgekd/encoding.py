"""Which encoding of a file is shipped: the smallest in one measure, of those that run and give the same answers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd import tflite
from edgekd.errors import ModelError
from edgekd.models.foreign import open_foreign

_SIZES = {"gzip": "gzip_bytes", "raw": "tflite_bytes"}


class Choice(NamedTuple):
    """What is shipped, and why.

    Attributes:
        content: the file.
        facts: ``{"measure", "shipped", "reason", "dense", "sparse"}``; the last two are the sizes of the files,
            ``{"tflite_bytes", "gzip_bytes"}``, sparse None where no layer has an encoding that is smaller.
    """

    content: bytes
    facts: dict[str, Any]


def choose(dense: bytes, sparse: bytes | None, images: NDArray[np.uint8], measure: str) -> Choice:
    """Take the sparse file if it is smaller, runs on LiteRT's default interpreter, and answers as the dense one.

    Each file runs in a process of its own, which it may crash. Equal means every bit of every answer.

    Args:
        dense: a whole .tflite.
        sparse: the same network, sparse-encoded; None where nothing got smaller by that.
        images: uint8 ``(n, h, w, c)``, on which the answers are compared.
        measure: ``gzip`` or ``raw``.
    """
    sizes = [None if content is None else _sizes(content) for content in (dense, sparse)]
    facts: dict[str, Any] = {"measure": measure, "shipped": "dense", "dense": sizes[0], "sparse": sizes[1]}
    if sparse is None:
        return Choice(dense, {**facts, "reason": "no convolution takes fewer bytes by its non-zeros"})
    before, after = (size[_SIZES[measure]] for size in sizes if size is not None)
    compared = f"{after:,} {measure} bytes sparse-encoded against {before:,} dense"
    if after >= before:
        return Choice(dense, {**facts, "reason": f"not smaller: {compared}"})
    fault = _fault(dense, sparse, images)
    if fault:
        return Choice(dense, {**facts, "reason": f"{fault} ({compared})"})
    return Choice(
        sparse, {**facts, "shipped": "sparse", "reason": f"{compared}; equal answers to {len(images)} images"}
    )


def _sizes(content: bytes) -> dict[str, int]:
    return {"tflite_bytes": len(content), "gzip_bytes": tflite.gzip_bytes(content)}


def _fault(dense: bytes, sparse: bytes, images: NDArray[np.uint8]) -> str | None:
    """What keeps the sparse file from being shipped."""
    with tempfile.TemporaryDirectory() as folder:
        expected = _answers(dense, images, Path(folder) / "dense.tflite")
        try:
            found = _answers(sparse, images, Path(folder) / "sparse.tflite")
        except ModelError as error:
            return str(error)
    different = int(np.sum(np.any(found != expected, axis=1)))
    return f"other answers to {different} of {len(images)} images" if different else None


def _answers(content: bytes, images: NDArray[np.uint8], path: Path) -> NDArray[np.float32]:
    path.write_bytes(content)
    with open_foreign("tflite", path, f"the {path.stem}-encoded file") as model:
        return model.run(images)
