"""Where a bundled model comes from: recipe, figures, data, and the weights that training started from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekd.artifact import Artifact
from edgekd.config.distill import Distill
from edgekd.config.teacher import Teacher
from edgekd.models import APPLICATIONS, PUBLISHED, Application


def origin(
    data: Artifact,
    verification: Artifact,
    entry: Mapping[str, Any],
    teacher: Teacher,
    student: Distill,
    recipe_name: str,
    seed: int,
) -> dict[str, Any]:
    """Where the model comes from and what was measured of it.

    Args:
        data: its names, licence and digests.
        verification: figures, gates and claims.
        entry: of the shipped model.
        teacher, student: which networks, and the weights that they started from.
        recipe_name, seed: of the build.

    Returns:
        Of the manifest ``recipe``, ``seed``, ``figures``, ``gates``, ``claims``, ``warnings``, ``data``, ``weights``.
    """
    facts, figures = data.facts, verification.facts["models"][entry["id"]]
    return {
        "recipe": recipe_name,
        "seed": seed,
        "figures": {
            "dataset": facts["name"],
            "split": "test",
            **figures["test"],
            "val": figures["val"],
            "tflite_bytes": entry["tflite_bytes"],
        },
        "gates": verification.facts["gates"],
        "claims": verification.facts["claims"],
        "warnings": [*facts["warnings"], *verification.facts["warnings"]],
        "data": {name: facts[name] for name in ("name", "licence", "source", "attribution", "sha256")},
        "weights": {**_teacher_start(teacher), **_student_start(student)},
    }


def _teacher_start(teacher: Teacher) -> dict[str, Any]:
    """The weights from which the teacher's training started, or its members' did."""
    if teacher.members:
        members = {name: _teacher_start(member) for name, member in teacher.members.items()}
        nothing = {"sha256": None, "licence": None, "attribution": None}
        return {"teacher": teacher.model, "teacher_start": "members", "members": members, **nothing}
    found = _start(teacher.model, teacher.weights, APPLICATIONS.get(teacher.model))
    return {"teacher": teacher.model, "teacher_start": found.pop("start"), **found}


def _student_start(student: Distill) -> dict[str, Any]:
    application = PUBLISHED[student.student].application if student.student in PUBLISHED else None
    found = _start(student.student, student.weights, application)
    return {f"student_{name}": value for name, value in found.items()}


def _start(name: str, weights: str, application: Application | None) -> dict[str, Any]:
    """What kind of weights a network started from, and their licence and attribution."""
    if weights == "none":
        return {"start": "none", "sha256": None, "licence": None, "attribution": None}
    if weights != "imagenet":
        return {"start": "file", "sha256": weights, "licence": "", "attribution": "not stated"}
    images = "trained on ImageNet, whose images are for non-commercial research"
    start = {"start": "imagenet", "sha256": None}
    if application is None:
        return {**start, "licence": "", "attribution": f"not stated by whoever registers {name}; {images}"}
    return {
        **start,
        "licence": f"{application.licence} (Keras Applications); {images}",
        "attribution": f"{application.constructor} weights of Keras Applications, after {application.paper}; "
        "ImageNet, https://www.image-net.org",
    }
