"""A model compiled for an Arm Ethos-U by Arm's Vela: what stays on the CPU, and Arm's estimates of the rest.

Vela has no hardware: its cycles come from a model of the processor and of its memory ("estimates" in its own words),
and are called Arm's estimates wherever they are shown. They are no latency.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd import apart
from edgekd.errors import MissingRequirementError, ModelError
from edgekd.inspect.forecast import ethos_u55
from edgekd.target import Npu
from edgekd.tflite.view import View, open_view

PACKAGE = "ethos-u-vela"
OPERATOR = "ethos-u"
"""What Vela calls the custom operator that holds a command stream for the NPU."""
SECONDS = 300.0
_KIB = 1024


def require() -> str:
    """The version of Vela; raise MissingRequirementError where it is not installed."""
    if importlib.util.find_spec("ethosu") is None:
        raise MissingRequirementError(
            'a target with an Ethos-U is compiled by Arm\'s Vela; pip install "edgekd[npu]". '
            "edgekd inspect MODEL.tflite foretells without it what would stay on the CPU"
        )
    return importlib.metadata.version(PACKAGE)


def compile_for(npu: Npu, model: Path, out: Path, seconds: float = SECONDS) -> dict[str, Any]:
    """Compile a model, in a process of its own, and hold the result against the forecast.

    Args:
        npu: which accelerator, in which system.
        model: .tflite, also a stranger's.
        out: where the compiled .tflite goes.
        seconds: longest time.

    Returns:
        ``version``, ``accelerator``, ``system``, ``memory``; ``predicted`` and ``confirmed``, how many operators of
        each name stay on the CPU by the published table and in the compiled file; ``agree``; ``num_operators`` before;
        ``num_streams``, the pieces that go to the NPU; ``estimates``, Arm's: ``cycles_npu``, ``cycles_total``,
        ``sram_bytes``, ``flash_bytes``, ``clock_hz`` of the system that they suppose.

    Raises:
        MissingRequirementError: Vela is not installed.
        ModelError: no model, one that Vela refuses or that crashes it, or that takes too long.
    """
    version, view = require(), open_view(model)
    options = ["--accelerator-config", npu.accelerator, "--config", "Arm/vela.ini"]
    options += ["--system-config", npu.system, "--memory-mode", npu.memory]
    with tempfile.TemporaryDirectory() as name:
        # Under a name of ours: Vela names its files after the model's.
        copy, folder = Path(name) / "model.tflite", Path(name) / "out"
        shutil.copyfile(model, copy)
        request = {"model": str(copy), "options": options, "folder": str(folder)}
        title = f'model "{model.name}" in Vela {version}'
        try:
            apart.ask("compile", request, title, seconds, module="edgekd.vela_child")
        except ModelError as error:
            reason = str(error)
            raise ModelError(reason if reason.startswith(title) else f"{title}: {reason}") from None
        compiled, summaries = folder / "model_vela.tflite", sorted(folder.glob("model_summary_*.csv"))
        if not compiled.is_file() or len(summaries) != 1:
            raise ModelError(f"{title}: it wrote no compiled model; the file is damaged, or empty of operators")
        summary = summary_of(summaries[0].read_text(encoding="utf-8"))
        after = open_view(compiled)
        shutil.copyfile(compiled, out)
    predicted, confirmed = falls_back(view), on_cpu(after)
    return {
        "version": version,
        **{"accelerator": npu.accelerator, "system": npu.system, "memory": npu.memory},
        "num_operators": len(view.operators),
        "num_streams": after.operator_counts.get(OPERATOR, 0),
        **{"predicted": predicted, "confirmed": confirmed, "agree": predicted == confirmed},
        "estimates": summary,
    }


def falls_back(view: View) -> dict[str, int]:
    """How many operators of each name the published table leaves to the CPU; by name."""
    return dict(sorted(Counter(step.name for step in view.operators if ethos_u55(view, step) is not None).items()))


def on_cpu(compiled: View) -> dict[str, int]:
    """How many operators of each name a compiled model leaves to the CPU; by name."""
    return {name: count for name, count in sorted(compiled.operator_counts.items()) if name != OPERATOR}


def summary_of(text: str) -> dict[str, int]:
    """Arm's estimates from Vela's summary, a CSV of one row; it gives memory in KiB.

    Raises:
        ModelError: a column is missing or no number, which another version of Vela may bring.
    """
    rows = list(csv.DictReader(text.splitlines()))
    try:
        (row,) = rows
        flash = float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"])
        return {
            **{name: round(float(row[name])) for name in ("cycles_npu", "cycles_total")},
            "sram_bytes": round(_KIB * float(row["sram_memory_used"])),
            "flash_bytes": round(_KIB * flash),
            "clock_hz": round(float(row["core_clock"])),
        }
    except (KeyError, ValueError, OverflowError, TypeError) as error:
        raise ModelError(f"Vela's summary cannot be read ({type(error).__name__}: {error}); {_REMEDY}") from None


_REMEDY = "install the version of ethos-u-vela that requirements.lock names"


def in_words(found: Mapping[str, Any]) -> str:
    """What stays on the CPU, and whether the table foretold it."""
    taken = found["num_operators"] - sum(found["confirmed"].values())
    text = f"Vela {found['version']} puts {taken} of {found['num_operators']} operators on {found['accelerator']}"
    if found["confirmed"]:
        text += f"; on the CPU stay {_counted(found['confirmed'])}"
    if found["agree"]:
        return f"{text}, as the published table foretold"
    return f"{text}; the published table foretold {_counted(found['predicted']) or 'none'}"


def estimates_in_words(found: Mapping[str, Any]) -> str:
    """Arm's estimates, called so."""
    if not found["num_streams"]:
        return "Nothing of it runs on the NPU, and Arm estimates nothing"
    arm = found["estimates"]
    left_out = ", without what stays on the CPU" if found["confirmed"] else ""
    return (
        f"Arm's estimates for {found['system']}, {found['memory']}, at {arm['clock_hz'] / 1e6:,.0f} MHz: "
        f"{arm['cycles_total']:,} cycles an inference{left_out}, {arm['sram_bytes']:,} bytes of SRAM, "
        f"{arm['flash_bytes']:,} of flash. They are no latency: nothing was run"
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} x {count}" if count > 1 else name for name, count in counts.items())
