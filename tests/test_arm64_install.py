"""Laying a user land into the cache: made-up packages and wheels, and one real install where there is network."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekd import cli
from edgekd.arm64 import fetch, install
from edgekd.arm64.pins import Pin, digest, pins
from edgekd.errors import DataError, MissingRequirementError


@pytest.fixture
def archives(tmp_path: Path) -> dict[Pin, Path]:
    """A Debian package and two wheels, one of them with the part of LiteRT that is left out."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: tool\nVersion: 1:2.0-1\nArchitecture: arm64\nMaintainer: nobody <nobody@here>\nDescription: a tool\n"
    )
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / "tool").write_bytes(b"tool")
    deb = tmp_path / "tool.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(tree), str(deb)], check=True, capture_output=True)
    files = {("package", "tool", "1:2.0-1"): deb}
    for name, member in (("module", "module.py"), ("ai-edge-litert", install._UNUSED)):
        wheel = tmp_path / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(member, "x = 1")
        files["wheel", name, "1.0"] = wheel
    return {Pin(*key, hashlib.sha256(path.read_bytes()).hexdigest()): path for key, path in files.items()}


class Registry:
    """Serves files, and remembers what it was asked for."""

    def __init__(self, files: dict[Pin, Path]):
        self.files, self.asked = files, []

    def __call__(self, wanted: Sequence[Pin], folder: Path) -> None:
        self.asked.append([pin.name for pin in wanted])
        for pin in wanted:
            if pin not in self.files:
                raise MissingRequirementError(f"{pin.title} {fetch.UNSERVED}")
            shutil.copyfile(self.files[pin], folder / f"as-the-registry-calls-it-{pin.name}")


def test_it_is_laid_once(archives: dict[Pin, Path], tmp_path: Path) -> None:
    registry, wanted, cache = Registry(archives), tuple(archives), tmp_path / "cache"
    folder = install.install(cache, wanted=wanted, fetch_files=registry)
    assert folder == install.folder_of(cache, wanted)
    laid = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert laid == {"laid.json", "root/site/module.py", "root/usr/bin/tool"}
    install.install(cache, wanted=wanted, fetch_files=registry)
    assert registry.asked == [["tool", "module", "ai-edge-litert"]]


def test_an_interrupted_install_goes_on(archives: dict[Pin, Path], tmp_path: Path) -> None:
    wanted, cache = tuple(archives), tmp_path / "cache"
    first = Registry({pin: path for pin, path in archives.items() if pin.name != "ai-edge-litert"})
    with pytest.raises(MissingRequirementError, match=r"ai-edge-litert 1\.0 cannot be fetched"):
        install.install(cache, wanted=wanted, fetch_files=first)
    assert not install.folder_of(cache, wanted).exists()
    second = Registry(archives)
    install.install(cache, wanted=wanted, fetch_files=second)
    assert second.asked == [["ai-edge-litert"]]
    assert [path for path in cache.rglob("*") if path.name.startswith(".")] == []


def test_another_file_than_the_pinned_one_is_never_unpacked(archives: dict[Pin, Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    forged = tuple(Pin(pin.kind, pin.name, pin.version, "0" * 64) for pin in archives)
    registry = Registry(dict(zip(forged, archives.values(), strict=True)))
    with pytest.raises(DataError, match=r"tool 1:2.0-1: what arrived is not the file that was pinned \(SHA-256 0000"):
        install.install(cache, wanted=forged, fetch_files=registry)
    assert not install.folder_of(cache, forged).exists()
    assert list((cache / "downloads").iterdir()) == []


def test_a_file_that_was_changed_since_is_fetched_or_laid_anew(archives: dict[Pin, Path], tmp_path: Path) -> None:
    registry, wanted, cache = Registry(archives), tuple(archives), tmp_path / "cache"
    folder = install.install(cache, wanted=wanted, fetch_files=registry)
    (cache / "downloads" / wanted[0].sha256).write_bytes(b"other")
    (folder / "root" / "usr" / "bin" / "tool").write_bytes(b"other")
    install.install(cache, wanted=wanted, fetch_files=registry)
    assert registry.asked[1] == ["tool"]
    assert (folder / "root" / "usr" / "bin" / "tool").read_bytes() == b"tool"


def test_without_or_with_a_broken_user_land_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingRequirementError, match="is not there; edgekd target install arm64-emulated"):
        install.installed(tmp_path)
    (install.folder_of(tmp_path) / "root").mkdir(parents=True)
    (install.folder_of(tmp_path) / "laid.json").write_text("{}")
    with pytest.raises(MissingRequirementError, match="is not what was laid there; edgekd target install"):
        install.installed(tmp_path)


def test_pins_are_whole_and_hold_no_place() -> None:
    found = pins()
    assert {pin.kind for pin in found} == {"package", "wheel"}
    assert {"libc6", "python3.11-minimal"} <= {pin.name for pin in found if pin.kind == "package"}
    assert {"ai-edge-litert", "numpy"} <= {pin.name for pin in found if pin.kind == "wheel"}
    assert all(len(pin.sha256) == 64 and not set(pin.sha256) - set("0123456789abcdef") for pin in found)
    text = (Path(install.__file__).parent / "pins.toml").read_text()
    assert "/" not in text
    assert "http" not in text
    assert digest(found) != digest(found[1:])


def test_a_machine_without_apt_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingRequirementError, match="apt-get is not here"):
        fetch.fetch(pins(), tmp_path)


def test_a_version_that_is_served_no_longer_is_told(tmp_path: Path) -> None:
    """The real tools, asked for what nobody serves: with or without network it is the same error."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    gone = Pin("package", "libc6", "0.1-edgekd", "0" * 64)
    with pytest.raises(MissingRequirementError, match=r"libc6 0.1-edgekd .* cannot be fetched by apt: "):
        fetch.fetch([gone], tmp_path)
    gone = Pin("wheel", "numpy", "0.0.1", "0" * 64)
    with pytest.raises(MissingRequirementError, match=r"numpy 0.0.1 .* cannot be fetched by pip: "):
        fetch.fetch([gone], tmp_path)


def test_the_command_installs_nothing_for_another_target() -> None:
    done = CliRunner().invoke(cli.main, ["target", "install", "host"])
    assert done.exit_code == 2
    assert 'target "host" needs no install' in done.stderr
