from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekd import cli, doctor, requirements
from edgekd.doctor import FAIL, NOTE, OK, Check
from edgekd.requirements import Requirement, parse


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tensorflow~=2.21.0", Requirement("tensorflow", "~=2.21.0", "")),
        ('onnx>=1.17; extra == "onnx"', Requirement("onnx", ">=1.17", "onnx")),
        ("wheel ; extra == 'dev'", Requirement("wheel", "", "dev")),
        ("numpy (>=2.1,<3)", Requirement("numpy", ">=2.1,<3", "")),
    ],
)
def test_requirements_are_read(line: str, expected: Requirement) -> None:
    assert parse(line) == expected


def test_what_is_no_requirement_is_refused() -> None:
    with pytest.raises(ValueError, match="not a requirement"):
        parse("; extra == 'x'")


# From the version specifiers' own rules (PyPA, "Version specifiers": compatible release).
@pytest.mark.parametrize(
    ("bounds", "admitted", "refused"),
    [
        ("~=2.21.0", ["2.21.0", "2.21.7"], ["2.20.9", "2.22.0", "3.0"]),
        ("~=2.2", ["2.2", "2.3", "2.99.1"], ["2.1", "3.0"]),
        (">=1.17", ["1.17", "1.17.0", "2"], ["1.16.9"]),
        (">=2.1,<3", ["2.1", "2.4.6"], ["3.0", "2.0"]),
        ("==2.1", ["2.1", "2.1.0"], ["2.1.1"]),
        ("<=2", ["2.0", "1"], ["2.0.1"]),
        (">2", ["2.1"], ["2.0"]),
        ("", ["0"], []),
    ],
)
def test_bounds(bounds: str, admitted: list[str], refused: list[str]) -> None:
    need = Requirement("x", bounds, "")
    assert [version for version in [*admitted, *refused] if need.admits(version)] == admitted


def test_our_own_requirements_are_those_of_the_project() -> None:
    needs = {need.name: need.extra for need in requirements.requirements()}
    assert needs["tensorflow"] == ""
    assert needs["tf2onnx"] in ("onnx", "dev")  # wanted by both
    assert requirements.requirements("no-such-package") == []


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, to be filled in."""
    there: dict[str, str] = {}
    monkeypatch.setattr(requirements, "installed", there.get)
    return there


def test_packages_that_are_missing_or_too_old_are_named_with_the_line_that_mends_it(versions: dict[str, str]) -> None:
    versions |= {"numpy": "1.26.4", "click": "8.2"}
    needs = [parse(line) for line in ("numpy>=2.1", "click>=8.1", "scipy>=1.13", 'onnx; extra == "onnx"')]
    assert list(doctor.packages(needs)) == [
        Check("numpy", FAIL, "1.26.4, wanted >=2.1", 'python -m pip install "numpy>=2.1"'),
        Check("click", OK, "8.2"),
        Check("scipy", FAIL, "not installed", 'python -m pip install "scipy>=1.13"'),
    ]


def test_two_tensorflows_are_one_too_many(versions: dict[str, str]) -> None:
    versions |= {"tf-nightly": "2.22.0.dev1"}
    needs = [parse("click")]
    versions["click"] = "8.2"
    _, check = doctor.packages(needs)
    assert (check.name, check.state) == ("tf-nightly", FAIL)
    assert "pip uninstall --yes tf-nightly tensorflow" in check.remedy


def keras(versions: dict[str, str], environment: dict[str, str], **found: str) -> dict[str, Check]:
    versions |= {name.replace("_", "-"): version for name, version in found.items()}
    return {check.name: check for check in doctor.keras(environment)}


def test_keras_as_it_should_be(versions: dict[str, str]) -> None:
    checks = keras(versions, {}, tensorflow="2.21.0", tf_keras="2.21.3", keras="3.15.1")
    assert {name: check.state for name, check in checks.items()} == {"Keras 2": OK, "Keras 3": OK}


def test_keras_2_of_another_tensorflow(versions: dict[str, str]) -> None:
    check = keras(versions, {}, tensorflow="2.21.0", tf_keras="2.19.0", keras="3.15.1")["Keras 2"]
    assert (check.state, check.remedy) == (FAIL, 'python -m pip install "tf-keras~=2.21.0"')
    assert "tf-keras 2.19.0 with tensorflow 2.21.0" in check.found


def test_no_keras_2(versions: dict[str, str]) -> None:
    check = keras(versions, {}, tensorflow="2.21.0")["Keras 2"]
    assert (check.state, check.found) == (FAIL, "tf-keras is not installed")


def test_keras_2_in_the_place_of_keras_3(versions: dict[str, str]) -> None:
    check = keras(versions, {}, tensorflow="2.21.0", tf_keras="2.21.0", keras="2.15.0")["Keras 3"]
    assert (check.state, check.found) == (NOTE, "keras 2.15.0; teachers of Keras 3 are not read")


def test_variables_that_mix_the_two_up(versions: dict[str, str]) -> None:
    environment = {"TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "jax"}
    checks = keras(versions, environment, tensorflow="2.21.0", tf_keras="2.21.0", keras="3.1")
    for name, value in environment.items():
        assert checks[name].state == NOTE
        assert f'set to "{value}"' in checks[name].found
        assert checks[name].remedy == f"unset {name}"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.mark.parametrize(
    ("code", "state", "part"),
    [
        ("import sys; sys.stdout.write('8 0')", OK, "on the processor alone"),
        ("import sys; sys.stdout.write('8 2')", OK, "sees 2 GPU(s)"),
        ("import sys; sys.stdout.write('7 0')", FAIL, "it answered '7 0'"),
        ("raise ImportError('libfoo.so is not there')", FAIL, "ImportError: libfoo.so is not there"),
        ("import os; os.kill(os.getpid(), 4)", FAIL, "ended by signal 4"),
    ],
)
def test_tensorflow_is_tried_in_a_process_of_its_own(code: str, state: str, part: str) -> None:
    check = doctor.tensorflow_works(python(code))
    assert check.state == state
    assert part in check.found
    assert bool(check.remedy) == (state == FAIL)


def test_tensorflow_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SECONDS_TO_IMPORT", 0.2)
    check = doctor.tensorflow_works(python("import time; time.sleep(60)"))
    assert (check.state, check.found) == (FAIL, "no answer within 0.2 s")


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**30}\n")
    check = doctor.memory(limit)
    assert check.state == NOTE
    assert "available of 1.0 GiB (the limit of this container)" in check.found
    limit.write_text("max\n")
    assert "container" not in doctor.memory(limit).found


def test_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = {"free": 5 * 2**30}
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), usage))
    folder = tmp_path / "not" / "yet"
    assert doctor.disk("cache", folder, "--cache-dir") == Check("cache", OK, f"{folder}: 5.0 GiB free")
    usage["free"] = 2**30
    check = doctor.disk("cache", folder, "--cache-dir")
    assert (check.state, check.remedy) == (
        NOTE,
        "free space (edgekd cache prune), or name another folder with --cache-dir",
    )
    (tmp_path / "file").write_text("")
    assert doctor.disk("output", tmp_path / "file" / "x", "--out").state == FAIL
    assert not folder.parent.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_fails(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor.disk("output", tmp_path / "x", "--out").state == FAIL


def test_extras_and_tools(versions: dict[str, str]) -> None:
    versions |= {"onnx": "1.20"}
    needs = [
        parse(f'{line}; extra == "{extra}"') for line, extra in (("onnx>=1.17", "a"), ("mlflow", "b"), ("x", "dev"))
    ]
    assert list(doctor.extras(needs)) == [
        Check("extra a", OK, "onnx 1.20"),
        Check("extra b", NOTE, "mlflow not installed", 'python -m pip install "edgekd[b]"'),
    ]
    found = {check.name: check for check in doctor.tools({"google-chrome": "/opt/chrome", "ssh": "/bin/ssh"}.get)}
    assert set(found) == set(doctor.TOOLS)
    assert (found["chromium"].state, found["chromium"].found.split(":")[0]) == (OK, "/opt/chrome")
    assert (found["adb"].state, found["adb"].remedy.split(" (")[0]) == (NOTE, "apt-get install adb")


# The command


def run(monkeypatch: pytest.MonkeyPatch, checks: list[Check], *arguments: str):
    monkeypatch.setattr(doctor, "examine", lambda cache, out: checks)
    return CliRunner().invoke(cli.main, ["doctor", *arguments])


def test_the_command_ends_with_3_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("a", OK, "1.0"), Check("bc", NOTE, "old", "renew it"), Check("d", FAIL, "not there", "get it")]
    result = run(monkeypatch, checks)
    assert result.exit_code == 3
    assert result.stdout.splitlines() == [
        "ok       a   1.0",
        "note     bc  old",
        "             remedy: renew it",
        "MISSING  d   not there",
        "             remedy: get it",
        "1 missing",
    ]
    result = run(monkeypatch, checks[:2])
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "nothing that a build needs is missing")
    result = run(monkeypatch, checks, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)[2] == {"name": "d", "state": "fail", "found": "not there", "remedy": "get it"}


def test_this_very_environment_is_well(tmp_path: Path) -> None:
    checks = doctor.examine(tmp_path / "cache", tmp_path, {})
    assert [check for check in checks if check.state == FAIL] == []
    assert {"Python", "tensorflow", "Keras 2", "TensorFlow runs", "cores", "memory", "cache", "output", "qemu"} <= {
        check.name for check in checks
    }
    assert list(tmp_path.iterdir()) == []
