"""The documentation site: it builds strictly, needs nothing from elsewhere, and says what the code says."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import edgekd
from edgekd import cli, recipe
from edgekd.options import allowed, field_types

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def hook(name: str) -> ModuleType:
    """A module of docs/hooks, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed; the extra docs has it")
    pytest.importorskip("material", reason="mkdocs-material is not installed; the extra docs has it")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return out


class _Parts(HTMLParser):
    """What a page loads, where it links to, its places, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.text: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places.add(given.get("id", ""))
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.loads.append(given.get("src", ""))
        if tag == "link" and given.get("rel") not in ("prev", "next", "canonical"):
            self.loads.append(given.get("href", ""))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@functools.cache
def parts(path: Path) -> _Parts:
    return _Parts(path)


def text_of(path: Path) -> str:
    return " ".join(" ".join(parts(path).text).split())


# The site


def test_every_page_is_built(site: Path) -> None:
    built = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")} - {"404.md"}
    assert built == {path.relative_to(DOCS).as_posix() for path in PAGES}
    assert not list(site.rglob("*.py"))


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loads = {load for path in site.rglob("*.html") for load in parts(path).loads if load}
    assert any(load.endswith(".css") for load in loads)
    assert [load for load in loads if "//" in load] == []
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", styles) == []


def test_there_is_a_page_for_each_part_of_the_chain(site: Path) -> None:
    stages = {path.stem for path in (site / "stages").glob("*.html")}
    chain = {"data", "teacher", "distillation", "pruning", "quantization", "verification", "benchmark", "report"}
    assert stages == {*chain, "bundle"}
    with_formula = {path.stem for path in (site / "stages").glob("*.html") if "<math" in path.read_text("utf-8")}
    assert with_formula == stages
    assert all("Sources" in text_of(site / "stages" / f"{name}.html") for name in chain - {"report"})


def test_no_formula_is_left_in_its_source(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert "$<code>" not in page, path.name
        assert 'class="language-math' not in page, path.name


def test_the_surveys_are_named(site: Path) -> None:
    text = text_of(site / "sources.html")
    assert "A survey of model compression and acceleration for deep neural networks" in text
    assert "Knowledge distillation: a survey" in text


def shown(text: str) -> str:
    """A docstring's or an option's text as a page has it."""
    return " ".join(text.replace("`", "").split())


# References


def keys(options: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key of a recipe with its field."""
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        if dataclasses.is_dataclass(value):
            yield from keys(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item
        element = (*typing.get_args(field_types(type(options))[item.name]), None, None)[1]
        if dataclasses.is_dataclass(element) and element is not type(options):  # a table for each name of the user's
            yield from keys(element(), f'{prefix}{item.name}."NAME".')


def test_every_key_of_a_recipe_is_there_with_what_it_does(site: Path) -> None:
    text = text_of(site / "reference" / "recipe.html")
    found = dict(keys(recipe.Recipe()))
    assert {"seed", "distill.temperature", "teacher.training.epochs", "budget.min_recall"} <= set(found)
    for name, item in found.items():
        table, _, key = name.rpartition(".")
        section = text.split(f"[{table}] ¶" if table else "The recipe itself ¶", 1)[1].split(" ¶ ", 1)[0]
        assert key in section, name
        assert shown(item.metadata["doc"]) in section, name
        assert allowed(item.metadata) in section, name


def test_every_table_has_its_place(site: Path) -> None:
    """Pages link to tables by these."""
    tables = {re.sub(r"[.\"]", "", name.rpartition(".")[0]).lower() for name, _ in keys(recipe.Recipe())} - {""}
    assert tables <= parts(site / "reference" / "recipe.html").places


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}")


def test_every_command_and_option_is_there(site: Path) -> None:
    text = text_of(site / "reference" / "commands.html")
    found = dict(commands(cli.main, "edgekd"))
    assert {"edgekd build", "edgekd report"} <= set(found)
    for path, command in found.items():
        section = text if path == "edgekd" else text.split(f"{path} ¶", 1)[1].split(" ¶ ", 1)[0]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[-1] in section, f"{path} {option.opts[-1]}"
                assert shown(option.help or "") in section, f"{path} {option.opts[-1]}"


def test_every_public_name_is_there(site: Path) -> None:
    text = text_of(site / "reference" / "python.html")
    for name in edgekd.__all__:
        assert f"edgekd.{name}" in text


def test_every_public_name_has_a_docstring_and_types() -> None:
    assert edgekd.__version__
    for name in set(edgekd.__all__) - {"__version__"}:
        thing = getattr(edgekd, name)
        assert inspect.getdoc(thing), name
        members = {member: value for member, value in vars(thing).items() if inspect.isfunction(value)}
        functions = {name: thing} if inspect.isfunction(thing) else members
        for member, function in functions.items():
            parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
            public = not member.startswith("_")
            assert not public or inspect.getdoc(function), f"{name}.{member}"
            if public:
                assert inspect.signature(function).return_annotation is not inspect.Signature.empty, member
                assert all(one.annotation is not one.empty for one in parameters), member


# What pages say


def quoted_messages() -> list[str]:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^> `(.+)`$", text, re.M)


@functools.cache
def messages() -> str:
    """Every text in the source, one a line; ``…`` stands where a value is put in."""
    found = []
    for path in (ROOT / "edgekd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
    return "\n".join(found)


def test_there_are_messages_to_check() -> None:
    assert len(quoted_messages()) >= 25


@pytest.mark.parametrize("message", quoted_messages())
def test_every_quoted_message_is_one_of_the_code(message: str) -> None:
    assert message in messages()


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, block)
        for page in PAGES
        for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    ]


def test_every_recipe_shown_is_one() -> None:
    import tomllib

    shown = blocks("toml")
    assert len(shown) >= 3
    for page, block in shown:
        table = tomllib.loads(block)
        table.setdefault("data", {"name": "synthetic_cells"})
        assert recipe.from_table({"name": "shown", **table}), page


def test_every_command_shown_is_one() -> None:
    import shlex

    lines = [(page, line.strip()) for page, block in blocks("sh") for line in block.splitlines()]
    prose = [
        (page.name, words)
        for page in PAGES
        for words in re.findall(r"`(edgekd\s[a-z][^`]*)`", page.read_text(encoding="utf-8"))
    ]
    words = [(page, shlex.split(line, comments=True)) for page, line in [*lines, *prose] if line.startswith("edgekd")]
    assert len(words) >= 15
    known = dict(commands(cli.main, "edgekd"))
    for page, line in words:
        path = " ".join(line[:3]) if " ".join(line[:3]) in known else " ".join(line[:2])
        options = {name for option in known[path].params for name in option.opts} | {"--help"}
        assert {word.partition("=")[0] for word in line if word.startswith("--")} <= options, f"{page}: {line}"


def test_every_python_example_uses_what_there_is() -> None:
    from edgekd.run_report import Claim, Gate, Model, Report, Scores
    from edgekd.runtime import LoadedBundle, Prediction

    kinds = {
        **{"edgekd": edgekd, "run": edgekd.Run, "bundle": LoadedBundle, "prediction": Prediction, "report": Report},
        **{"model": Model, "shipped": Model, "gate": Gate, "claim": Claim, "test": Scores},
    }
    there = {
        name: {*getattr(kind, "__all__", ()), *getattr(kind, "__dataclass_fields__", ()), *dir(kind)}
        for name, kind in kinds.items()
    }
    used = {
        (owner, node.attr)
        for _, block in blocks("python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and (owner := ast.unparse(node.value).rpartition(".")[2]) in there
    }
    assert {("edgekd", "build"), ("report", "models"), ("model", "test"), ("test", "auc")} <= used
    assert [(owner, name) for owner, name in used if name not in there[owner]] == []


def test_every_loss_and_student_is_told_of() -> None:
    from edgekd.losses import LOSSES
    from edgekd.models import STUDENTS

    text = (DOCS / "stages" / "distillation.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    assert {*LOSSES.names(), *STUDENTS.names()} - named == set()


def test_every_key_named_in_prose_is_one() -> None:
    """``distill.temperature`` in backticks: the table is one of a recipe, so that the key has to be, too."""
    found, known = [], {name for name, _ in keys(recipe.Recipe())}
    tables = {name.partition(".")[0] for name in known if "." in name}
    for page in PAGES:
        for dotted in re.findall(r"`(\w+(?:\.\w+)+)(?: = [^`]*)?`", page.read_text(encoding="utf-8")):
            if dotted.partition(".")[0] in tables and not dotted.endswith((".html", ".json", ".md", ".toml", ".py")):
                found.append((page.name, dotted))
    assert len(found) >= 15
    tables_too = {name.rpartition(".")[0] for name in known}
    assert [(page, dotted) for page, dotted in found if dotted not in known | tables_too] == []


# Formulas


@pytest.mark.parametrize(
    ("formula", "drawn"),
    [
        ("x", "<mi>x</mi>"),
        ("2.5 x", "<mrow><mn>2.5</mn><mi>x</mi></mrow>"),
        ("T^2", "<msup><mi>T</mi><mn>2</mn></msup>"),
        ("y_{ik}", "<msub><mi>y</mi><mrow><mi>i</mi><mi>k</mi></mrow></msub>"),
        ("x_i^2", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        ("x^2_i", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        ("\\frac{1}{n}", "<mfrac><mn>1</mn><mi>n</mi></mfrac>"),
        ("\\sum_k^n", "<munderover><mo>∑</mo><mi>k</mi><mi>n</mi></munderover>"),
        ("-\\alpha", "<mrow><mo>−</mo><mi>α</mi></mrow>"),
        ("a < b", "<mrow><mi>a</mi><mo>&lt;</mo><mi>b</mi></mrow>"),
        ("\\hat{z}", '<mover accent="true"><mi>z</mi><mo>^</mo></mover>'),
        ("r_{\\text{max}}", "<msub><mi>r</mi><mtext>max</mtext></msub>"),
        ("2 \\log k", '<mrow><mn>2</mn><mo lspace=".17em" rspace=".17em">log</mo><mi>k</mi></mrow>'),
        ("\\sqrt{k}", "<msqrt><mi>k</mi></msqrt>"),
        (
            "\\KL(p \\Vert q)",
            '<mrow><mo lspace="0" rspace="0">KL</mo><mo>(</mo><mi>p</mi><mo>‖</mo><mi>q</mi><mo>)</mo></mrow>',
        ),
    ],
)
def test_formulas_are_drawn_as_mathml(formula: str, drawn: str) -> None:
    made = hook("mathml").to_mathml(formula)
    assert re.fullmatch(r"<math [^>]*>(.*)</math>", made)[1] == drawn  # type: ignore[index]


@pytest.mark.parametrize("formula", ["\\nosuch", "{x", "x}", "x_", "^2", "x_1_2", "\\text x", "\\text{x"])
def test_a_formula_that_is_not_known_is_refused(formula: str) -> None:
    mathml = hook("mathml")
    with pytest.raises(mathml.FormulaError, match=r"in the formula '"):
        mathml.to_mathml(formula)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "whole number"),
        (float | None, "number"),
        (tuple[str, ...], "list of text"),
        (dict[str, float], "table of number"),
        (dict[str, recipe.Teacher], "table of tables"),
        (tuple[Any, ...], "list of text, number or truth"),
    ],
)
def test_types_are_told_in_words(kind: Any, words: str) -> None:
    assert hook("references").type_in_words(kind) == words


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "true"), (0.0005, "0.0005"), ("a", '"a"'), ((1, 2), "[1, 2]"), ({}, "{}"), ({"kd": 1.0}, "{ kd = 1.0 }")],
)
def test_defaults_are_told_as_a_recipe_has_them(value: Any, shown: str) -> None:
    assert hook("references").toml(value) == shown
