"""The far side of :mod:`edgekd.outside`: ``python -m edgekd.outside.child TASK``, asked like ``model_child``."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from edgekd import model_child
from edgekd._litert import open_interpreter
from edgekd.errors import ModelError


def kind(request: dict[str, Any]) -> dict[str, Any]:
    """The types of the one input and the one output of ``model``: ``{"input", "output"}``."""
    interpreter = open_interpreter(request["model"])
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"the model has {len(inputs)} inputs and {len(outputs)} outputs; one of each can be compared")
    return {"input": np.dtype(inputs[0]["dtype"]).name, "output": np.dtype(outputs[0]["dtype"]).name}


def litert_answers(request: dict[str, Any]) -> dict[str, Any]:
    """Write what LiteRT answers to ``images`` (inputs in the model's type) to ``out``, ``(n, k)``."""
    interpreter = open_interpreter(request["model"])
    index, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for values in np.load(request["images"], allow_pickle=False):
        interpreter.set_tensor(index, values[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(output).reshape(-1))
    np.save(request["out"], np.stack(rows), allow_pickle=False)
    return {"num_inputs": len(rows)}


def onnx_answers(request: dict[str, Any]) -> dict[str, Any]:
    """Write what ONNX Runtime answers to ``images`` to ``out``, ``(n, k)``."""
    from edgekd.model_process import onnx_session

    session = onnx_session(request["model"], num_threads=1)
    name = session.get_inputs()[0].name
    images = np.load(request["images"], allow_pickle=False)
    rows = [session.run(None, {name: values[None]})[0].reshape(-1) for values in images]
    np.save(request["out"], np.stack(rows), allow_pickle=False)
    return {"num_inputs": len(rows)}


def time_onnx(request: dict[str, Any]) -> dict[str, Any]:
    """Time ``num_runs`` inferences after ``warmup_runs``: ``{"invoke_ms": [...]}``.

    Input and output are bound beforehand, so that running alone is timed, as it is for LiteRT.
    """
    from edgekd.model_process import onnx_session

    session = onnx_session(request["model"], num_threads=1)
    images = np.load(request["images"], allow_pickle=False)
    binding = session.io_binding()
    binding.bind_output(session.get_outputs()[0].name)
    times = []
    for run in range(request["warmup_runs"] + request["num_runs"]):
        binding.bind_cpu_input(session.get_inputs()[0].name, images[run % len(images)][None])
        before = time.perf_counter_ns()
        session.run_with_iobinding(binding)
        times.append((time.perf_counter_ns() - before) / 1e6)
    return {"invoke_ms": times[request["warmup_runs"] :]}


TASKS: dict[str, model_child.Task] = {
    "kind": kind,
    "litert_answers": litert_answers,
    "onnx_answers": onnx_answers,
    "time_onnx": time_onnx,
}

if __name__ == "__main__":
    model_child.main(TASKS)
