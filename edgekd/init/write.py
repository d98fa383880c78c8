"""A recipe as TOML in which every key is explained."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from edgekd.init.choose import Choice
from edgekd.options import field_types
from edgekd.recipe import Recipe

WIDTH = 110


def write(choices: Sequence[Choice], head: Sequence[str]) -> str:
    """TOML text, a table after the other, a comment above each key: what it does, and why it has this value.

    Args:
        choices: in the order in which they are read.
        head: lines of the comment at the top.
    """
    lines = [*_comment(head)]
    tables: dict[str, list[Choice]] = {}
    for choice in choices:
        tables.setdefault(choice.key.rpartition(".")[0], []).append(choice)
    for table in _in_order(tables):
        lines += ["", f"[{table}]"]
        for choice in tables[table]:
            text = " ".join(part for part in (_sentence(documentation(choice.key)), choice.reason) if part)
            lines += _comment([text])
            name = choice.key.rpartition(".")[2]
            lines.append(f"{'' if choice.active else '# '}{_key(name)} = {_value(choice.value)}")
    return "\n".join(lines) + "\n"


def documentation(dotted: str) -> str:
    """What a key's field says of it. Raises KeyError where there is no such key."""
    kind: Any = Recipe
    field: dataclasses.Field[Any] | None = None
    for name in dotted.split("."):
        if not hasattr(kind, "__dataclass_fields__"):  # a name within a table of numbers, such as a class
            break
        field = {item.name: item for item in dataclasses.fields(kind)}[name]
        kind = field_types(kind)[name]
    assert field is not None
    return str(field.metadata.get("doc", ""))


def _in_order(tables: Mapping[str, Any]) -> list[str]:
    """Tables by where they first stand, each followed by those within it, as TOML reads best."""
    first = {name: place for place, name in enumerate(tables)}
    return sorted(tables, key=lambda name: (first.get(name.split(".")[0], first[name]), name.count("."), first[name]))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".") if text else ""


def _comment(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from (f"# {part}" for part in textwrap.wrap(line, WIDTH - 2)) if line else ["#"]


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _quoted(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int):
        return f"{value:_}" if value >= 10_000 else str(value)
    return repr(float(value))


def _quoted(text: str) -> str:
    import tomli_w

    return tomli_w.dumps({"x": text}).partition(" = ")[2].strip()
