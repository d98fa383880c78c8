"""Device profiles."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgekd import cli, preflight, recipe, target
from edgekd._litert import KERNELS
from edgekd.config.benchmark import Benchmark
from edgekd.errors import MissingRequirementError, RecipeError
from edgekd.inspect import forecast
from edgekd.target import Limits

TARGETS = Path(target.__file__).parent / "targets"
NAMES = [
    *(
        "arm64-emulated",
        "cloud",
        "ethos-u55",
        "host",
        "host-as-phone-1t",
        "host-as-phone-4t",
        "microcontroller",
        "raspberry-pi",
    ),
]


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_names_are_the_files() -> None:
    assert target.names() == sorted(path.stem for path in TARGETS.glob("*.toml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_built_in_profile_is_sound(name: str) -> None:
    profile = target.load(name)
    assert profile.name == name
    assert profile.kernel in KERNELS
    # A host figure is called one, also where it stands for a phone's; where there is none, something else helps.
    assert bool(re.search(r"\bhost time\b", profile.description, re.IGNORECASE)) == (profile.figures == "measured")
    assert bool(profile.instead) == (profile.figures != "measured")


def test_host_profiles_hold_what_their_names_say() -> None:
    host, one, four = (target.load(name) for name in ("host", "host-as-phone-1t", "host-as-phone-4t"))
    assert (host.num_threads, host.pin_cpus) == (1, (0,))
    assert (one.num_threads, one.pin_cpus) == (1, ())
    assert (four.num_threads, four.pin_cpus) == (4, ())
    assert {profile.kernel for profile in (host, one, four)} == {"xnnpack"}


def test_what_figures_are() -> None:
    found = {name: target.load(name).figures for name in NAMES if not name.startswith("host")}
    assert found == {
        **{
            "arm64-emulated": "emulated",
            "cloud": "measured",
            "ethos-u55": "checked",
            "microcontroller": "checked",
            "raspberry-pi": "checked",
        }
    }


def test_kernels_and_delegates_are_those_that_there_are() -> None:
    """Named a second time in the profiles' module, which may import neither LiteRT nor the tables."""
    assert target._KERNELS == KERNELS
    assert set(target.DELEGATES) == set(forecast.DELEGATES)


def test_recipes_begin_with_a_profile_that_exists() -> None:
    assert target.load(Benchmark().target).name == "host"
    assert not target.load("host").asks


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match='unknown target "host-as-phone-1"; did you mean "host-as-phone-1t"'):
        target.load("host-as-phone-1")
    with pytest.raises(RecipeError, match='unknown target "esp32"; known: arm64-emulated, cloud, ethos-u55, host, '):
        target.load("esp32")


@pytest.mark.parametrize("name", ["", "../recipes/quickstart", str(TARGETS / "host")])
def test_a_path_without_its_suffix_is_no_profile(name: str) -> None:
    with pytest.raises(RecipeError, match="unknown target"):
        target.load(name)


def test_profile_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.load("host").num_threads = 8  # type: ignore[misc]


def test_no_latency_where_the_target_is_another_machine() -> None:
    assert target.why_not_timed(target.load("cloud")) is None
    with pytest.raises(RecipeError, match=r"raspberry-pi.*only checked.*edgekd benchmark .* --device ssh:user@host"):
        target.timed("raspberry-pi")
    with pytest.raises(RecipeError, match=r"emulated time is no device's; edgekd verify RUN --target arm64-emulated"):
        target.timed("arm64-emulated")
    assert [target.timed(name).num_threads for name in ("cloud", "host", "host-as-phone-4t")] == [4, 1, 4]


# One's own


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'description = "Our tablet"\nnum_threads = 2\nforecasts = ["gpu"]\n'
        '[limits]\nmax_tflite_bytes = 500_000\noperators = ["CONV_2D"]\ntypes = ["int8"]\n',
    )
    profile = target.load(str(path))
    assert (profile.name, profile.figures, profile.num_threads, profile.kernel) == ("mine", "measured", 2, "xnnpack")
    assert profile.limits == Limits(max_tflite_bytes=500_000, operators=("CONV_2D",), types=("int8",))
    assert profile.asks
    assert recipe.load("quickstart", {"benchmark.target": str(path)}).benchmark.target == str(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("num_thread = 2", 'unknown key "num_thread"; did you mean "num_threads"?'),
        ("[limits]\nmax_tflite_byte = 2", 'unknown key "limits.max_tflite_byte"; did you mean "max_tflite_bytes"?'),
        ("[limits]\nmax_arena_bytes = 0", "limits.max_arena_bytes = 0: allowed: at least 1"),
        ('[limits]\ntypes = ["int9"]', 'limits.types = "int9": allowed: bool'),
        ('[limits]\noperators = ["CONV2D"]', 'limits.operators: unknown operator "CONV2D"; did you mean "CONV_2D"?'),
        ('kernel = "xnpack"', 'kernel = "xnpack": allowed: xnnpack, builtin, reference; did you mean "xnnpack"?'),
        ("num_threads = 0", "num_threads = 0: allowed: at least 1"),
        ("num_threads = true", "num_threads = True: a whole number is wanted"),
        ("pin_cpus = [-1]", "pin_cpus = -1: allowed: at least 0"),
        ('forecasts = ["tpu"]', 'forecasts = "tpu": allowed: gpu, ethos_u55, edge_tpu'),
        ('figures = "guessed"', 'figures = "guessed": allowed: measured, emulated, checked'),
        ('runtime = "tflite_micro"', 'set figures = "checked"'),
        ('description = ""', "say in a sentence what the target is"),
        ("limits = 5", '"limits" is a table of keys'),
        ("num_threads = ", "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_it_is_named(text: str, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, text if "description" in text else f'description = "d"\n{text}')
    with pytest.raises(RecipeError) as caught:
        target.load(str(path))
    assert str(caught.value).startswith(f'target "{path}"')
    assert told in str(caught.value)


def test_a_file_that_is_not_there_or_is_called_as_a_built_in_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent.toml\": no such file; built-in targets: arm64-emulated"):
        target.load(str(tmp_path / "absent.toml"))
    with pytest.raises(RecipeError, match='"host" is a built-in profile; give the file another name'):
        target.load(str(write(tmp_path, 'description = "d"', "host.toml")))
    with pytest.raises(RecipeError, match="cannot be read"):
        target.load(str(tmp_path.joinpath("folder.toml").mkdir() or tmp_path / "folder.toml"))


# Before anything is trained


def test_a_budget_of_milliseconds_needs_a_target_that_is_timed() -> None:
    made = recipe.load("quickstart", {"benchmark.target": "raspberry-pi", "budget.max_p50_ms": 1.0})
    with pytest.raises(RecipeError, match=r"budget.max_p50_ms = 1: latency on target \"raspberry-pi\""):
        preflight.check_target(made)
    preflight.check_target(recipe.load("quickstart", {"benchmark.target": "raspberry-pi"}))


def test_a_microcontroller_needs_integers_in_and_out_and_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe.load("quickstart", {"benchmark.target": "microcontroller", "quantize.variants": ["fp32", "int8"]})
    with pytest.raises(RecipeError, match=r"runs the variant int8_io; add it to quantize\.variants"):
        preflight.check_target(made)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    made = recipe.load("quickstart", {"benchmark.target": "microcontroller"})
    with pytest.raises(MissingRequirementError, match=r"pip install \"edgekd\[micro\]\""):
        preflight.check_target(made)


def test_the_stage_is_there_where_the_target_asks_something() -> None:
    assert "fit" in preflight.skipped_stages(recipe.load("quickstart"))
    assert "fit" not in preflight.skipped_stages(recipe.load("quickstart", {"benchmark.target": "raspberry-pi"}))


# The command line


def test_list_names_all_with_what_their_figures_are() -> None:
    done = call("target", "list")
    assert done.exit_code == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        [name, target.load(name).figures] for name in NAMES
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_is_a_profile_again(name: str, tmp_path: Path) -> None:
    done = call("target", "show", name)
    assert done.exit_code == 0
    assert tomllib.loads(done.stdout)["figures"] == target.load(name).figures
    again = target.load(str(write(tmp_path, done.stdout)))
    assert dataclasses.replace(again, name=name) == target.load(name)


def test_wrong_turns_are_code_2() -> None:
    for words in (("show", "hots"), ("check", "hots", "m.tflite"), ("check", "host", "absent.tflite")):
        done = call("target", *words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
    done = call("target", "install", "raspberry-pi")
    assert done.exit_code == 2
    assert "needs no install; arm64-emulated does" in done.stderr
    done = call("benchmark", __file__, "--target", "microcontroller")
    assert done.exit_code == 2
    assert 'latency on target "microcontroller": the target is only checked' in done.stderr
