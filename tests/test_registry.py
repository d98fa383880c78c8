from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from edgekd import registry
from edgekd.errors import DataError, ModelError
from edgekd.registry import Registry


def plugin() -> str:
    """Stands for a function of another package."""
    return "from outside"


@pytest.fixture
def students() -> Registry[Callable[[], str]]:
    made: Registry[Callable[[], str]] = Registry("student", "edgekd.students", ModelError)
    made.register("small")(lambda: "small")
    made.register("large")(lambda: "large")
    return made


@pytest.fixture
def with_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package offers ``outside`` and, against the rules, a ``small`` of its own."""
    offered = [EntryPoint(name, "test_registry:plugin", "edgekd.students") for name in ("outside", "small")]
    monkeypatch.setattr(registry, "entry_points", lambda group: [point for point in offered if point.group == group])


def test_registered_functions_are_found_and_listed_in_order(students: Registry[Callable[[], str]]) -> None:
    assert students["small"]() == "small"
    assert list(students) == students.names() == ["large", "small"]
    assert "small" in students
    assert "huge" not in students


def test_a_second_function_of_the_same_name_raises(students: Registry[Callable[[], str]]) -> None:
    with pytest.raises(ValueError, match='student "small" is registered twice'):
        students.register("small")(lambda: "other")
    assert students["small"]() == "small"


def test_register_returns_the_function_itself() -> None:
    made: Registry[Callable[[], str]] = Registry("student")
    assert made.register("plugin")(plugin) is plugin


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smal", 'unknown student "smal"; did you mean "small"?'),
        ("resnet", 'unknown student "resnet"; known: large, small'),
    ],
)
def test_an_unknown_name_is_an_error_that_knows_better(
    students: Registry[Callable[[], str]], name: str, message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        students[name]
    assert str(caught.value) == message


def test_the_error_is_of_the_kind_asked_for() -> None:
    with pytest.raises(DataError, match='unknown data set "x"'):
        Registry("data set", error=DataError)["x"]


@pytest.mark.usefixtures("with_plugin")
def test_other_packages_plug_in_and_cannot_replace_what_is_built_in(students: Registry[Callable[[], str]]) -> None:
    assert students.names() == ["large", "outside", "small"]
    assert students["outside"]() == "from outside"
    assert students["small"]() == "small"


@pytest.mark.usefixtures("with_plugin")
def test_a_registry_without_a_group_takes_nothing_from_outside() -> None:
    made: Registry[Callable[[], str]] = Registry("student")
    assert made.names() == []
