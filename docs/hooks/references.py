"""References made of the code itself while the site is built: recipe, commands, Python, versions.

A page says where one goes by a line of its own, ``<!-- reference: recipe -->``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

import edgekd
from edgekd import cli, recipe, run_report
from edgekd.options import allowed, field_types

ROOT = Path(__file__).resolve().parents[2]

_MEMBERS = (types.FunctionType, classmethod, property, functools.cached_property)
_PLACE = re.compile(r"^<!-- reference: (\w+) -->$", re.M)
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_SECTION = re.compile(r"^(Args|Returns|Raises|Attributes):(?: .*)?$")
_ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \w+)*): ")


# Recipe


def recipe_reference() -> str:
    """Every table of a recipe with its keys, from the dataclasses that read it."""
    return "\n".join(_tables(recipe.Recipe(), ""))


def _tables(options: Any, prefix: str) -> Iterator[str]:
    """A section for a table and for each table within, of which there may be several by names of the user's."""
    kinds, inner = field_types(type(options)), []
    yield f"## `[{prefix}]`\n" if prefix else "## The recipe itself\n"
    yield f"{_prose(inspect.getdoc(type(options)) or '')}\n"
    rows = []
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        if dataclasses.is_dataclass(value):
            inner.append((f"{prefix}.{item.name}".lstrip("."), value))
        else:
            rows.append(_key_row(item, kinds[item.name], value))
        element = (*typing.get_args(kinds[item.name]), None, None)[1]
        if dataclasses.is_dataclass(element) and element is not type(options):
            inner.append((f'{prefix}.{item.name}."NAME"', element()))
    if rows:
        yield "| key | what it does |\n|---|---|"
        yield from rows
        yield ""
    for name, table in inner:
        yield from _tables(table, name)


def _key_row(item: Any, kind: Any, value: Any) -> str:
    takes = [type_in_words(kind), *_rules(item.metadata), f"default {_default(value)}"]
    return f"| `{item.name}` | {_cell(item.metadata['doc'])}<br>*{_cell('; '.join(takes))}* |"


def type_in_words(kind: Any) -> str:
    """What a key takes, as TOML has it."""
    if typing.get_origin(kind) is types.UnionType:
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return f"list of {type_in_words(parts[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return "table of tables" if dataclasses.is_dataclass(parts[1]) else f"table of {type_in_words(parts[1])}"
    words = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "text, number or truth"}
    return words[kind]


def _default(value: Any) -> str:
    return "not set" if value is None else f"`{toml(value)}`"


def toml(value: Any) -> str:
    """A value as a recipe would have it."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{name} = {toml(part)}" for name, part in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(toml(part) for part in value)}]"
    return json.dumps(value)


def _rules(metadata: Mapping[str, Any]) -> list[str]:
    choices = metadata.get("choices")
    text = ", ".join(f"`{choice}`" for choice in choices) if choices else allowed(metadata)
    return [text] if text else []


# Commands


def command_reference() -> str:
    """Every command with what it takes, from click."""
    return "\n".join(_commands(cli.main, "edgekd", None))


def _commands(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    yield f"## `{path}`\n" if parent else ""
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```\n"
    yield f"{_prose(inspect.cleandoc(command.help or ''))}\n"
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    yield "| option | what it does |\n|---|---|"
    for names, text in records:
        yield f"| {_cell(f'`{names}`')} | {_cell(text)} |"
    yield ""
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(inner, f"{path} {name}", context)


# Python


def python_reference() -> str:
    """Every public name with its signature, its docstring and, of a class, its public members."""
    public = {name: getattr(edgekd, name) for name in edgekd.__all__ if name != "__version__"}
    parts = [line for name, thing in public.items() for line in _described(f"edgekd.{name}", thing)]
    rows = {name: thing for name, thing in vars(run_report).items() if dataclasses.is_dataclass(thing)}
    parts.append("## Rows of a report\n")
    parts += [line for name, thing in rows.items() if name not in public for line in _described(name, thing, "###")]
    return "\n".join(parts)


def _described(name: str, thing: Any, mark: str = "##") -> Iterator[str]:
    yield f"{mark} `{name}`\n"
    yield from _documented(thing, name)
    if not inspect.isclass(thing) or issubclass(thing, Exception):
        return
    for member, value in vars(thing).items():
        if not member.startswith("_") and isinstance(value, _MEMBERS):
            yield f"{mark}# `{name.rpartition('.')[2]}.{member}`\n"
            yield from _documented(getattr(thing, member) if isinstance(value, classmethod) else value, member)


def _documented(thing: Any, name: str) -> Iterator[str]:
    function = getattr(thing, "fget", None) or getattr(thing, "func", None)
    if function is not None:  # a property, cached or not
        shown = f"{name}: {inspect.signature(function).return_annotation}"
    elif dataclasses.is_dataclass(thing):
        fields = "\n".join(f"    {item.name}: {item.type}" for item in dataclasses.fields(thing))
        shown = f"@dataclass(frozen=True)\nclass {thing.__name__}:\n{fields}"  # type: ignore[union-attr]
    elif inspect.isclass(thing):
        shown = f"class {thing.__name__}({thing.__base__.__name__})"
    else:
        shown = _signature(name, inspect.signature(thing))
    yield f"```python\n{shown}\n```\n"
    yield f"{_sections(inspect.getdoc(thing) or '')}\n"


def _signature(name: str, signature: inspect.Signature) -> str:
    """One line, or one for each parameter where that would be long."""
    shown = signature.replace(parameters=[one for one in signature.parameters.values() if one.name != "self"])
    line = f"{name}{shown}".replace("'", "")
    if len(line) <= 84:
        return line
    inner, _, after = line.removeprefix(f"{name}(").rpartition(") ->")
    parts = re.split(r", (?![^\[]*\])", inner)
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f") ->{after}"])


def _sections(doc: str) -> str:
    """A docstring's prose, and its sections as lists."""
    lines, made, listing = doc.splitlines(), [], False
    for line in lines:
        if found := _SECTION.match(line):
            listing = True
            made += ["", f"**{found[1]}**", ""]
        elif listing and line.startswith("    ") and not line.startswith("     "):
            made.append(f"- {_ENTRY.sub(lambda entry: f'`{entry[1]}`: ', line.strip())}")
        elif listing and line.strip():
            made.append(f"  {line.strip()}")
        else:
            listing = listing and not line
            made.append(line)
    return _prose("\n".join(made))


def error_reference() -> str:
    """The errors that are raised on purpose, with their exit codes."""
    rows = [
        f"| {'&nbsp;' * 3 * depth}`{kind.__name__}` | {kind.exit_code} | {_cell(inspect.getdoc(kind) or '')} |"
        for depth, kind in _with_subclasses(edgekd.EdgekdError, 0)
    ]
    return "\n".join(["| class, in `edgekd.errors` | exit code | |", "|---|---:|---|", *rows])


def _with_subclasses(kind: Any, depth: int) -> Iterator[tuple[int, Any]]:
    yield depth, kind
    for inner in kind.__subclasses__():
        if inner.__module__ == kind.__module__:
            yield from _with_subclasses(inner, depth + 1)


# Versions


def version_reference() -> str:
    """What this version of edgekd is installed with, from ``pyproject.toml``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = [f"| Python | `{project['requires-python']}` |"]
    for line in project["dependencies"]:
        name, bounds = re.fullmatch(r"([\w.-]+)(.*)", line.partition(";")[0].strip()).groups()  # type: ignore[union-attr]
        rows.append(f"| `{name}` | `{bounds or 'any'}` |")
    return "\n".join([f"edgekd {project['version']} takes:\n", "| package | versions |", "|---|---|", *rows])


# Placing


REFERENCES: Mapping[str, Callable[[], str]] = {
    "recipe": recipe_reference,
    "commands": command_reference,
    "python": python_reference,
    "errors": error_reference,
    "versions": version_reference,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the references where a page asks for them. Raises KeyError for one that there is not."""
    return _PLACE.sub(lambda found: REFERENCES[found[1]](), markdown)


def _prose(text: str) -> str:
    """A docstring as Markdown: roles and double backticks become code, and nothing else is markup."""
    code = _ROLE.sub(r"`\1`", text).replace("``", "`")
    return "".join(part if index % 2 else _plain(part) for index, part in enumerate(re.split(r"(`[^`\n]*`)", code)))


def _plain(text: str) -> str:
    """Text whose asterisks, underscores and angle brackets mean themselves; ``**Args**`` of ours stays."""
    escaped = re.sub(r"[*_<\[]", lambda mark: f"\\{mark[0]}" if mark[0] != "<" else "&lt;", text)
    return re.sub(r"\\\*\\\*(Args|Returns|Raises|Attributes)\\\*\\\*", r"**\1**", escaped)


def _cell(text: str) -> str:
    """Text for a cell of a table; within code a bar is no border."""
    parts = re.split(r"(`[^`\n]*`)", " ".join(_prose(text).split()))
    return "".join(part if index % 2 else part.replace("|", "\\|") for index, part in enumerate(parts))
