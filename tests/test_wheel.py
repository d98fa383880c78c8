"""The wheel: what is in it, and that it works where nothing of this checkout is to be seen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**env, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because setuptools leaves its own folders beside the sources."""
    source, out = tmp_path_factory.mktemp("source") / "edgekd", tmp_path_factory.mktemp("dist")
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source)
    for name in ("edgekd", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source, cwd=out)
    assert done.returncode == 0, done.stderr + done.stdout
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel alone; the dependencies are those of this environment, put behind it."""
    path = tmp_path_factory.mktemp("venv") / "venv"
    done = run(sys.executable, "-m", "venv", "--without-pip", path, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    python = path / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--no-cache-dir"),
        *("--disable-pip-version-check", wheel),
        cwd=path.parent,
    )
    assert done.returncode == 0, done.stderr
    (site,) = path.rglob("site-packages")
    # A path file's lines go to the end of sys.path, and path files found there (an editable install) are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"edgekd-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = {name for name in names if name.startswith(f"edgekd-{VERSION}.dist-info/")}
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "edgekd").rglob("*") if path.is_file()}
    assert names - info == {name for name in shipped if "__pycache__" not in name}
    for pattern in (r"recipes/\w+\.toml", r"targets/[\w-]+\.toml", r"schemas/.+\.json", r"templates/.+\.j2"):
        assert any(re.fullmatch(f"edgekd/{pattern}", name) for name in names), pattern
    assert "edgekd/py.typed" in names
    assert {name.rpartition("/")[2] for name in info} >= {"LICENSE", "METADATA", "entry_points.txt"}


def test_the_wheels_own_code_runs(venv: Path, tmp_path: Path) -> None:
    done = run(venv, "-c", "import edgekd, edgekd.cli; print(edgekd.__file__, edgekd.cli.__file__)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for file in done.stdout.split():
        assert Path(file).resolve().is_relative_to(venv.parents[1].resolve())
        assert not Path(file).resolve().is_relative_to(ROOT)


def test_the_console_script(venv: Path, tmp_path: Path) -> None:
    script = venv.with_name("edgekd")
    version = run(script, "--version", cwd=tmp_path)
    assert (version.returncode, version.stdout, version.stderr) == (0, f"edgekd {VERSION}\n", "")
    shown = run(script, "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Usage: edgekd ")
    assert "build" in shown.stdout
    module = run(venv, "-m", "edgekd", "--version", cwd=tmp_path)
    assert (module.returncode, module.stdout) == (0, version.stdout)


def test_the_quickstart_can_be_planned_in_an_empty_folder(venv: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    done = run(
        venv.with_name("edgekd"),
        "build",
        "--dry-run",
        "--no-measure",
        cwd=work,
        EDGEKD_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "recipe quickstart: images of 32 pixels, teacher resnet_small, student mobilenet_v2 0.35"
    )
    stages = lines[1 : lines.index("estimated time: unknown")]
    assert stages[-1].split()[0] == "report"
    assert all(line.split()[1:3] == ["to", "run"] for line in stages)
    assert list(work.iterdir()) == []


def test_the_installed_package_finds_its_own_data(venv: Path, tmp_path: Path) -> None:
    code = (
        "from edgekd import recipe, target; from edgekd.stages import report; "
        "print(*recipe.builtin_names()); print(*target.names()); "
        "[recipe.load(name, {'data.path': 'x'}) for name in recipe.builtin_names() if name == 'default']; "
        "[target.load(name) for name in target.names()]"
    )
    done = run(venv, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        sorted(path.stem for path in (ROOT / "edgekd" / folder).glob("*.toml")) for folder in ("recipes", "targets")
    ]
