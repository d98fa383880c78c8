"""Measure on an Android device: the model and the user's ``benchmark_model`` go there, its figures come back.

The tool makes its input up. What is laid into ``/data/local/tmp`` is removed again.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edgekd.errors import BenchmarkError, EdgekdError, MissingRequirementError, ModelError, RecipeError, UserError
from edgekd.op_profile import Operator
from edgekd.outside.adb_connection import AdbDevice, abi_of, connect
from edgekd.outside.benchmark_model import ToolFigures, parse_figures, parse_operators
from edgekd.outside.device import DeviceReport, ratio_rows, text
from edgekd.outside.session import Session, ends, median
from edgekd.progress import Progress
from edgekd.target import Target

logger = logging.getLogger("edgekd")
FOLDER = PurePosixPath("/data/local/tmp")
SECONDS_PER_PROCESS = 600
_PROPERTIES = {
    "manufacturer": "ro.product.manufacturer",
    "model": "ro.product.model",
    "soc": "ro.soc.model",
    "android": "ro.build.version.release",
    "abis": "ro.product.cpu.abilist",
}


def measure(
    serial: str | None,
    tool: Path | None,
    models: Mapping[str, Path],
    session: Session,
    profile: Target,
    *,
    operators: bool = False,
    progress: Progress | None = None,
) -> tuple[DeviceReport, dict[str, tuple[Operator, ...]]]:
    """Time models on the device, interleaved, each time in a process of its own.

    Args:
        serial: None takes the only device.
        tool: the ``benchmark_model`` program for the device.
        models: files by name; ratios are against the first.
        session: processes, runs, seed of the order.
        profile: kernel and threads.
        operators: profile them too, in a further process a model.
        progress: where the processes are counted.

    Returns:
        The figures, and the operators of each model.

    Raises:
        UserError: no tool, or one that is no program.
        ModelError: a file that is no model.
        MissingRequirementError: no adb, no device that can be used, a tool for other processors, a full device.
        BenchmarkError: the tool failed, or printed nothing that can be read.
    """
    if tool is None:
        raise UserError(
            "--device adb needs --benchmark-model PATH: TensorFlow Lite's benchmark_model, built for the device"
        )
    if profile.kernel == "reference":
        raise RecipeError(f'target "{profile.name}" takes the reference kernels, which benchmark_model does not have')
    abi = abi_of(tool)
    for path in models.values():
        with path.open("rb") as file:
            if file.read(8)[4:] != b"TFL3":
                raise ModelError(f'model "{path.name}": not a TensorFlow Lite file; give a .tflite')
    device = connect(serial)
    machine = {name: device.shell(["getprop", key])[1].strip() for name, key in _PROPERTIES.items()}
    machine = {name: text(value) for name, value in machine.items()}
    if abi not in machine["abis"].split(","):
        raise MissingRequirementError(
            f"--benchmark-model is for {abi}, but {device.serial} runs {machine['abis'] or 'nothing that it names'}; "
            "give a build for one of those"
        )
    names = list(models)
    found: dict[str, list[ToolFigures]] = {name: [] for name in names}
    profiles = {}
    with _laid_out(device, tool, list(models.values())) as folder:
        generator = np.random.default_rng(session.seed)
        rounds = [generator.permutation(len(names)) for _ in range(session.num_processes)]
        title = f"benchmark_model on {device.serial}"
        with (progress or Progress()).task(title, len(rounds) * len(names), "processes") as task:
            for index in np.concatenate(rounds):
                found[names[index]].append(parse_figures(_run_tool(device, folder, index, session, profile)))
                task.advance(1)
        for index, name in enumerate(names if operators else []):
            output = _run_tool(device, folder, index, session, profile, "--enable_op_profiling=true")
            profiles[name] = parse_operators(output)
    target = f"adb:{device.serial}"
    warnings = [f"{name} was timed on made-up input, which benchmark_model always takes" for name in names]
    if any(row.median_ms is None for rows in found.values() for row in rows):
        warnings.append("this build of benchmark_model prints a mean and no median; means are shown as such")
    said = (f"{machine['manufacturer']} {machine['model']}", machine["soc"], f"Android {machine['android']}", abi)
    report = DeviceReport(
        target,
        ", ".join(part.strip() for part in said if part.strip()),
        machine,
        {name: _row(rows, target, profile) for name, rows in found.items()},
        ratio_rows({name: [np.array([_middle(row)]) for row in rows] for name, rows in found.items()}),
        warnings,
    )
    return report, profiles


@contextmanager
def _laid_out(device: AdbDevice, tool: Path, models: list[Path]) -> Iterator[PurePosixPath]:
    """A folder of our own on the device with the tool and the models, removed at the end."""
    folder = FOLDER / f"edgekd-{secrets.token_hex(8)}"
    code, said = device.shell(["mkdir", str(folder)])
    if code:
        raise BenchmarkError(f"{device.serial} does not let us write to {FOLDER}: {text(said.strip())}")
    try:
        device.run(["push", str(tool), str(folder / "benchmark_model")], SECONDS_PER_PROCESS)
        for index, path in enumerate(models):
            device.run(["push", str(path), str(folder / f"model{index}.tflite")], SECONDS_PER_PROCESS)
        code, said = device.shell(["chmod", "700", str(folder / "benchmark_model")])
        if code:
            raise BenchmarkError(f"{device.serial}: chmod failed: {text(said.strip())}")
        yield folder
    finally:
        try:
            device.shell(["rm", "-rf", str(folder)])
        except EdgekdError as error:  # unplugged, most likely, which another error tells
            logger.warning("%s was left on %s: %s", folder, device.serial, error)


def _run_tool(
    device: AdbDevice, folder: PurePosixPath, index: int, session: Session, profile: Target, *options: str
) -> str:
    """One process of the tool; what it prints."""
    code, output = device.shell(
        [
            str(folder / "benchmark_model"),
            f"--graph={folder / f'model{index}.tflite'}",
            f"--num_threads={profile.num_threads}",
            f"--num_runs={session.num_runs}",
            f"--warmup_runs={session.warmup_runs}",
            "--min_secs=0",
            "--warmup_min_secs=0",
            f"--use_xnnpack={'true' if profile.kernel == 'xnnpack' else 'false'}",
            *options,
        ],
        SECONDS_PER_PROCESS,
    )
    if code:
        lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
        raise BenchmarkError(f"benchmark_model ended with {code} on {device.serial}: {text(lines[-1])}")
    return output


def _middle(row: ToolFigures) -> float:
    return row.mean_ms if row.median_ms is None else row.median_ms


def _row(rows: list[ToolFigures], target: str, profile: Target) -> dict[str, Any]:
    """One model's figures over its processes; ``p50_ms`` is the median of the tool's medians."""
    medians = [np.array([row.median_ms]) for row in rows if row.median_ms is not None]
    complete = len(medians) == len(rows)
    middle = median(medians) if complete else None
    memory = [row.memory_mb for row in rows if row.memory_mb is not None]
    return {
        "target": target,
        "figures": "measured",
        "kernel": profile.kernel,
        "p50_ms": middle.estimate if middle else None,
        "p90_ms": None,
        "p99_ms": None,
        "p50_ci95_ms": ends(middle) if middle else None,
        "mean_ms": float(np.mean([row.mean_ms for row in rows])),
        "init_ms": float(np.median([row.init_ms for row in rows])),
        "first_ms": float(np.median([row.first_ms for row in rows])),
        "num_runs": sum(row.num_runs for row in rows),
        "num_processes": len(rows),
        "num_threads": profile.num_threads,
        "peak_rss_bytes": None,
        "memory_delta_bytes": int(np.median(memory) * 2**20) if memory else None,
    }
