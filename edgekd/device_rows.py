"""Read what the Android app measured, and set it beside the host's figures in a run's report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd._litert import KERNELS
from edgekd.errors import DataError
from edgekd.latency import runs_needed
from edgekd.rewrite import rewrite

KIND = "device_benchmark"
SCHEMA_VERSION = 1
MAX_BYTES = 1_000_000


def add_device_rows(run: Path, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Add one latency row per file to the model of the run that the app timed, and write the report anew.

    A row of the same device, kernel and thread count is replaced.

    Args:
        run: a finished run.
        files: what the app saved (``device_benchmark`` JSON).

    Returns:
        The rows, as they stand in ``report.json``.

    Raises:
        UserError: no finished run.
        DataError: a file that the app did not write, or one about a model that the run does not have.
    """
    rows: list[dict[str, Any]] = []
    rewrite(run, lambda document: _add(document, run, files, rows))
    return rows


def _add(document: dict[str, Any], run: Path, files: Sequence[Path], rows: list[dict[str, Any]]) -> None:
    for path in files:
        digest, row = read_row(path)
        model = next((model for model in document["models"] if model["sha256"] == digest), None)
        if model is None:
            raise DataError(
                f'"{path}" was measured on another model (SHA-256 {digest[:12]}…) than those of run "{run}"; '
                "name the run whose bundle is in the app"
            )
        same = ("target", "kernel", "num_threads")
        model["latency"] = [old for old in model["latency"] if any(old[key] != row[key] for key in same)] + [row]
        rows.append(row)


def read_row(path: Path) -> tuple[str, dict[str, Any]]:
    """Read one file of the app: the SHA-256 of the model that was timed, and its latency row.

    Percentiles that so few runs cannot certify are left out, as on the host; one process says nothing of others, so
    that the median has no interval.

    Raises:
        DataError: not such a file; the message names the field.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f'"{path}" is too large to be the benchmark of an app')
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f'"{path}" cannot be read: {error.strerror}') from None
    except (ValueError, RecursionError):
        raise DataError(f'"{path}" is not JSON; name the file that the app saved') from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise DataError(f'"{path}" is not a benchmark of the app (kind = "{KIND}"); name the file that the app saved')
    if document.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f'"{path}" has schema_version {document.get("schema_version")}, this edgekd reads {SCHEMA_VERSION}; '
            "update edgekd, or the app"
        )

    def field(dotted: str, holds: Callable[[Any], bool], wanted: str) -> Any:
        value: Any = document
        for name in dotted.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if not holds(value):
            raise DataError(f'"{path}": {dotted} = {json.dumps(value)[:60]}; {wanted} is wanted; save it again')
        return value

    device = {name: field(f"device.{name}", _is_text, "text") for name in ("manufacturer", "model", "abi")}
    system = field("device.android_version", _is_text, "text")
    num_runs = field("num_runs", _is_count, "a count")
    invoke = {name: field(f"invoke.{name}", _is_time, "a time in milliseconds") for name in _PERCENTILES}
    row = {
        "target": f"{device['manufacturer']} {device['model']} ({device['abi']}, Android {system})",
        "figures": "measured",
        "kernel": field("kernel", lambda value: value in KERNELS, " or ".join(KERNELS)),
        **{name: invoke[name] if num_runs >= runs_needed(percent) else None for name, percent in _PERCENTILES.items()},
        "p50_ci95_ms": None,
        "init_ms": field("init_ms", _is_time, "a time in milliseconds"),
        "num_runs": num_runs,
        "num_processes": field("num_processes", _is_count, "a count"),
        "num_threads": field("num_threads", _is_count, "a count"),
        "runtime": field("runtime", _is_text, "text"),
        "preprocessing_p50_ms": field("preprocessing.p50_ms", _is_time, "a time in milliseconds"),
    }
    return field("model_sha256", _is_digest, "a SHA-256"), row


_PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 10**9


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
