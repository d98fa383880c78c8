"""What models are timed on: real pictures at each model's own input size, or made-up numbers where there are none."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._litert import as_input, open_interpreter
from edgekd.data.source import Pictures, are_pixels
from edgekd.errors import BenchmarkError, ModelError
from edgekd.preprocessing import preprocess
from edgekd.preprocessing_times import timed

NUM_MADE_UP_INPUTS = 16
SECONDS_PER_PROCESS = 600

_PROBE = """
import json, sys
from edgekd._litert import open_interpreter
from edgekd.errors import EdgekdError
try:
    details = open_interpreter(sys.argv[1]).get_input_details()[0]
    print(json.dumps({"shape": details["shape"].tolist(), "dtype": details["dtype"].__name__}))
except EdgekdError as error:
    print(json.dumps({"error": str(error)}))
"""


@dataclass(frozen=True)
class Input:
    """The input of one model.

    Attributes:
        file: an .npy of inputs ``(n, ...)`` in the model's type.
        warning: set where the input is made up.
        preprocessing: times of decoding and resizing, in milliseconds; None where no image file was read.
    """

    file: Path
    warning: str | None
    preprocessing: dict[str, float | None] | None


def write_input(name: str, path: Path, pictures: Pictures | None, file: Path, seed: int) -> Input:
    """Write a model's inputs for its processes. Opening happens in a child first: it may crash.

    Pictures go through the one preprocessing, stretched to the model's size. A model that takes no square of RGB in
    uint8, int8 or float32, or is given no pictures, gets made-up numbers over the range of a pixel.

    Raises:
        ModelError: a file that is no model, or one whose input cannot be made up.
        DataError: a picture that cannot be read.
    """
    details = child(name, [sys.executable, "-c", _PROBE, str(path)], "")
    shape, dtype = tuple(details["shape"][1:]), np.dtype(details["dtype"])
    square = len(shape) == 3 and shape[0] == shape[1] and shape[2] == 3
    if pictures is not None and len(pictures) and square and dtype in (np.uint8, np.int8, np.float32):
        images, times = _preprocessed(pictures, shape[0])
        np.save(file, as_input(open_interpreter(path), images))
        return Input(file, None, times)
    np.save(file, _made_up(name, shape, dtype, seed))
    return Input(file, f"{name} was timed on made-up input of shape {shape}", None)


def _preprocessed(pictures: Pictures, size: int) -> tuple[NDArray[np.uint8], dict[str, float | None] | None]:
    """The pictures as uint8 ``(n, size, size, 3)``; of files, how long one takes when it was read before."""
    if are_pixels(pictures):
        return np.stack([preprocess(picture, size) for picture in pictures]), None
    images = np.stack([preprocess(picture.read(), size) for picture in pictures])
    return images, timed([picture.read for picture in pictures], lambda picture: preprocess(picture, size))


def _made_up(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], seed: int) -> NDArray[Any]:
    pixels = np.random.default_rng(seed).integers(0, 256, (NUM_MADE_UP_INPUTS, *shape))
    if dtype == np.int8:
        return (pixels - 128).astype(dtype)
    if np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.integer):
        return pixels.astype(dtype)
    raise ModelError(f'model "{name}" takes {dtype.name}; only numbers can be made up as input')


def child(name: str, command: Sequence[str], text: str) -> dict[str, Any]:
    """Run a child and read its JSON; a crash is the model's fault and named so.

    Raises:
        ModelError: the child crashed, or says what is wrong with the model.
        BenchmarkError: it ran too long, or failed in another way.
    """
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=SECONDS_PER_PROCESS, check=False
        )
    except subprocess.TimeoutExpired:
        raise too_long(name) from None
    return read_answer(name, done.returncode, done.stdout, done.stderr)


def too_long(name: str) -> BenchmarkError:
    """The error of a model that does not come to an end."""
    return BenchmarkError(f'model "{name}" ran for more than {SECONDS_PER_PROCESS} s; lower the number of runs')


def read_answer(name: str, code: int, output: str, errors: str) -> dict[str, Any]:
    """The answer of an ended process, or the error that it means; see :func:`child`."""
    if code < 0:
        raise ModelError(f'model "{name}" crashed the interpreter ({signal.Signals(-code).name})')
    try:
        answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError):
        reason = (errors.strip().splitlines() or ["no output"])[-1]
        raise BenchmarkError(f'the process that measures "{name}" failed: {reason}') from None
    if "error" in answer:
        raise ModelError(answer["error"])
    return answer
