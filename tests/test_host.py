"""What is told about the machine, and what is not."""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekd import host

ROOT = Path(host.__file__).parents[1]


@pytest.fixture
def fresh_commit() -> Iterator[None]:
    """``commit`` is remembered for the life of a process; tests of it begin and end without."""
    host.commit.cache_clear()
    yield
    host.commit.cache_clear()


def git(*arguments: str) -> str:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout


def test_facts_are_there_and_of_the_right_size() -> None:
    facts = host.host()
    assert set(facts) == {"cpu", "cores", "memory_bytes", "system", "machine"}
    assert facts["cpu"].strip()
    assert facts["cores"] == os.cpu_count()
    assert 2**28 < facts["memory_bytes"] < 2**50
    assert facts["system"].startswith(platform.system())
    assert facts["machine"] == platform.machine()


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux keeps these facts in /proc")
def test_facts_are_those_of_proc() -> None:
    total = re.search(r"^MemTotal: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert total
    assert host.host()["memory_bytes"] == 1024 * int(total[1])
    assert f": {host.host()['cpu']}\n" in Path("/proc/cpuinfo").read_text() or platform.machine() == "aarch64"


def test_processor_of_a_raspberry_pi_and_of_a_system_without_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nBogoMIPS\t: 108.00\n\nRevision\t: d03114\nModel\t\t: Raspberry Pi 4 Rev 1.4\n")
    monkeypatch.setattr(host, "Path", lambda name: info)
    assert host._cpu_model() == "Raspberry Pi 4 Rev 1.4"
    info.unlink()
    assert host._cpu_model() == (platform.processor() or platform.machine())


def test_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    node = platform.node()
    monkeypatch.setenv("LOGNAME", "dr-mabuse")
    monkeypatch.setattr(platform, "node", lambda: "radiology-pc-7")
    told = json.dumps([host.host(), host.versions(), host.commit()])
    for name in (
        "radiology-pc-7",
        getpass.getuser(),
        node,
        str(Path.home()),
        str(ROOT),
        str(Path.cwd()),
    ):
        assert re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", told) is None, name


def test_versions_are_the_installed_ones() -> None:
    found = host.versions()
    assert set(found) == {"python", *host.PACKAGES}
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["edgekd"] == importlib.metadata.version("edgekd")


def test_package_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "PACKAGES", ("numpy", "no-such-package-of-edgekd"))
    assert set(host.versions()) == {"python", "numpy"}


@pytest.mark.usefixtures("fresh_commit")
def test_commit_is_that_of_the_checkout() -> None:
    head = git("rev-parse", "HEAD").strip()
    changed = git("status", "--porcelain", "--untracked-files=no").strip() != ""
    found = host.commit()
    assert found is not None
    assert found.endswith("-dirty") == changed
    plain = found.removesuffix("-dirty")
    assert len(plain) >= 12
    assert head.startswith(plain)


@pytest.mark.usefixtures("fresh_commit")
def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "__file__", str(tmp_path / "edgekd" / "host.py"))
    assert host.commit() is None


@pytest.mark.usefixtures("fresh_commit")
def test_damaged_checkout_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    monkeypatch.setattr(host, "__file__", str(tmp_path / "edgekd" / "host.py"))
    assert host.commit() is None


@pytest.mark.usefixtures("fresh_commit")
def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert host.commit() is None
