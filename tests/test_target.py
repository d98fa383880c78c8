"""Device profiles."""

from __future__ import annotations

import dataclasses
import re
import types
from pathlib import Path

import pytest

from edgekd import target
from edgekd._litert import KERNELS
from edgekd.config.benchmark import Benchmark
from edgekd.errors import RecipeError

TARGETS = Path(target.__file__).parent / "targets"


def test_names_are_the_files() -> None:
    assert target.names() == sorted(path.stem for path in TARGETS.glob("*.toml"))
    assert "host" in target.names()


@pytest.mark.parametrize("name", target.names())
def test_built_in_profile_is_sound(name: str) -> None:
    profile = target.load(name)
    assert profile.name == name
    assert profile.kernel in KERNELS
    assert profile.figures in ("measured", "emulated", "checked")
    assert profile.num_threads >= 1
    assert isinstance(profile.pin_cpus, tuple)
    assert all(isinstance(cpu, int) and cpu >= 0 for cpu in profile.pin_cpus)
    # A host figure is called one, also where it stands for a phone's.
    assert re.search(r"\bhost time\b", profile.description, re.IGNORECASE)


def test_host_profiles_hold_what_their_names_say() -> None:
    host, one, four = (target.load(name) for name in ("host", "host-as-phone-1t", "host-as-phone-4t"))
    assert (host.num_threads, host.pin_cpus) == (1, (0,))
    assert (one.num_threads, one.pin_cpus) == (1, ())
    assert (four.num_threads, four.pin_cpus) == (4, ())
    assert {profile.kernel for profile in (host, one, four)} == {"xnnpack"}


def test_recipes_begin_with_a_profile_that_exists() -> None:
    assert target.load(Benchmark().target).name == "host"


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match='unknown target "host-as-phone-1"; did you mean "host-as-phone-1t"'):
        target.load("host-as-phone-1")
    with pytest.raises(RecipeError, match='unknown target "esp32"; known: host, host-as-phone-1t, host-as-phone-4t'):
        target.load("esp32")


@pytest.mark.parametrize("name", ["", "../recipes/quickstart", "host.toml", str(TARGETS / "host")])
def test_names_are_no_paths(name: str) -> None:
    with pytest.raises(RecipeError, match="unknown target"):
        target.load(name)


def test_profile_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.load("host").num_threads = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "named"), [("num_threads", "num_thread", "num_thread"), ("figures", "# figures", "figures")]
)
def test_profile_with_a_wrong_or_missing_key_is_refused(
    old: str, new: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "targets").mkdir()
    text = (TARGETS / "host.toml").read_text(encoding="utf-8")
    (tmp_path / "targets" / "broken.toml").write_text(text.replace(f"{old} =", f"{new} ="), encoding="utf-8")
    monkeypatch.setattr(target, "resources", types.SimpleNamespace(files=lambda package: tmp_path))
    assert target.names() == ["broken"]
    with pytest.raises(TypeError, match=named):
        target.load("broken")
