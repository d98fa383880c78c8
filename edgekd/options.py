"""Dataclasses whose fields say what is allowed, and tables of plain values read into them.

A field made by :func:`option` carries its documentation and its bounds; :func:`read_table` checks both the type and the
bounds, and its messages name the dotted key, the value, what is allowed and the nearest known name.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, TypeVar, cast

from edgekd.errors import RecipeError, did_you_mean

T = TypeVar("T")


def option(
    default: Any,
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare a recipe key: its default, its documentation and what is allowed.

    Args:
        default: the value when the recipe does not name the key.
        doc: what it does, with the unit.
        minimum, maximum: closed bounds of a number (of every element of a list, of every value of a table).
        above, below: open bounds.
        choices: the allowed strings.
    """
    rules = {"minimum": minimum, "maximum": maximum, "above": above, "below": below, "choices": choices}
    return field(default=default, metadata={"doc": doc, **rules})


@functools.cache
def field_types(cls: Any) -> dict[str, Any]:
    """Types of a dataclass's fields, by name."""
    return typing.get_type_hints(cls)


def read_table(cls: type[T], table: Any, prefix: str = "") -> T:
    """Make a dataclass of options from a table of plain values, as TOML gives them; nested dataclasses are sub-tables.

    Args:
        cls: a dataclass whose fields are options or dataclasses of options.
        table: keys and values; a key that is not there has its default.
        prefix: what stands before a key in messages (``"distill."``).

    Raises:
        RecipeError: an unknown key, a wrong type, a value that is not allowed.
    """
    if not isinstance(table, Mapping):
        raise RecipeError(f'"{prefix.rstrip(".")}" is a table of keys, not {table!r}')
    known = {item.name: item for item in dataclasses.fields(cast(Any, cls))}
    for key in table:
        if key not in known:
            raise RecipeError(f'unknown key "{prefix}{key}"{did_you_mean(str(key), known)}')
    kinds, values = field_types(cast(Any, cls)), {}
    for name, item in known.items():
        if name in table:
            values[name] = _read_value(f"{prefix}{name}", table[name], kinds[name], item.metadata)
    return cls(**values)


def to_table(options: Any) -> dict[str, Any]:
    """The inverse of :func:`read_table`: nested dictionaries of plain values; what is not set (None) is left out."""
    table: dict[str, Any] = {}
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        if dataclasses.is_dataclass(value):
            table[item.name] = to_table(value)
        elif isinstance(value, tuple):
            table[item.name] = list(value)
        elif isinstance(value, Mapping):
            table[item.name] = {
                name: to_table(part) if dataclasses.is_dataclass(part) else part for name, part in value.items()
            }
        elif value is not None:
            table[item.name] = value
    return table


def _read_value(key: str, value: Any, kind: Any, rules: Mapping[str, Any]) -> Any:
    if dataclasses.is_dataclass(kind):
        return read_table(cast(type[Any], kind), value, f"{key}.")
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
        origin = typing.get_origin(kind)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{key} = {value!r}: a list is wanted")
        element = typing.get_args(kind)[0]
        return tuple(_read_value(key, part, element, rules) for part in value)
    if origin is not None and issubclass(origin, Mapping):
        element = typing.get_args(kind)[1]
        nested = dataclasses.is_dataclass(element)
        if isinstance(value, str) and rules.get("name_alone"):
            value = {value: 1.0}
        if not isinstance(value, Mapping):
            wanted = f"a table of names and {'names' if element is str else 'tables' if nested else 'numbers'}"
            alone = "a name, or " if rules.get("name_alone") else ""
            raise RecipeError(f"{key} = {value!r}: {alone}{wanted} is wanted")
        return {str(name): _read_value(f'{key}."{name}"', part, element, rules) for name, part in value.items()}
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind]
        raise RecipeError(f"{key} = {value!r}: {wanted} is wanted")
    _check_allowed(key, value, rules)
    return value


def _check_allowed(key: str, value: Any, rules: Mapping[str, Any]) -> None:
    choices = rules.get("choices")
    if choices is not None and value not in choices:
        raise RecipeError(f'{key} = "{value}": allowed: {", ".join(choices)}{_near(value, choices)}')
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # A comparison with NaN is False, so NaN breaks whatever bound there is.
    if number and any(not holds(value, bound) for _, bound, holds in _bounds(rules)):
        raise RecipeError(f"{key} = {value!r}: allowed: {allowed(rules)}")


def allowed(rules: Mapping[str, Any]) -> str:
    """The bounds of a number in words, ``"at least 0 and below 1"``; empty without any."""
    return " and ".join(f"{word} {bound:.10g}" for word, bound, _ in _bounds(rules))


def _bounds(rules: Mapping[str, Any]) -> list[tuple[str, float, Callable[[float, float], bool]]]:
    words: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
        ("minimum", "at least", operator.ge),
        ("above", "above", operator.gt),
        ("maximum", "at most", operator.le),
        ("below", "below", operator.lt),
    )
    return [(word, rules[name], holds) for name, word, holds in words if rules.get(name) is not None]


def _near(value: str, choices: tuple[str, ...]) -> str:
    hint = did_you_mean(value, choices)
    return hint if hint.startswith("; did") else ""
