"""Every error that edgekd raises on purpose.

::

    EdgekdError                 exit code
    |-- UserError                   2      the user's input is wrong; nothing was written over
    |   |-- RecipeError                    an unknown key, a value out of range, a missing recipe
    |   |-- DataError                      images, labels, archives, downloads
    |   |-- ModelError                     a model file or a model name that cannot be used
    |   `-- OutputError                    a folder that cannot be written, a full disk
    |-- ConversionError             1      the converter did not give what was asked for
    |   `-- NothingToQuantizeError  1      a file that would be the float one over again
    |-- TrainingError               1      a loss that is not a number, a collapse
    |-- BenchmarkError              1      a measuring process died or answered nonsense
    |-- WorkerError                 1      a process that trains along is missing, has ended, or disagrees
    |-- SearchError                 1      no trial of a search can be run, or none gave a model
    `-- MissingRequirementError     3      the environment lacks a package, a tool or a kernel

A message names the thing, says what is allowed and what to do next, in one line.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class EdgekdError(Exception):
    """Base of all; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class UserError(EdgekdError):
    """The input is wrong and the user can mend it."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe that cannot be used as written."""


class DataError(UserError):
    """Images or labels that cannot be read, or a data set that cannot be had."""


class ModelError(UserError):
    """A model file or model name that cannot be used."""


class OutputError(UserError):
    """A place that cannot be written to."""


class ConversionError(EdgekdError):
    """The TensorFlow Lite converter gave something else than what was asked for."""


class NothingToQuantizeError(ConversionError):
    """The model is so small that the variant would be the float file over again."""


class TrainingError(EdgekdError):
    """Training cannot go on."""


class BenchmarkError(EdgekdError):
    """A measurement failed."""


class WorkerError(EdgekdError):
    """Several processes cannot go on together."""


class SearchError(EdgekdError):
    """A search cannot go on, or found nothing."""


class MissingRequirementError(EdgekdError):
    """The environment lacks something."""

    exit_code = 3


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``'; did you mean "x"?'`` for the nearest known name, or the list of known names.

    Meant to be appended to a message that names the unknown thing.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; known: {', '.join(names)}" if names else ""


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first of some names, and how many more there are: ``"a, b and 3 more"``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


# What a full or broken disk says without naming a file.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextmanager
def writing_to(folder: Path, remedy: str) -> Iterator[None]:
    """Turn the operating system's refusal to write below ``folder`` into an error that names it and the remedy.

    Raises:
        OutputError: a full disk, a read-only folder. Other errors of the block go through.
    """
    try:
        yield
    except OSError as error:
        # The error names no file, a file of the folder, or the parent in which the folder could not be made.
        named = folder if error.filename is None else Path(error.filename)
        concerned = named == folder or folder in named.parents or named in folder.parents
        if not concerned or (error.filename is None and error.errno not in _DISK_ERRORS):
            raise
        raise OutputError(f'"{folder}" cannot be written ({error.strerror or error}); {remedy}') from error
