"""The README, the changelog and the lock file say what is true."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import edgekd
from edgekd import cli, recipe
from edgekd.data import DATASETS
from edgekd.data.medmnist import TABLE
from edgekd.run_folder import LOG_FILE, RESULTS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def section(title: str) -> str:
    """What stands below a heading of the README, to the next one."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert found is not None, f"the README has no section {title}"
    return found[1]


def first_column(text: str) -> list[str]:
    """First cells of a table's rows, without its head and without backticks."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [row.split("|")[1].strip().strip("`") for row in rows[2:]]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


# Commands


def command_lines() -> list[list[str]]:
    """Every edgekd command of the code blocks and of inline code, in words."""
    lines = [line.strip() for block in blocks("sh") for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", README, flags=re.M | re.S)
    lines += re.findall(r"`(edgekd [^`]*)`", prose)
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("edgekd ")]


def test_there_are_commands_to_check() -> None:
    assert ["build", "--data", "my_images/"] in command_lines()
    assert len(command_lines()) >= 8


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_every_command_and_option_exists(words: list[str]) -> None:
    command: click.Command = cli.main
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"edgekd {name}"
        command = command.commands[name]
    parameters = [
        *command.params,
        *(
            option
            for option in [command.get_help_option(click.Context(command, help_option_names=["-h", "--help"]))]
            if option
        ),
    ]
    known = {name for parameter in parameters for name in parameter.opts}
    assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known


def test_every_command_is_shown() -> None:
    assert set(cli.main.commands) - {words[0] for words in command_lines() if words} == set()


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_every_setting_is_a_recipe_key(words: list[str]) -> None:
    from edgekd.api import parse_overrides

    settings = tuple(after for word, after in itertools.pairwise(words) if word == "--set")
    loaded = recipe.load("quickstart", parse_overrides(settings))
    assert loaded.name == "quickstart"


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    used = set(re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.M)) | set(re.findall(r"`make (\w+)`", README))
    assert {"demo", "test"} <= used
    assert used <= set(re.findall(r"^(\w+):", makefile, re.M))


def test_exit_codes_are_those_of_the_command() -> None:
    """The README and ``edgekd --help`` give the same codes; test_cli.py holds the command to them."""
    told = section("What a run leaves").split("Exit codes:")[1].split("\n\n")[0]
    helped = (cli.main.help or "").split("Exit codes:")[1]
    assert re.findall(r"\b\d+\b", told) == re.findall(r"\b\d+\b", helped)


# Python


@functools.cache
def python_trees() -> list[ast.Module]:
    return [ast.parse(block) for block in blocks("python")]


def test_python_examples_use_public_names() -> None:
    used = {
        node.attr
        for tree in python_trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "edgekd"
    }
    assert {"build", "load_bundle"} <= used <= set(edgekd.__all__)


def test_python_examples_pass_arguments_that_exist() -> None:
    calls = [node for tree in python_trees() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    checked = 0
    for call in calls:
        name = ast.unparse(call.func)
        if name.startswith("edgekd."):
            function: Any = getattr(edgekd, name.removeprefix("edgekd."))
            inspect.signature(function).bind(*call.args, **{str(word.arg): word.value for word in call.keywords})
            checked += 1
    assert checked >= 2


def test_python_examples_read_what_is_there() -> None:
    """``run.report.models`` and the like: attributes of a run, of its report and models, and of a bundle."""
    from edgekd.pipeline import Run
    from edgekd.run_report import Model, Report, Scores
    from edgekd.runtime import LoadedBundle

    kinds: dict[str, Any] = {"run": Run, "report": Report, "model": Model, "test": Scores, "bundle": LoadedBundle}
    there = {name: {*dir(kind), *kind.__dataclass_fields__} for name, kind in kinds.items()}
    used = {
        (owner, node.attr)
        for tree in python_trees()
        if ast.unparse(tree).startswith("import edgekd")  # another example is of torch's models
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and (owner := ast.unparse(node.value).rpartition(".")[2]) in there
    }
    assert {("report", "models"), ("model", "test"), ("test", "accuracy"), ("bundle", "predict")} <= used
    assert [(owner, name) for owner, name in used if name not in there[owner]] == []


# Tables and lists


def test_every_dependency_has_a_reason_and_every_reason_a_dependency() -> None:
    text = section("Dependencies")
    core = [canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]]
    assert sorted(first_column(text)) == sorted(core)
    extras = {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"]["dev"]}
    development = re.search(r"^Development: (.*?)\. ", text, re.M | re.S)
    assert development is not None
    assert set(re.findall(r"`([^`]+)`", development[1])) == extras


def test_every_extra_is_mentioned() -> None:
    for extra in set(PROJECT["optional-dependencies"]) - {"dev"}:
        assert re.search(rf"edgekd\[[^\]]*\b{extra}\b|`{extra}`", README), extra


def test_every_builtin_recipe_is_in_the_table() -> None:
    assert sorted(first_column(section("Recipes"))) == recipe.builtin_names()


def test_every_stage_is_in_the_table() -> None:
    from edgekd.preflight import STAGES

    assert sorted(first_column(section("How it works"))) == sorted(STAGES)


def test_every_loss_is_in_the_table() -> None:
    from edgekd.losses import LOSSES

    names = first_column(section("Losses and modes of distillation"))
    assert sorted(names) == sorted(LOSSES.names())


def test_every_student_is_named() -> None:
    from edgekd.models import STUDENTS

    listed = re.search(r"Students by name.*?:(.*?)\.\n", section("How it works"), re.S)
    assert listed is not None
    assert sorted(re.findall(r"`(\w+)`", listed[1])) == sorted(STUDENTS.names())


def test_medmnist_names_are_those_supported() -> None:
    found = re.search(r"MedMNIST v2 by name: (.*?)\.\s", section("Recipes"), re.S)
    assert found is not None
    assert set(re.findall(r"`(\w+)`", found[1])) == set(TABLE)
    assert set(TABLE) <= set(DATASETS)


def test_the_run_folder_is_drawn_as_it_is() -> None:
    drawn = re.search(r"```\n(.*?)```", section("What a run leaves"), re.S)
    assert drawn is not None
    names = {word.strip("/") for word in drawn[1].split() if "/" in word or "." in word}
    assert {*RESULTS, LOG_FILE} <= {name.partition("/")[0] for name in names}


def test_relative_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []
    headings = {
        re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", README, re.M)
    }
    assert [link for link in links if link.startswith("#") and link[1:] not in headings] == []


def test_the_example_has_been_run() -> None:
    assert "EXAMPLE_PLACEHOLDER" not in README


def test_it_says_what_it_is_not() -> None:
    assert "not a medical device" in " ".join(README.split()).lower()


# Changelog and licence


def test_the_changelog_tells_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?$", text, re.M)
    assert (entries[0][0], entries[1][0]) == ("Unreleased", PROJECT["version"])
    assert all(date for name, date in entries if name != "Unreleased")
    dates = [date for _, date in entries[1:]]
    assert dates == sorted(dates, reverse=True)


def test_the_licence_is_the_one_named() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert section("Licence").startswith("\nApache-2.0.")
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text(encoding="utf-8")


# The lock file


def lock_entries() -> dict[str, tuple[Requirement, list[str]]]:
    """Pinned requirements and the digests that belong to them, by name."""
    text = re.sub(r"^#.*$", "", LOCK, flags=re.M).replace("\\\n", " ")
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        pin, *hashes = re.split(r"\s+--hash=", line)
        requirement = Requirement(pin)
        found[canonicalize_name(requirement.name) + str(requirement.marker or "")] = (requirement, hashes)
    return found


def test_every_pin_is_exact_and_has_digests() -> None:
    entries = lock_entries()
    assert len(entries) > 50
    for name, (requirement, hashes) in entries.items():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), name
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), name


def test_the_lock_file_names_no_place() -> None:
    assert "://" not in LOCK
    assert not re.search(r"^\s*-(?!-hash)", LOCK, re.M)  # no option: no index, no find-links, no file


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    pins: dict[str, list[Requirement]] = {}
    for requirement, _ in lock_entries().values():
        pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        wanted = Requirement(line)
        pinned = pins.get(canonicalize_name(wanted.name), [])
        assert pinned, line
        for requirement in pinned:
            version = next(iter(requirement.specifier)).version
            assert wanted.specifier.contains(version), f"{line}, but pinned {version}"
