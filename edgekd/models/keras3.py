"""A Keras 3 model file as a Keras 2 model, which is what can be pruned and converted.

Its layers are read from its configuration and made again, its weights are read by Keras 3 in a process of its own, and
whether both compute the same is for the caller to see: names are shared by the two Kerases, not always meanings.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd._keras import read_architecture, tf_keras
from edgekd.errors import ModelError
from edgekd.keras3_process import ANSWERS
from edgekd.models.foreign import SECONDS

_MODELS = ("Functional", "Sequential", "Model")
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
# What matters in training alone, and takes objects that the two Kerases write differently.
_LEFT_OUT = ("_initializer", "_regularizer", "_constraint", "dtype")
_HARD = ("hard_sigmoid", "hard_silu", "hard_swish")
_OPERATIONS = "keras.src.ops.numpy"


def build(path: Path) -> Any:
    """Make the layers of a whole Keras 3 model, ``.keras`` or ``.h5``, again, with weights at random.

    Settings that Keras 2 does not know are left out. Nothing of the file is run.

    Raises:
        ModelError: a damaged file, a layer that is not of Keras's own or that Keras 2 does not have.
    """
    title = f'Keras model "{path.name}"'
    architecture = read_architecture(path)
    try:
        return _model(architecture, title)
    except ModelError:
        raise
    except Exception as error:  # Keras raises whatever a malformed configuration happens to lead to
        raise ModelError(f"{title} cannot be built ({_first_line(error)})") from error


def fill(model: Any, path: Path, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Give the model of :func:`build` its weights; returns what Keras 3 answers to ``inputs``.

    Raises:
        ModelError: Keras 3 cannot read the file, or its weights do not fit.
    """
    title = f'Keras model "{path.name}"'
    stored = _ask_keras3(path, inputs, title)
    for name, layer in _leaves(model.layers):
        values = [stored[key] for key in (f"{name}/{number}" for number in range(len(layer.weights))) if key in stored]
        try:
            layer.set_weights(values)
        except ValueError as error:
            raise ModelError(f'{title}: weights of layer "{name}" do not fit ({_first_line(error)})') from None
    return stored[ANSWERS]


def _model(entry: Mapping[str, Any], title: str) -> Any:
    """A functional or sequential model of its description."""
    if entry["class_name"] not in _MODELS:
        raise ModelError(f'{title} is of class "{entry["class_name"]}"; a functional or sequential model is wanted')
    config = entry["config"]
    sequential = entry["class_name"] == "Sequential"
    tensors: dict[str, Any] = {}
    waiting = list(config["layers"])
    previous = ""
    if sequential and waiting and waiting[0]["class_name"] != "InputLayer" and config.get("build_input_shape"):
        waiting.insert(
            0, {"class_name": "InputLayer", "config": {"name": "input", "batch_shape": config["build_input_shape"]}}
        )
    while waiting:
        # A functional model lists its layers in the order in which they were made, which may be another.
        part = next((part for part in waiting if sequential or _sources(part) <= tensors.keys()), None)
        if part is None:
            raise ModelError(f'{title}: layer "{waiting[0]["config"]["name"]}" reads what no layer makes')
        waiting.remove(part)
        name = part["config"]["name"]
        if part["class_name"] == "InputLayer":
            shape = part["config"].get("batch_shape") or part["config"]["batch_input_shape"]
            tensors[name] = tf_keras.Input(shape[1:], name=name)
        else:
            if not tensors:
                raise ModelError(f'{title} does not say the size of its input; save it with an "Input" layer')
            args = [tensors[previous]] if sequential else _arguments(part, tensors, title)
            tensors[name] = _call(part, args, title)
        previous = name
    if sequential:
        return tf_keras.Model(next(iter(tensors.values())), tensors[previous], name=config["name"])
    ends = [_ends(config[side], tensors) for side in ("input_layers", "output_layers")]
    return tf_keras.Model(*ends, name=config["name"])


def _ends(listed: Any, tensors: Mapping[str, Any]) -> Any:
    """Tensors by ``[name, 0, 0]``, or a list of those."""
    if isinstance(listed[0], str):
        return tensors[listed[0]]
    found = [tensors[name] for name, *_ in listed]
    return found[0] if len(found) == 1 else found


def _sources(part: Mapping[str, Any]) -> set[str]:
    """Names of the layers that a layer reads."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("class_name") == "__keras_tensor__":
                found.add(value["config"]["keras_history"][0])
            else:
                for inner in value.values():
                    walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(part.get("inbound_nodes", []))
    return found


def _arguments(part: Mapping[str, Any], tensors: Mapping[str, Any], title: str) -> list[Any]:
    """What a layer is called with: tensors, lists of them, numbers."""
    name, nodes = part["config"]["name"], part["inbound_nodes"]
    if len(nodes) != 1:
        raise ModelError(f'{title}: layer "{name}" is used {len(nodes)} times; give each use a layer of its own')

    def read(value: Any) -> Any:
        if isinstance(value, list):
            return [read(inner) for inner in value]
        if isinstance(value, dict):
            return tensors[value["config"]["keras_history"][0]]
        return value

    if any(isinstance(value, (dict, list)) for value in nodes[0]["kwargs"].values()):
        raise ModelError(f'{title}: layer "{name}" is called with tensors by name; call it with positional ones')
    return [read(value) for value in nodes[0]["args"]]


def _call(part: Mapping[str, Any], args: Sequence[Any], title: str) -> Any:
    kind, name = part["class_name"], part["config"]["name"]
    # An .h5 file leaves the module out; of arithmetic it has nothing but the name.
    module = part.get("module") or (_OPERATIONS if part["config"].keys() == {"name"} else "keras.layers")
    if kind in _MODELS and module.partition(".")[0] == "keras":
        inner = _model(part, title)
        return inner(args[0])
    if module == _OPERATIONS:
        return _arithmetic(kind, name, args, title)
    layer = getattr(tf_keras.layers, kind, None)
    if module != "keras.layers" or layer is None or kind == "Lambda":
        raise ModelError(f'{title} has a layer "{name}" of class {module}.{kind}, which Keras 2 does not have')
    known = inspect.signature(layer.__init__).parameters
    config = {"name": name}
    for key, value in part["config"].items():
        key = _RENAMED.get((kind, key), key)
        if key in known and not key.endswith(_LEFT_OUT):
            config[key] = value["config"] if isinstance(value, dict) else value  # an activation, as an object
    if config.get("activation") in _HARD:
        return _hard(layer(**{**config, "activation": "linear"})(args[0]), name, config["activation"])
    return layer(**config)(args[0])


def _hard(x: Any, name: str, activation: str) -> Any:
    """``relu6(x + 3) / 6``, and for the others ``x`` times that: Keras 2 has another hard sigmoid, and no hard SiLU."""
    layers = tf_keras.layers
    shifted = layers.Rescaling(1.0, offset=3.0, name=f"{name}_shifted")(x)
    gate = layers.Rescaling(1 / 6, name=f"{name}_gate")(layers.ReLU(6.0, name=f"{name}_relu6")(shifted))
    return gate if activation == "hard_sigmoid" else layers.Multiply(name=f"{name}_gated")([x, gate])


def _arithmetic(kind: str, name: str, args: Sequence[Any], title: str) -> Any:
    """``x + y``, ``x * 0.5`` and the like, as the layers that do the same."""
    tensors = [value for value in args if hasattr(value, "_keras_history")]
    numbers = [float(value) for value in args if isinstance(value, (int, float))]
    layers = tf_keras.layers
    match kind, len(tensors), numbers:
        case "Add" | "Subtract" | "Multiply", 2, []:
            return getattr(layers, kind)(name=name)(tensors)
        case "Add", 1, [number]:
            return layers.Rescaling(1.0, offset=number, name=name)(tensors[0])
        case "Subtract", 1, [number]:
            first = tensors[0] is args[0]
            return layers.Rescaling(1.0 if first else -1.0, offset=-number if first else number, name=name)(tensors[0])
        case "Multiply", 1, [number]:
            return layers.Rescaling(number, name=name)(tensors[0])
        case "TrueDivide" | "Divide", 1, [number] if tensors[0] is args[0]:
            return layers.Rescaling(1 / number, name=name)(tensors[0])
        case "Negative", 1, []:
            return layers.Rescaling(-1.0, name=name)(tensors[0])
    raise ModelError(f'{title} has an operation "{name}" ({kind}), which is not known; use a Keras layer in its place')


def _leaves(layers: Any, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for layer in layers:
        inner = _leaves(layer.layers, f"{prefix}{layer.name}/") if isinstance(layer, tf_keras.Model) else None
        found += [(f"{prefix}{layer.name}", layer)] if inner is None else inner
    return found


def _ask_keras3(path: Path, inputs: NDArray[Any], title: str) -> dict[str, NDArray[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "inputs.npy", Path(folder) / "weights.npz"
        np.save(asked, inputs)
        command = [sys.executable, "-m", "edgekd.keras3_process", *map(str, (path, asked, answered))]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            raise ModelError(f"{title} was not read within {SECONDS:g} seconds") from None
        if done.returncode or not answered.is_file():
            lines = done.stderr.strip().splitlines()
            raise ModelError(f"{title} cannot be read: {lines[-1] if lines else f'exit code {done.returncode}'}")
        with np.load(answered, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
