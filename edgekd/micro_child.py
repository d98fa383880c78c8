"""A process that runs a model by TensorFlow Lite Micro: ``python -m edgekd.micro_child TASK``.

An arena that is too small can end the process instead of raising. The near side is :mod:`edgekd.micro`.
"""

from __future__ import annotations

from typing import Any

from edgekd.model_child import main


def outputs(request: dict[str, Any]) -> dict[str, Any]:
    """Run inputs one at a time and write what the model gives, as it is.

    Args:
        request: ``model``, a path; ``inputs``, an .npy of shape ``(n, ...)`` in the model's own type; ``arena``, bytes;
            ``out``, where to write.
    """
    import numpy as np
    from tflite_micro.python.tflite_micro import runtime

    inputs = np.load(request["inputs"], allow_pickle=False)
    interpreter = runtime.Interpreter.from_file(request["model"], arena_size=request["arena"])
    wanted = interpreter.get_input_details(0)["dtype"]
    if inputs.dtype != wanted:
        raise ValueError(f"the model takes {np.dtype(wanted).name}, not {inputs.dtype}")
    rows = []
    for index in range(len(inputs)):
        interpreter.set_input(np.ascontiguousarray(inputs[index : index + 1]), 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0).ravel().copy())
    np.save(request["out"], np.stack(rows), allow_pickle=False)
    return {"num_inputs": len(rows)}


if __name__ == "__main__":
    main({"outputs": outputs})
