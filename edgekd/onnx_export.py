"""A student as ONNX, for ONNX Runtime and whatever else reads that format; equal files give equal bytes.

tf2onnx reads a .tflite or a SavedModel, in a process of its own: it loads tensorflow anew, logs, and names the tensors
differently each time. What it gives is therefore written again in a fixed order under fixed names.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekd.errors import ConversionError, MissingRequirementError

OPSET = 17
PACKAGES = ("tf2onnx", "onnx")
# LiteRT's own kernels differ among themselves by up to so many units on X-rays (DESIGN.md section 5); a runtime that
# is further off computes something else, and its time is no comparison.
MAX_UNITS = 12
BATCH = "n"
_TIMEOUT = 600  # seconds


def require(
    wish: str = "bundle.onnx = true", packages: Sequence[str] = PACKAGES, otherwise: str = "leave it out"
) -> None:
    """Raise MissingRequirementError, which names the wish, unless the packages of the extra ``onnx`` are installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingRequirementError(
            f'{wish} needs {" and ".join(missing)}; run pip install "edgekd[onnx]", or {otherwise}'
        )


def versions() -> dict[str, str]:
    """Versions of those packages."""
    return {package: version(package) for package in PACKAGES}


def to_onnx(source: Path, target: Path, *, any_batch: bool = False) -> None:
    """Convert a .tflite with int8 input and output, or a SavedModel of :mod:`edgekd.serving.saved_model`.

    Inputs and outputs keep their names, types and shapes.

    Args:
        source: a file, or a SavedModel's folder.
        target: the ``.onnx`` to be written.
        any_batch: of a .tflite, let the first side, which is 1, be any; a SavedModel's is.

    Raises:
        MissingRequirementError: tf2onnx or onnx is not installed.
        ConversionError: tf2onnx cannot convert the model.
    """
    require()
    kind = "saved_model" if source.is_dir() else "tflite_of_any_batch" if any_batch else "tflite"
    command = [sys.executable, "-m", "edgekd.onnx_export", kind, str(source), str(target)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise ConversionError(f'"{source.name}": tf2onnx did not end within {_TIMEOUT} seconds') from None
    if done.returncode or not target.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"it ended with {done.returncode}"
        raise ConversionError(f'"{source.name}" cannot be converted to ONNX: {reason}')


def main(arguments: Sequence[str]) -> None:
    """The child process: kind of the source, source and target."""
    import onnx
    import tf2onnx

    kind, source, target = arguments
    if kind == "saved_model":
        model = _of_saved_model(source)
    else:
        model = round_halves_up(tf2onnx.convert.from_tflite(source, opset=OPSET)[0])
    model = canonical(model)
    if kind != "tflite":
        of_any_batch(model)
    content = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    Path(target).write_bytes(content)


def _of_saved_model(folder: str) -> Any:
    """Its signature, whose output tf2onnx calls after an operation of the graph, under the names that it has."""
    import tensorflow as tf
    import tf2onnx

    loaded = tf.saved_model.load(folder)  # is kept: its signature does not keep the variables alive
    serve = loaded.signatures["serving_default"]
    (name, spec), (result,) = next(iter(serve.structured_input_signature[1].items())), serve.structured_outputs
    function = tf.function(lambda inputs: serve(**{name: inputs})[result])
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=name)]
    model, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = [result if name == output.name else name for name in node.output]
    output.name = result
    return model


def of_any_batch(model: Any) -> None:
    """Let the first side of input and output be any, :data:`BATCH`; a Reshape to a batch of one keeps its input's."""
    from onnx import numpy_helper

    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for number, node in enumerate(node for node in graph.node if node.op_type == "Reshape"):
        shape = constants.get(node.input[1])
        if node.input[0] in constants or shape is None or len(shape) == 0 or shape[0] != 1:
            continue
        kept = shape.copy()
        kept[0] = 0  # which ONNX reads as: what the input has there
        graph.initializer.append(numpy_helper.from_array(kept, f"shape_{number}"))
        node.input[1] = f"shape_{number}"


def round_halves_up(model: Any) -> Any:
    """Make additions of a constant round as XNNPACK's do.

    ONNX rounds a half to the even neighbour where it quantizes, XNNPACK's addition rounds it up. The normalisation
    x / 127.5 - 1 of whole numbers gives a half for every second pixel; left alone, that moves logits by several units.
    A thousandth of a step on top of the constant decides those cases and no others.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    quantized = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    for node in [node for node in graph.node if node.op_type == "Add" and node.output[0] in quantized]:
        step = constants[quantized[node.output[0]].input[1]]
        for index, name in enumerate(node.input):
            source = producers.get(name)
            if source is None or source.op_type != "DequantizeLinear" or source.input[0] not in constants:
                continue
            stored, scale, zero_point = (constants[each] for each in source.input)
            value = (stored.astype("int32") - zero_point.astype("int32")) * scale + step / 1024
            shifted = numpy_helper.from_array(value.astype("float32"), f"{name}_rounding_up")
            graph.initializer.append(shifted)
            node.input[index] = shifted.name
    return model


def canonical(model: Any) -> Any:
    """The same graph with nodes in a fixed order, constants kept once, and names that only say what is computed.

    A tensor is known by the digest of what it is computed from: operator, attributes and the digests of its inputs.
    """
    import onnx

    graph = model.graph
    digests = {value.name: f"input {value.name}" for value in graph.input}
    constants = {}
    for tensor in graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        digests[tensor.name] = _digest("constant", array.dtype.str, array.shape, array.tobytes())
        constants[digests[tensor.name]] = array
    depths = dict.fromkeys(digests.values(), 0)
    nodes: dict[tuple[int, str], Any] = {}
    for node in graph.node:  # in the order of execution, as ONNX demands
        inputs = [digests[name] if name else "" for name in node.input]
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        attribute_bytes = b"".join(attribute.SerializeToString(deterministic=True) for attribute in attributes)
        digest = _digest(node.domain, node.op_type, inputs, attribute_bytes)
        depth = 1 + max((depths[name] for name in inputs if name), default=0)
        for index, name in enumerate(node.output):
            digests[name] = f"{digest}:{index}"
            depths[digests[name]] = depth
        nodes[depth, digest] = (node, inputs, attributes)
    order = sorted(nodes.items(), key=lambda item: item[0])
    needed = {digests[value.name].partition(":")[0] for value in graph.output}
    for (_, digest), (_, inputs, _) in reversed(order):
        if digest in needed:
            needed |= {name.partition(":")[0] for name in inputs}
    # Names that the outside knows stay; the rest are numbered in the order in which they are met.
    names = {digests[value.name]: value.name for value in (*graph.input, *graph.output)}
    written: list[Any] = []
    used: list[str] = []
    order = [item for item in order if item[0][1] in needed]
    for number, ((_, digest), (node, inputs, attributes)) in enumerate(order):
        for name in inputs:
            if name in constants and name not in names:
                names[name] = f"constant_{len(used)}"
                used.append(name)
        outputs = [f"{digest}:{index}" for index in range(len(node.output))]
        for index, name in enumerate(outputs):
            names.setdefault(name, f"{node.op_type}_{number}_{index}")
        again = onnx.helper.make_node(
            node.op_type,
            [names[name] if name else "" for name in inputs],
            [names[name] for name in outputs],
            name=f"{node.op_type}_{number}",
            domain=node.domain or None,
        )
        again.attribute.extend(attributes)
        written.append(again)
    initializers = [onnx.numpy_helper.from_array(constants[name], names[name]) for name in used]
    result = onnx.helper.make_model(
        onnx.helper.make_graph(written, "edgekd", list(graph.input), list(graph.output), initializers),
        opset_imports=sorted(model.opset_import, key=lambda opset: opset.domain),
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )
    result.ir_version = model.ir_version
    return result


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
