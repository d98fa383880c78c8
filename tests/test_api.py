"""``edgekd.build``'s arguments: which recipe, which data, which folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekd import api, data, recipe
from edgekd.errors import DataError, RecipeError, UserError


@pytest.fixture(autouse=True)
def _empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("distill.temperature=2.0", "distill.temperature", 2.0),
        ("distill.temperature=2e0", "distill.temperature", 2.0),
        ("seed=3", "seed", 3),
        ("seed=0x10", "seed", 16),
        ("data.num_calibration_samples=1_000", "data.num_calibration_samples", 1000),
        ("distill.train_alone=true", "distill.train_alone", True),
        ("distill.train_alone=True", "distill.train_alone", "True"),  # TOML writes it small; so this is a text
        ("teacher.training.step_epochs=[150, 180]", "teacher.training.step_epochs", [150, 180]),
        ("gates.min_recall={normal = 0.9}", "gates.min_recall", {"normal": 0.9}),
        ("prune.method=none", "prune.method", "none"),
        ('prune.method="none"', "prune.method", "none"),
        ("data.path='a b.npz'", "data.path", "a b.npz"),
        ("data.path=a=b.npz", "data.path", "a=b.npz"),
        (" seed = 3 ", "seed", 3),
        ("name=", "name", ""),
    ],
)
def test_settings_are_read_as_toml(setting: str, key: str, value: object) -> None:
    changes = api.parse_overrides((setting,))
    assert changes == {key: value}
    assert type(changes[key]) is type(value)


def test_of_two_settings_the_later_wins() -> None:
    assert api.parse_overrides(("seed=1", "name=a", "seed=2")) == {"seed": 2, "name": "a"}
    assert api.parse_overrides(()) == {}


@pytest.mark.parametrize("setting", ["", "seed", "distill.temperature", "=", "=3"])
def test_a_setting_without_key_or_equals_sign(setting: str) -> None:
    with pytest.raises(UserError) as caught:
        api.parse_overrides((setting,))
    assert str(caught.value).startswith(f'--set "{setting}": key=value is wanted, for example --set ')


def test_without_a_recipe() -> None:
    """The quickstart on the embedded set; the default recipe where there is data."""
    Path("images").mkdir()
    assert api.load_recipe() == recipe.load("quickstart")
    assert api.load_recipe(data="images") == recipe.load("default", {"data.path": "images"})
    assert api.load_recipe(data=Path("images")) == recipe.load("default", {"data.path": "images"})
    assert api.load_recipe(data="bloodmnist") == recipe.load("default", {"data.name": "bloodmnist"})


def test_data_by_name_replaces_the_recipes(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[data]\nname = "pneumoniamnist"\npath = "old.npz"\nimage_size = 48\n')
    loaded = api.load_recipe(str(path), data="breastmnist")
    assert (loaded.name, loaded.data.name, loaded.data.path, loaded.data.image_size) == ("own", "breastmnist", "", 48)


def test_data_by_path_is_the_file_of_the_named_set(tmp_path: Path) -> None:
    (tmp_path / "here.npz").write_bytes(b"")
    loaded = api.load_recipe("pneumoniamnist", data=tmp_path / "here.npz")
    assert (loaded.data.name, loaded.data.path) == ("pneumoniamnist", str(tmp_path / "here.npz"))


def test_what_exists_goes_before_a_name() -> None:
    Path("breastmnist").mkdir()
    loaded = api.load_recipe("default", data="breastmnist")
    assert (loaded.data.name, loaded.data.path) == ("", "breastmnist")


def test_every_known_data_set_can_be_named() -> None:
    for name in data.DATASETS:
        assert api.load_recipe("quickstart", data=name).data.name == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("brestmnist", '--data "brestmnist" is neither a file, a folder nor a known data set; did you mean "breast'),
        ("zzzz", "known data set; known: bloodmnist, breastmnist, "),
        ("images/", '--data "images/": no such file or folder'),
        ("images\\x", "no such file or folder"),
        ("x.npz", '--data "x.npz": no such file or folder'),
    ],
)
def test_data_that_is_not_there(given: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        api.load_recipe(data=given)
    assert message in str(caught.value)


def test_arguments_go_before_settings_and_settings_before_the_file() -> None:
    loaded = api.load_recipe(
        "pneumoniamnist", data="breastmnist", seed=4, overrides={"seed": 3, "data.name": "bloodmnist", "num_threads": 1}
    )
    assert (loaded.seed, loaded.data.name, loaded.num_threads) == (4, "breastmnist", 1)
    assert api.load_recipe("pneumoniamnist", overrides={"seed": 3}).seed == 3
    assert api.load_recipe("pneumoniamnist", overrides={"seed": 3}, seed=0).seed == 0


def test_the_callers_settings_stay_as_they_are() -> None:
    overrides = {"num_threads": 1}
    api.load_recipe("pneumoniamnist", data="breastmnist", seed=4, overrides=overrides)
    assert overrides == {"num_threads": 1}


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(RecipeError, match='unknown recipe "quikstart"; did you mean "quickstart"'):
        api.load_recipe("quikstart")
    with pytest.raises(RecipeError, match=r"seed = -1: allowed: at least 0"):
        api.load_recipe(seed=-1)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """What :func:`edgekd.build` hands to the pipeline."""
    seen: dict[str, Any] = {}

    def pipeline(resolved: object, out: Path, **rest: object) -> None:
        seen.update(rest, recipe=resolved, out=out)

    monkeypatch.setattr("edgekd.pipeline.build", pipeline)

    def build(*arguments: Any, **options: Any) -> dict[str, Any]:
        api.build(*arguments, **options)
        return seen

    return build


def test_the_run_folder_bears_the_recipes_name(built: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[data]\nname = "breastmnist"\n')
    assert built()["out"] == Path("edgekd-out/quickstart")
    assert built(data="breastmnist")["out"] == Path("edgekd-out/default")
    assert built(str(tmp_path / "mine.toml"))["out"] == Path("edgekd-out/mine")
    assert built(overrides={"name": "first"})["out"] == Path("edgekd-out/first")
    assert built(out="elsewhere")["out"] == Path("elsewhere")
    assert list(Path().iterdir()) == []


def test_the_cache_is_where_it_is_said_to_be(
    built: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_CACHE_DIR", str(tmp_path / "named"))
    assert built()["cache"].root == tmp_path / "named"
    assert built(cache_dir=tmp_path / "given")["cache"].root == tmp_path / "given"
    monkeypatch.delenv("EDGEKD_CACHE_DIR")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "user" / name))
    assert built()["cache"].root == tmp_path / "user" / "edgekd"


def test_the_rest_is_handed_on(built: Callable[..., dict[str, Any]]) -> None:
    from edgekd.progress import Progress

    progress = Progress()
    seen = built("pneumoniamnist", seed=5, until="teacher", progress=progress)
    assert (seen["recipe"].seed, seen["until"]) == (5, "teacher")
    assert seen["progress"] is progress
