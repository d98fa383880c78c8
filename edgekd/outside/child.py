"""The far side of :mod:`edgekd.outside`: ``python -m edgekd.outside.child TASK``, asked like ``model_child``."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from edgekd import model_child
from edgekd._litert import as_input, open_interpreter
from edgekd.errors import ModelError

NUM_INPUTS = 16


def inputs(request: dict[str, Any]) -> dict[str, Any]:
    """Write inputs of ``model`` to ``out``: ``images`` in its type, or ``NUM_INPUTS`` made up from ``seed``."""
    interpreter = open_interpreter(request["model"])
    details, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(details) != 1 or len(outputs) != 1:
        raise ModelError(f"the model has {len(details)} inputs and {len(outputs)} outputs; one of each can be compared")
    shape, dtype = tuple(int(side) for side in details[0]["shape"]), np.dtype(details[0]["dtype"])
    if request["images"] is None:
        if not np.issubdtype(dtype, np.number):
            raise ModelError(f"the model takes {dtype.name}; only numbers can be made up as input")
        generator = np.random.default_rng(request["seed"])
        made = [model_child.made_up(shape, index, generator) for index in range(NUM_INPUTS)]
        values = np.concatenate([model_child.in_range(unit, dtype, 0.0, 255.0) for unit in made])
    else:
        values = as_input(interpreter, np.load(request["images"], allow_pickle=False))
    np.save(request["out"], values, allow_pickle=False)
    return {
        "input": dtype.name,
        "output": np.dtype(outputs[0]["dtype"]).name,
        "shape": list(shape[1:]),
        "made_up": request["images"] is None,
    }


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
    "inputs": inputs,
    "litert_answers": litert_answers,
    "onnx_answers": onnx_answers,
    "time_onnx": time_onnx,
}

if __name__ == "__main__":
    model_child.main(TASKS)
