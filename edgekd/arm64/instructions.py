"""Instructions that a 64-bit Arm processor executes for one inference, counted by a plug-in of the emulator.

A count is no latency: of two models the one with more instructions may well be the faster one.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path
from statistics import median

from edgekd import apart
from edgekd.arm64 import emulator
from edgekd.errors import MissingRequirementError

RUNS = 5
_WARMUP = 2
# The emulated program gets the same random numbers in each run: the seeds of its hashes change its path. What stays is
# its surroundings (names of temporary files, addresses), worth a few instructions in ten thousand.
_SEED = ("-seed", "1", "-E", "PYTHONHASHSEED=0")


def instructions(path: Path, root: Path, cpu: str, kernel: str = "xnnpack") -> int:
    """Instructions of one inference, one thread: the median of some, the marks' own taken off.

    Args:
        path: the model.
        root: of the user land.
        cpu: of ``emulator.CPUS``.
        kernel: ``xnnpack``, ``builtin`` or ``reference``.

    Raises:
        ModelError: a model that does not run.
        MissingRequirementError: no compiler, no emulator, or one that takes no plug-in of interface 1.
    """
    with tempfile.TemporaryDirectory() as name:
        plugin, counts = Path(name) / "count.so", Path(name) / "counts"
        build(plugin)
        _try(plugin, counts)
        options = (*_SEED, "-plugin", f"{plugin},out={counts}")
        request = {"model": str(path), "kernel": kernel, "runs": RUNS}
        with emulator.python(root, cpu, options) as command:
            title = f'model "{path.name}" on the emulated {cpu}'
            apart.ask("count", request, title, emulator.SECONDS, module="edgekd.arm64.count_child", python=command)
        return per_inference([int(line) for line in counts.read_text().split()])


def per_inference(counts: list[int]) -> int:
    """The median of what lies between the marks around inferences, less what lies between two marks alone.

    Args:
        counts: pairs of marks: ``_WARMUP`` of them with nothing between, then one around each inference.
    """
    between = [after - before for before, after in zip(counts[::2], counts[1::2], strict=True)]
    return round(median(between[_WARMUP:]) - median(between[:_WARMUP]))


def build(plugin: Path) -> None:
    """Compile the plug-in. Raises MissingRequirementError without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise MissingRequirementError("instructions are counted by a plug-in that a C compiler builds; install gcc")
    source = str(resources.files("edgekd.arm64") / "count.c")
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(plugin), source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise MissingRequirementError(f"the plug-in cannot be built with {compiler}: {done.stderr.strip()[-300:]}")


def _try(plugin: Path, counts: Path) -> None:
    """A static build of qemu has no plug-ins, and newer ones have another interface: both say so before they run."""
    found = emulator.find()
    command = [found, "-plugin", f"{plugin},out={counts}", "/absent"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if "plugin" in line.lower()]
    if lines:
        raise MissingRequirementError(
            f"{emulator.version(found)} takes no plug-in of interface 1 ({lines[0]}); qemu-user of Debian 12 does"
        )
