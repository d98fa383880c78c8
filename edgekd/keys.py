"""What counts in a stage's key beside the recipe: the bytes of files, the code of other packages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgekd import losses
from edgekd.artifact import digest_folder, sha256_file
from edgekd.cache import plugin_digest
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.models import KEYWORDS, STUDENTS

Started = TypeVar("Started", Teacher, Distill)


def by_content(config: Started) -> Started:
    """The same with the SHA-256 of its file of weights in the place of the path."""
    if config.weights in KEYWORDS:
        return config
    return dataclasses.replace(config, weights=sha256_file(Path(config.weights)))


def teacher_by_content(teacher: Teacher) -> Teacher:
    """The same of a teacher and its members; their seeds are left out, as a stage's own seed stands in its key.

    A teacher that is a file itself counts by its bytes: its digest stands in the place of the weights.
    """
    if teacher.is_file:
        path = Path(teacher.model)
        digest = digest_folder(path) if path.is_dir() else sha256_file(path)
        return dataclasses.replace(teacher, model=path.name, weights=digest, seed=None)
    members = {name: teacher_by_content(member) for name, member in teacher.members.items()}
    return dataclasses.replace(by_content(teacher), seed=None, members=members)


def plugins(config: Distill) -> dict[str, str]:
    """Digests of the code of other packages that a student is made and trained by."""
    used: dict[str, Callable[..., Any]] = {
        config.student: STUDENTS[config.student],
        **{name: losses.LOSSES[name] for name in config.loss},
    }
    digests = {name: plugin_digest(function) for name, function in used.items()}
    return {name: digest for name, digest in digests.items() if digest}
