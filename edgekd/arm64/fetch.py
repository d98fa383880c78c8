"""Download pinned files without root: Debian packages by ``apt-get download``, wheels by ``pip download``.

Where they come from is the business of the system's apt and pip; what they are is decided by their digests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgekd.arm64.pins import Pin
from edgekd.errors import MissingRequirementError

SECONDS = 900
# LiteRT is built for glibc 2.27, numpy for that or 2.28; Debian 12 has 2.36.
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
UNSERVED = "cannot be fetched"


def fetch(wanted: Sequence[Pin], folder: Path) -> None:
    """Download files into a folder, under the names that the registries give them.

    Raises:
        MissingRequirementError: a tool is absent, there is no network, or a version is served no longer.
    """
    packages = [pin for pin in wanted if pin.kind == "package"]
    wheels = [pin for pin in wanted if pin.kind == "wheel"]
    if packages:
        _packages(packages, folder)
    if wheels:
        _wheels(wheels, folder)


def _packages(wanted: Sequence[Pin], folder: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingRequirementError(
                f"arm64-emulated is laid from Debian packages, and {tool} is not here; install on Debian 12 and copy "
                "the cache folder, or verify there"
            )
    with tempfile.TemporaryDirectory() as name:
        apt = ["apt-get", *_private(Path(name))]
        # A source of this machine that has nothing for arm64 may fail; what counts is whether the download succeeds.
        update = _run([*apt, "update"], folder)
        names = [f"{pin.name}={pin.version}" for pin in wanted]
        done = _run([*apt, "download", *names], folder)
    if done.returncode:
        reason = _last(done) or _last(update)
        raise MissingRequirementError(
            f"{', '.join(pin.title for pin in wanted)} (Debian 12, arm64) {UNSERVED} by apt: {reason}; without network "
            "wait for it; a version that is served no longer needs a newer edgekd"
        )


def _private(state: Path) -> list[str]:
    """Options by which apt sees arm64 alone and leaves the system's own lists and caches as they are."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    (state / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "APT::Sandbox::User": "root",  # as root apt would become a user who may not write into our folder
        "Dir::State": str(state / "state"),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(state / "cache"),
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _wheels(wanted: Sequence[Pin], folder: Path) -> None:
    names = [f"{pin.name}=={pin.version}" for pin in wanted]
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    done = _run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp", *platforms, *names),
        ],
        folder,
    )
    if done.returncode:
        raise MissingRequirementError(
            f"{', '.join(pin.title for pin in wanted)} (Python 3.11, aarch64) {UNSERVED} by pip: {_last(done)}"
        )


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise MissingRequirementError(
            f"the user land of arm64-emulated {UNSERVED}: {command[0]} took more than {SECONDS} s"
        ) from None


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "ERROR:"))] or done.stderr.splitlines()
    return lines[-1].strip() if lines else ""
