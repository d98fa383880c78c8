"""A stranger's Keras 3 model, read by Keras 3 in a process of its own: ``python -m ... MODEL INPUTS.npy WEIGHTS.npz``.

The two Kerases file their weights differently, and from version to version; the one that wrote them reads them best. A
layer's arrays are named ``<layer>/<number>``, those of a model within the model ``<model>/<layer>/<number>``;
``answers`` are its outputs for the inputs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

ANSWERS = "answers"


def arrays(layers: Any, prefix: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and value of every weight, in the order in which a layer takes them."""
    for layer in layers:
        if hasattr(layer, "layers"):
            yield from arrays(layer.layers, f"{prefix}{layer.name}/")
        else:
            for number, value in enumerate(layer.get_weights()):
                yield f"{prefix}{layer.name}/{number}", value


def main() -> None:
    """Load, in the safe mode, and write weights and answers; what Keras raises goes to stderr."""
    path, inputs, target = sys.argv[1:]
    import keras

    model = keras.models.load_model(path, compile=False, safe_mode=True)
    answers = np.asarray(model(np.load(inputs, allow_pickle=False), training=False), np.float32)
    np.savez(target, allow_pickle=False, **{ANSWERS: answers}, **dict(arrays(model.layers)))


if __name__ == "__main__":
    main()
