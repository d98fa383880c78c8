"""Measure on another machine through ``ssh``: models, inputs and the measuring modules go there, figures come back.

Nothing need be installed there but python3, numpy and ai-edge-litert; what is laid down is removed again.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data.source import Pictures
from edgekd.errors import BenchmarkError, MissingRequirementError
from edgekd.outside import far_probe
from edgekd.outside.device import DeviceReport, checked, figures, number, ratio_rows, text
from edgekd.outside.session import Session, measuring_request, write_inputs
from edgekd.outside.shipped import modules_of
from edgekd.outside.ssh_connection import SshHost, run_program
from edgekd.target import Target
from edgekd.units import format_bytes

logger = logging.getLogger("edgekd")
PROBE_SECONDS = 60
SECONDS_PER_PROCESS = 600
BUSY_SHARE = 0.25  # of the processors, by the load average


def examine(host: SshHost, payload_bytes: int) -> dict[str, Any]:
    """Ask what the machine is, and refuse it where something is missing.

    Args:
        host: the machine.
        payload_bytes: what will be laid down on it.

    Returns:
        ``python``, ``machine``, ``litert``, ``system``, ``cpu``, ``board`` as text; ``cores``, ``load``.

    Raises:
        MissingRequirementError: python3 is too old, a package or disk space is missing.
        BenchmarkError: it cannot be reached.
    """
    found = run_program(host, _program("far_probe.py"), [], PROBE_SECONDS)
    version = text(found.get("python"))
    numbers = re.match(r"(\d{1,3})\.(\d{1,3})", version)
    minimum = ".".join(map(str, far_probe.MINIMUM))
    if not numbers or (int(numbers[1]), int(numbers[2])) < far_probe.MINIMUM:
        raise MissingRequirementError(
            f"{host.destination} has Python {version or 'of no version'}; {minimum} or newer is needed. Name another "
            "with --device-python"
        )
    missing = found.get("missing")
    if not isinstance(missing, list):
        raise BenchmarkError(f"{host.destination} did not say which packages it has")
    if missing:
        names = " ".join(name.replace("_", "-") for name in far_probe.PACKAGES if name in missing)
        raise MissingRequirementError(
            f"{host.destination}: its {host.python} lacks {names}; run there: {shlex.quote(host.python)} -m pip "
            f"install {names} (or in a virtual environment, and then --device-python venv/bin/python)"
        )
    free = number(found.get("free_bytes"), 0, 2**70, "free_bytes")
    if free < payload_bytes:
        raise MissingRequirementError(
            f"{host.destination} has {format_bytes(int(free))} left in {text(found.get('folder'))}; "
            f"{format_bytes(payload_bytes)} are needed"
        )
    cores, load = found.get("cores"), found.get("load")
    return {
        **{key: text(found.get(key)) for key in ("python", "machine", "litert", "system", "cpu", "board")},
        "cores": int(number(cores, 1, 1 << 20, "cores")),
        "load": None if load is None else number(load, 0, 1e6, "load"),
    }


def measure(
    host: SshHost,
    models: Mapping[str, Path],
    session: Session,
    profile: Target,
    *,
    pictures: Pictures | None = None,
) -> DeviceReport:
    """Time models on the machine, interleaved, each time in a process of its own.

    Args:
        host: the machine.
        models: files by name; ratios are against the first.
        session: processes, runs, seed.
        profile: kernel and threads.
        pictures: brought to each model's input size; None, or a model of no RGB square, has its input made up.

    Raises:
        MissingRequirementError: something is missing here or there; the message says what, and how to get it.
        BenchmarkError: no connection, no answer, or figures that are none.
        ModelError: a file that is no model.
    """
    warnings: list[str] = []
    files: list[tuple[str, bytes]] = list(modules_of("measure").items())
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, path) in enumerate(models.items()):
            inputs = Path(folder) / f"{index}.npy"
            if write_inputs(path, inputs, session, pictures)["made_up"]:
                warnings.append(f"{name} was timed on made-up input")
            files += [(f"model{index}.tflite", path.read_bytes()), (f"input{index}.npy", inputs.read_bytes())]
    machine = examine(host, sum(len(content) for _, content in files))
    generator = np.random.default_rng(session.seed)
    order = [int(index) for _ in range(session.num_processes) for index in generator.permutation(len(models))]
    jobs = [
        measuring_request(
            f"model{index}.tflite",
            f"input{index}.npy",
            session,
            kernel=profile.kernel,
            num_threads=profile.num_threads,
        )
        for index in order
    ]
    seconds = float(SECONDS_PER_PROCESS * len(jobs))
    header = {"files": [(name, len(content)) for name, content in files], "jobs": jobs, "seconds": seconds}
    payload = [json.dumps(header).encode() + b"\n", *(content for _, content in files)]
    logger.info("%s: %d processes; their figures come back at the end", host.destination, len(jobs))
    document = run_program(host, _program("far_side.py"), payload, seconds + PROBE_SECONDS)
    names = list(models)
    if "failed" in document:
        raise _failure(host, document, names)
    rows = document.get("answers")
    if not isinstance(rows, list) or len(rows) != len(jobs):
        raise BenchmarkError(f"{host.destination} did not answer for every process")
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for index, row in zip(order, rows, strict=True):
        answers[names[index]].append(checked(row))
    device = f"ssh:{host.destination}"
    if machine["load"] is not None and machine["load"] > BUSY_SHARE * machine["cores"]:
        warnings.append(
            f"{host.destination} was busy before: a load of {machine['load']:.1f} on {machine['cores']} cores"
        )
    if profile.num_threads > machine["cores"]:
        warnings.append(f"target {profile.name} runs {profile.num_threads} threads on {machine['cores']} processors")
    said = (machine["board"], machine["cpu"], machine["machine"], f"{machine['cores']} cores", machine["system"])
    summary = ", ".join(part for part in said if part)
    return DeviceReport(
        device,
        f"{summary}, Python {machine['python']}, ai-edge-litert {machine['litert']}",
        machine,
        {name: figures(found, device=device, profile=profile) for name, found in answers.items()},
        ratio_rows({name: [np.array(row["invoke_ms"]) for row in found] for name, found in answers.items()}),
        warnings,
    )


def _failure(host: SshHost, document: Mapping[str, Any], names: Sequence[str]) -> Exception:
    """The error for what went wrong over there."""
    said = text(document.get("text"))
    index = re.fullmatch(r"model(\d{1,6})\.tflite", text(document.get("model")))
    model = names[int(index[1])] if index and int(index[1]) < len(names) else "a model"
    match document["failed"]:
        case "disk":
            return MissingRequirementError(f"{host.destination} has no space left: {said}")
        case "timeout":
            return BenchmarkError(f"{host.destination} took too long; lower --runs or --processes")
        case "crash":
            return BenchmarkError(f'model "{model}" crashed the interpreter on {host.destination} ({said})')
        case _:
            return BenchmarkError(f'"{model}" could not be measured on {host.destination}: {said}')


def _program(name: str) -> str:
    return (resources.files("edgekd.outside") / name).read_text(encoding="utf-8")
