"""Run :mod:`edgekd.model_child` on an emulated 64-bit Arm processor.

``qemu-aarch64`` of the system runs the Python and the LiteRT of the user land that :mod:`edgekd.arm64.install` laid.
Its time is no device's time. Of qemu 7.2: it shows the host's ``/proc/cpuinfo`` unless there is one below ``-L``, and
LiteRT, which reads it to choose its kernels, crashes over that; and ``-cpu max`` computes wrong numbers (SME).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from edgekd import apart
from edgekd.errors import MissingRequirementError

DEFAULT_CPU = "cortex-a76"
SECONDS = 3600.0
# Part number of each in its MIDR_EL1, and the features that Linux shows of it, by Arm's technical reference manuals.
_BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_CPUS: Mapping[str, tuple[str, str]] = {
    "cortex-a53": ("0xd03", _BASE),
    "cortex-a72": ("0xd08", _BASE),
    "cortex-a76": ("0xd0b", f"{_BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
}
CPUS = tuple(_CPUS)


def find() -> str:
    """Path of the emulator. Raises MissingRequirementError where there is none."""
    for name in ("qemu-aarch64", "qemu-aarch64-static"):
        if (path := shutil.which(name)) is not None:
            return path
    raise MissingRequirementError(
        "qemu-aarch64 is not installed; on Debian and Ubuntu: apt-get install qemu-user (or qemu-user-static)"
    )


def version(emulator: str) -> str:
    """``qemu-aarch64 7.2.22`` and the like."""
    done = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\S+)", done.stdout)
    return f"{Path(emulator).name} {found[1] if found else '(version unknown)'}"


def ask(root: Path, cpu: str, task: str, request: Mapping[str, Any], title: str) -> dict[str, Any]:
    """:func:`edgekd.apart.ask` on the emulated processor.

    Args:
        root: of the user land.
        cpu: of ``CPUS``.
        task: of :mod:`edgekd.model_child`.
        request: what the task takes; paths are those of this machine.
        title: what messages call the model.

    Raises:
        ModelError: as there.
        MissingRequirementError: no emulator.
    """
    with python(root, cpu) as command:
        return apart.ask(task, request, title, SECONDS, python=command)


@contextmanager
def python(root: Path, cpu: str, options: Sequence[str] = ()) -> Iterator[list[str]]:
    """The command of the emulated Python, with edgekd and the wheels of the user land to import from.

    Args:
        root: of the user land.
        cpu: of ``CPUS``.
        options: further ones of the emulator.
    """
    emulator = find()
    with tempfile.TemporaryDirectory() as name:
        # Looked at by the emulator before the machine's own files: the user land, and an Arm processor's cpuinfo.
        prefix = Path(name) / "prefix"
        (prefix / "proc").mkdir(parents=True)
        (prefix / "proc" / "cpuinfo").write_text(cpuinfo(cpu))
        for part in ("usr", "lib"):
            (prefix / part).symlink_to(root / part)
        # edgekd alone: the machine's other packages are built for its own processor.
        code = Path(name) / "code"
        code.mkdir()
        (code / "edgekd").symlink_to(Path(str(resources.files("edgekd"))).resolve())
        yield [
            *(emulator, *options, "-L", str(prefix), "-cpu", cpu),
            *("-U", "LD_PRELOAD", "-U", "LD_LIBRARY_PATH"),
            *("-E", f"PYTHONHOME={root / 'usr'}", "-E", f"PYTHONPATH={code}:{root / 'site'}"),
            *(str(root / "usr" / "bin" / "python3.11"), "-S", "-B"),
        ]


def cpuinfo(cpu: str) -> str:
    """What Linux on this processor shows in ``/proc/cpuinfo``, of one core."""
    part, features = _CPUS[cpu]
    rows = {
        **{"processor": "0", "BogoMIPS": "48.00", "Features": features, "CPU implementer": "0x41"},
        **{"CPU architecture": "8", "CPU variant": "0x0", "CPU part": part, "CPU revision": "1"},
    }
    return "".join(f"{name}\t: {value}\n" for name, value in rows.items()) + "\n"
