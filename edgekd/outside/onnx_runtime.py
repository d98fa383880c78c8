"""The same INT8 model in ONNX Runtime, beside LiteRT: first its answers, then its time."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import onnx_export
from edgekd.apart import ask
from edgekd.data.source import Pictures
from edgekd.errors import ModelError
from edgekd.onnx_export import MAX_UNITS
from edgekd.outside.session import CHILD, Beside, Session, Times, beside, interleave, time_litert, write_inputs
from edgekd.progress import Progress


@dataclass(frozen=True)
class Answers:
    """How two int8 outputs differ.

    Attributes:
        num_inputs: how many inputs were compared.
        max_units: largest difference of one number, in int8 units.
        num_inputs_differing: inputs with any difference.
        top1_flips: inputs whose largest output is another one; a tie goes to the first.
    """

    num_inputs: int
    max_units: int
    num_inputs_differing: int
    top1_flips: int


@dataclass(frozen=True)
class OnnxComparison:
    """What ONNX Runtime makes of one model; ``times`` is None where its answers are further off than ``MAX_UNITS``."""

    answers: Answers
    times: Beside | None
    onnxruntime: str
    made_up_input: bool

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "onnxruntime": self.onnxruntime,
            "num_threads": 1,
            "made_up_input": self.made_up_input,
            "answers": vars(self.answers),
            **({} if self.times is None else self.times.as_json()),
        }


def compare_answers(first: NDArray[np.int8], second: NDArray[np.int8]) -> Answers:
    """Compare int8 outputs ``(n, k)`` of two runtimes on the same inputs.

    Raises:
        ModelError: other shapes or types, which no conversion of one model gives.
    """
    if first.shape != second.shape or first.dtype != np.int8 or second.dtype != np.int8:
        raise ModelError(
            f"LiteRT gives {first.dtype.name} {first.shape} and ONNX Runtime {second.dtype.name} {second.shape}; "
            "outputs of another shape or type cannot be compared"
        )
    difference = np.abs(first.astype(np.int64) - second.astype(np.int64))
    return Answers(
        num_inputs=len(first),
        max_units=int(difference.max(initial=0)),
        num_inputs_differing=int((difference > 0).any(axis=1).sum()),
        top1_flips=int((first.argmax(axis=1) != second.argmax(axis=1)).sum()),
    )


def compare(
    model: Path,
    session: Session,
    *,
    pictures: Pictures | None = None,
    progress: Progress | None = None,
) -> OnnxComparison:
    """Convert a model to ONNX, compare its answers, and time both runtimes interleaved, on one thread each.

    Args:
        model: .tflite with int8 input and int8 output.
        session: how long to measure.
        pictures: brought to its input size; None, or a model of no RGB square, has its input made up.
        progress: where the processes are counted.

    Raises:
        MissingRequirementError: the extra ``onnx`` is not installed.
        ModelError: the model is of another kind.
        ConversionError: tf2onnx cannot convert it.
    """
    onnx_export.require("--onnx-runtime", (*onnx_export.PACKAGES, "onnxruntime"))
    title = f'model "{model.name}"'
    with tempfile.TemporaryDirectory() as folder:
        inputs, converted = Path(folder) / "inputs.npy", Path(folder) / "model.onnx"
        kind = write_inputs(model, inputs, session, pictures)
        _require_int8(model, kind)
        onnx_export.to_onnx(model, converted)
        outputs = []
        for task, path in (("litert_answers", model), ("onnx_answers", converted)):
            out = Path(folder) / f"{task}.npy"
            ask(task, {"model": str(path), "images": str(inputs), "out": str(out)}, f"{title} in {task}", module=CHILD)
            outputs.append(np.load(out, allow_pickle=False))
        answers = compare_answers(outputs[0], outputs[1])

        def time_onnx() -> Times:
            request = {"model": str(converted), "images": str(inputs)}
            runs = {"warmup_runs": session.warmup_runs, "num_runs": session.num_runs}
            answer = ask("time_onnx", {**request, **runs}, f"{title} as ONNX", module=CHILD)
            return np.array(answer["invoke_ms"], np.float64)

        times = None
        if answers.max_units <= MAX_UNITS:
            contenders = {"litert": lambda: time_litert(model, inputs, session), "onnx": time_onnx}
            found = interleave(contenders, session, title=f"{model.name}: LiteRT, ONNX Runtime", progress=progress)
            times = beside(found["litert"], found["onnx"])
    return OnnxComparison(answers, times, version("onnxruntime"), bool(kind["made_up"]))


def require(model: Path) -> None:
    """Raise MissingRequirementError or ModelError where a model cannot be compared, before anything is measured."""
    onnx_export.require("--onnx-runtime", (*onnx_export.PACKAGES, "onnxruntime"))
    with tempfile.TemporaryDirectory() as folder:
        _require_int8(model, write_inputs(model, Path(folder) / "inputs.npy", Session()))


def _require_int8(model: Path, kind: Mapping[str, Any]) -> None:
    if (kind["input"], kind["output"]) != ("int8", "int8"):
        raise ModelError(
            f'model "{model.name}" takes {kind["input"]} and gives {kind["output"]}; ONNX Runtime is compared on a '
            "model with int8 input and output, such as student_int8_io.tflite"
        )
