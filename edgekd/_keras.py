"""The only importer of TensorFlow's Keras 2 (``tf_keras``) and of ``tfmot``, which knows no other Keras.

Import ``tf`` from here too: then TensorFlow's start-up messages stay off the terminal. Who sets
``TF_CPP_MIN_LOG_LEVEL=0`` sees them.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.errors import ModelError, RecipeError
from edgekd.quiet import quiet_native_stderr

# The first messages come before TensorFlow looks at this variable, and would be printed at any level.
_log_level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quiet_native_stderr() if _log_level == "3" else nullcontext():
    import tensorflow as tf
    import tf_keras

if _log_level == "3":
    tf.get_logger().setLevel("ERROR")

__all__ = [
    "load_file",
    "load_model",
    "read_architecture",
    "reset",
    "save_model",
    "set_determinism",
    "tf",
    "tf_keras",
    "tfmot",
]

ARCHITECTURE_FILE = "architecture.json"
WEIGHTS_FILE = "weights.npz"


@functools.cache
def tfmot() -> Any:
    """The TensorFlow Model Optimization Toolkit; imported on the first call, which takes a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # distutils versions, in its own import
        import tensorflow_model_optimization

    return tensorflow_model_optimization


def set_determinism(num_threads: int) -> None:
    """Make every operation repeatable, on a fixed number of threads within and between operations.

    Weights after training depend on the number of threads and on nothing else of the machine. May be called again
    with the same number.

    Raises:
        RecipeError: TensorFlow already computes in this process, with another number of threads.
    """
    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        tf.config.threading.set_inter_op_parallelism_threads(num_threads)
    except RuntimeError:
        current = tf.config.threading.get_intra_op_parallelism_threads()
        raise RecipeError(
            f"num_threads = {num_threads}: TensorFlow already runs in this process with "
            f"{current or 'its own choice of'} threads; start a new process"
        ) from None


def reset(seed: int) -> None:
    """Forget all Keras layer names and seed Python, numpy and TensorFlow: nothing depends on what ran before."""
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(seed)


def save_model(model: Any, folder: Path) -> None:
    """Write ``architecture.json`` and ``weights.npz`` into ``folder``; equal models give equal bytes.

    Raises:
        ModelError: the model has a layer that could not be loaded again without running foreign code.
    """
    architecture = json.loads(model.to_json())
    _refuse_foreign_code(architecture, "this model")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(architecture, indent=1, sort_keys=True)
    (folder / ARCHITECTURE_FILE).write_text(text + "\n", encoding="utf-8")
    with zipfile.ZipFile(folder / WEIGHTS_FILE, "w", zipfile.ZIP_STORED) as archive:
        for index, weight in enumerate(model.get_weights()):
            # numpy.savez leaves the time stamps of the entries to zipfile; here they are fixed.
            entry = zipfile.ZipInfo(f"{index:05d}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(weight), allow_pickle=False)


def load_model(folder: Path) -> Any:
    """Read what :func:`save_model` wrote. Nothing is unpickled and no code of the file is run.

    Raises:
        ModelError: no such model, a damaged one, or one with a Lambda or a custom class.
    """
    try:
        architecture = json.loads((folder / ARCHITECTURE_FILE).read_text(encoding="utf-8"))
        with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as archive:
            weights = [archive[name] for name in sorted(archive.files)]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f'Keras model "{folder.name}" cannot be read ({error}); build it again') from None
    _refuse_foreign_code(architecture, f'Keras model "{folder.name}"')
    try:
        model = tf_keras.models.model_from_json(json.dumps(architecture))
        model.set_weights(weights)
    except Exception as error:  # Keras raises whatever a malformed configuration happens to lead to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f'Keras model "{folder.name}" cannot be built ({reason}); build it again') from error
    return model


def load_file(path: Path) -> Any:
    """Read a whole Keras 2 model, ``.h5`` or ``.keras``, without its optimizer.

    Keras runs the code of a Lambda in an ``.h5`` file whatever ``safe_mode`` says, so the architecture is read first.

    Raises:
        ModelError: no such model, a damaged one, one of weights alone, or one with a Lambda or a custom class.
    """
    title = f'Keras model "{path.name}"'
    _refuse_foreign_code(read_architecture(path), title)
    try:
        return tf_keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever a malformed configuration happens to lead to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{title} cannot be built ({reason})") from error


def read_architecture(path: Path) -> Any:
    """The configuration in an ``.h5`` or ``.keras`` file, of either Keras: data, of which nothing is run.

    Raises:
        ModelError: no such model, a damaged one, or one of weights alone.
    """
    import h5py

    title = f'Keras model "{path.name}"'
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise ModelError(f"{title} holds weights alone; save the whole model, or name teacher.weights")
            return json.loads(file.attrs["model_config"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{title} cannot be read ({error})") from None


@functools.cache
def _known_classes() -> frozenset[str]:
    modules = (tf_keras.layers, tf_keras.initializers, tf_keras.regularizers, tf_keras.constraints)
    public = {name for module in modules for name in dir(module) if name[0].isupper()}
    return frozenset(public - {"Lambda"} | {"Functional", "Sequential", "Model", "Policy"})


def _refuse_foreign_code(value: Any, title: str) -> None:
    """Walk a Keras configuration; every class that it names must be one of Keras's own, and none a Lambda."""
    if isinstance(value, dict):
        name, module = value.get("class_name"), str(value.get("module") or "keras")
        registered = value.get("registered_name") or name
        ours = name in _known_classes() and registered == name and module.split(".")[0] in ("keras", "tf_keras")
        if name is not None and not ours:
            raise ModelError(
                f'{title} has a layer of class "{name}", which is code and not data; use built-in Keras layers'
            )
        for inner in value.values():
            _refuse_foreign_code(inner, title)
    elif isinstance(value, list):
        for inner in value:
            _refuse_foreign_code(inner, title)
