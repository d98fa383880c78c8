"""The networks that a teacher is made of: one, several copies of one, or the members of an ensemble."""

from __future__ import annotations

import dataclasses
import re

from edgekd.config.teacher import Teacher
from edgekd.errors import RecipeError

ENSEMBLE = "ensemble"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def networks(teacher: Teacher, seed: int) -> dict[str, Teacher]:
    """Every network to be trained, by name, with its seed set; a teacher of one network is called ``""``.

    The copies of ``a`` are ``a_1``, ``a_2``, ... and have seeds one after the other.

    Args:
        teacher: the recipe's.
        seed: of the teacher, where it has none of its own; of members that have none.

    Raises:
        RecipeError: members without an ensemble, an ensemble of fewer than two or within another, a name that layers
            cannot have, two networks that would be the same.
    """
    seed = seed if teacher.seed is None else teacher.seed
    if teacher.model != ENSEMBLE:
        if teacher.members:
            raise RecipeError(f'teacher.members: "{teacher.model}" has none; set teacher.model = "{ENSEMBLE}"')
        return {"": _one(teacher, seed)} if _is_one(teacher) else _copies(teacher.model, teacher, seed)
    if teacher.copies > 1:
        raise RecipeError("teacher.copies: an ensemble has none; set copies in the table of a member")
    found: dict[str, Teacher] = {}
    for name, member in teacher.members.items():
        if not _NAME.fullmatch(name):
            raise RecipeError(f'teacher.members."{name}": a letter, and then letters, digits and _, name a member')
        if member.model == ENSEMBLE or member.members:
            raise RecipeError(f"teacher.members.{name}: an ensemble within an ensemble; list all members side by side")
        made = {name: _one(member, seed)} if _is_one(member) else _copies(name, member, seed)
        for each, network in made.items():
            same = next((other for other, config in found.items() if config == network), None)
            if each in found or same:
                what = f"there are two of the name {each}" if each in found else f"{each} is the same as {same}"
                raise RecipeError(f"teacher.members.{name}: {what}; give one another name, or a seed of its own")
            found[each] = network
    if len(found) < 2:
        raise RecipeError(
            f"teacher.members: {len(found)} for an ensemble, at least 2; write tables [teacher.members.NAME]"
        )
    return found


def tables(teacher: Teacher) -> dict[str, Teacher]:
    """The tables that describe networks, by their dotted keys."""
    if teacher.model != ENSEMBLE:
        return {"teacher": teacher}
    return {f"teacher.members.{name}": member for name, member in teacher.members.items()}


def title(teacher: Teacher) -> str:
    """A teacher in a few words."""
    if teacher.model == ENSEMBLE:
        return f"ensemble of {', '.join(_times(member) for member in teacher.members.values())}"
    return _times(teacher)


def _times(teacher: Teacher) -> str:
    return teacher.model if _is_one(teacher) else f"{teacher.copies} x {teacher.model}"


def _copies(name: str, teacher: Teacher, seed: int) -> dict[str, Teacher]:
    first = seed if teacher.seed is None else teacher.seed
    return {
        f"{name}_{index + 1}": _one(dataclasses.replace(teacher, copies=1, seed=first + index), seed)
        for index in range(teacher.copies)
    }


def _one(teacher: Teacher, seed: int) -> Teacher:
    return dataclasses.replace(teacher, seed=seed if teacher.seed is None else teacher.seed)


def _is_one(teacher: Teacher) -> bool:
    """A file is what it is, from whatever seed."""
    return teacher.copies == 1 or teacher.is_file
