"""What the environment has and what it lacks, each with its remedy.

A check *fails* where builds cannot work without it, and *notes* what is optional or worth knowing. Nothing is changed,
and nothing heavy is imported here: TensorFlow is tried in a process of its own.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekd import requirements
from edgekd.units import format_bytes

OK, NOTE, FAIL = "ok", "note", "fail"
SECONDS_TO_IMPORT = 120.0
# TensorFlow's import alone is 0.6 GiB; a small network in training takes about 1.5 GiB more.
LEAST_MEMORY = 3 * 2**30
LEAST_DISK = 2 * 2**30
# Packages that bring the module "tensorflow" too: the one installed last has overwritten the others' files.
RIVALS = ("tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel", "tensorflow-macos", "tf-nightly", "tf-nightly-cpu")

# Programs outside of Python: what looks for them, and where they come from.
TOOLS: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "qemu": (("qemu-aarch64", "qemu-aarch64-static"), "emulated Arm processors", "apt-get install qemu-user"),
    "adb": (("adb",), "models and figures to and from an Android phone", "apt-get install adb"),
    "ssh": (("ssh",), "devices and machines reached over the network", "apt-get install openssh-client"),
    "dcmtk": (("dcmdump",), "DICOM files held against a second reader, in the tests", "apt-get install dcmtk"),
    "Rscript": (("Rscript",), "statistics held against R, in the tests", "apt-get install r-base-core"),
    "chromium": (
        ("chromium", "chromium-browser", "google-chrome"),
        "the report looked at in a browser, in the tests",
        "apt-get install chromium",
    ),
    "java": (("javac",), "the Android demo", "apt-get install openjdk-17-jdk-headless maven"),
}

_TRY = (
    "import sys\n"
    "from edgekd._keras import tf, tf_keras, tfmot\n"
    "from edgekd import _litert\n"
    "tfmot()\n"
    "total = float(tf.reduce_sum(tf.linalg.matmul(tf.ones((2, 2)), tf.ones((2, 2)))))\n"
    "sys.stdout.write(f\"{total:g} {len(tf.config.list_physical_devices('GPU'))}\")\n"
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        state: ``ok``, ``note`` or ``fail``.
        found: what is there.
        remedy: what to do; empty where there is nothing to do.
    """

    name: str
    state: str
    found: str
    remedy: str = ""


def examine(cache_root: Path | None, out: Path, environment: Mapping[str, str] | None = None) -> list[Check]:
    """Look at everything.

    Args:
        cache_root: folder of the cache; None where what would name it is not installed.
        out: folder that would hold run folders.
        environment: variables of the process; ``os.environ`` by default.
    """
    variables = os.environ if environment is None else environment
    return [
        python(),
        *packages(),
        *keras(variables),
        tensorflow_works(),
        cores(),
        memory(),
        *([disk("cache", cache_root, "--cache-dir")] if cache_root else []),
        disk("output", out, "--out"),
        *extras(),
        *tools(),
    ]


def default_cache() -> Path | None:
    """The cache that builds use; None where the package that names it is among what is missing."""
    from edgekd.cache import default_root

    try:
        return default_root()
    except ImportError:
        return None


def python() -> Check:
    """The interpreter; the package is installed on a version that it supports, or not at all."""
    return Check("Python", OK, f"{platform.python_version()}, {platform.machine()}, {platform.system()}")


def packages(known: list[requirements.Requirement] | None = None) -> Iterator[Check]:
    """Every package that edgekd needs, and others that would get in its way."""
    wanted = requirements.requirements() if known is None else known
    if not wanted:
        yield Check("edgekd", NOTE, "run from a folder, not installed", "python -m pip install . in that folder")
    for need in (need for need in wanted if not need.extra):
        found = requirements.installed(need.name)
        remedy = f'python -m pip install "{need.name}{need.bounds}"'
        if found is None:
            yield Check(need.name, FAIL, "not installed", remedy)
        elif not need.admits(found):
            yield Check(need.name, FAIL, f"{found}, wanted {need.bounds}", remedy)
        else:
            yield Check(need.name, OK, found)
    for rival in RIVALS:
        if found := requirements.installed(rival):
            yield Check(
                rival,
                FAIL,
                f"{found}, beside tensorflow; both write the same files",
                f"python -m pip uninstall --yes {rival} tensorflow, then python -m pip install tensorflow",
            )


def keras(variables: Mapping[str, str]) -> Iterator[Check]:
    """The three ways in which the two Kerases are mixed up."""
    tensorflow, legacy, third = (requirements.installed(name) for name in ("tensorflow", "tf-keras", "keras"))
    if tensorflow and legacy and tensorflow.split(".")[:2] != legacy.split(".")[:2]:
        yield Check(
            "Keras 2",
            FAIL,
            f"tf-keras {legacy} with tensorflow {tensorflow}; they go together by their first two numbers",
            f'python -m pip install "tf-keras~={".".join(tensorflow.split(".")[:2])}.0"',
        )
    elif legacy:
        yield Check("Keras 2", OK, f"tf-keras {legacy}: what edgekd trains with")
    else:
        yield Check("Keras 2", FAIL, "tf-keras is not installed", f'python -m pip install "tf-keras~={tensorflow}"')
    if third and third.split(".")[0] == "3":
        yield Check("Keras 3", OK, f"keras {third} beside it: reads teachers of Keras 3, and is not in the way")
    else:
        found = f"keras {third}" if third else "not installed"
        yield Check(
            "Keras 3", NOTE, f"{found}; teachers of Keras 3 are not read", 'python -m pip install --upgrade "keras>=3"'
        )
    if "TF_USE_LEGACY_KERAS" in variables:
        yield Check(
            "TF_USE_LEGACY_KERAS",
            NOTE,
            f'set to "{variables["TF_USE_LEGACY_KERAS"]}"; edgekd needs no such variable, and other programs may break',
            "unset TF_USE_LEGACY_KERAS",
        )
    backend = variables.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        yield Check(
            "KERAS_BACKEND",
            NOTE,
            f'set to "{backend}"; teachers of Keras 3 are run on tensorflow',
            "unset KERAS_BACKEND",
        )


def tensorflow_works(command: tuple[str, ...] = (sys.executable, "-c", _TRY)) -> Check:
    """Import what training needs in a process of its own, and multiply two matrices."""
    name, reinstall = "TensorFlow runs", "python -m pip install --force-reinstall tensorflow, or a new environment"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_IMPORT, check=False)
    except subprocess.TimeoutExpired:
        return Check(name, FAIL, f"no answer within {SECONDS_TO_IMPORT:g} s", "try again on a machine that is not busy")
    if done.returncode < 0:
        return Check(
            name,
            FAIL,
            f"its process was ended by signal {-done.returncode}",
            "signal 4: this processor lacks instructions (AVX) that TensorFlow's wheels use; take another machine. "
            f"Else: {reinstall}",
        )
    total, _, gpus = done.stdout.partition(" ")
    if done.returncode or total != "8":  # ones (2, 2) times ones (2, 2): four twos
        reason = (done.stderr.strip().splitlines() or [f"it answered {done.stdout!r}"])[-1]
        return Check(name, FAIL, reason, reinstall)
    return Check(name, OK, "on the processor alone" if gpus == "0" else f"sees {gpus} GPU(s)")


def cores() -> Check:
    """Cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("cores", OK, f"{usable} usable of {os.cpu_count()}")


def memory(limit_file: Path = Path("/sys/fs/cgroup/memory.max")) -> Check:
    """What is available now, and what a container leaves of it."""
    try:
        import psutil
    except ImportError:
        return Check("memory", NOTE, "not known without psutil", "python -m pip install psutil")
    state = psutil.virtual_memory()
    total, free = int(state.total), int(state.available)
    limit = ""
    if limit_file.is_file() and (text := limit_file.read_text().strip()).isdigit() and int(text) < total:
        total, limit = int(text), " (the limit of this container)"
        free = min(free, total)
    found = f"{format_bytes(free)} available of {format_bytes(total)}{limit}"
    if free < LEAST_MEMORY:
        return Check("memory", NOTE, found, "close other programs, or lower the batch_size and data.image_size")
    return Check("memory", OK, found)


def disk(name: str, folder: Path, option: str) -> Check:
    """Free space of the disk that a folder is on, or will be on, and whether it can be written."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return Check(name, FAIL, f'"{place}" is a file', f"name another folder with {option}")
    if not os.access(place, os.W_OK):
        return Check(name, FAIL, f'"{folder}" cannot be written', f"name another folder with {option}")
    free = shutil.disk_usage(place).free
    found = f"{folder}: {format_bytes(free)} free"
    if free < LEAST_DISK:
        remedy = "free space (edgekd cache prune)" if name == "cache" else "free space"
        return Check(name, NOTE, found, f"{remedy}, or name another folder with {option}")
    return Check(name, OK, found)


def extras(known: list[requirements.Requirement] | None = None) -> Iterator[Check]:
    """Optional features that are packages: whether all of each are there."""
    needs: dict[str, list[requirements.Requirement]] = {}
    for need in requirements.requirements() if known is None else known:
        if need.extra and need.extra != "dev":
            needs.setdefault(need.extra, []).append(need)
    for extra, wanted in needs.items():
        found = {need.name: requirements.installed(need.name) for need in wanted}
        wrong = [need.name for need in wanted if found[need.name] is None or not need.admits(str(found[need.name]))]
        told = ", ".join(f"{name} {version or 'not installed'}" for name, version in found.items())
        remedy = f'python -m pip install "edgekd[{extra}]"' if wrong else ""
        yield Check(f"extra {extra}", NOTE if wrong else OK, told, remedy)


def tools(which: Callable[[str], str | None] = shutil.which) -> Iterator[Check]:
    """Optional programs."""
    for name, (programs, purpose, remedy) in TOOLS.items():
        path = next((found for program in programs if (found := which(program))), None)
        if path is None:
            yield Check(name, NOTE, f"not found; for {purpose}", f"{remedy} (Debian's name; optional)")
        else:
            yield Check(name, OK, f"{path}: for {purpose}")
