"""Write the .tflite files: the float student, its half-precision and dynamic-range forms, and full-integer INT8."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, encoding, metrics, tflite
from edgekd.artifact import Artifact
from edgekd.config.quantize import Quantize
from edgekd.data import Dataset
from edgekd.training import make_predict


def quantize(
    data: Artifact,
    student: Artifact,
    config: Quantize,
    out_dir: Path,
    *,
    seed: int,
    steps: Sequence[str],
    description: str,
    form: str = "student",
) -> Artifact:
    """Convert the student once per variant and check that each file is of the type its name says.

    The temperature is fitted to val and folded into the last layer, so that it is inside every variant:
    ``softmax(z / T) = softmax((W / T) x + b / T)``, and a sigmoid alike.

    Args:
        data: calibration images and val.
        student: the Keras model.
        config: which variants.
        out_dir: where ``<form>_<variant>.tflite`` go; the INT8 file is final, metadata included.
        seed: resets the global state; the conversion itself draws nothing.
        steps: what was done to the student so far (``distilled``, ``finetuned``, ``pruned``), for the entries.
        description: of the model, for the metadata.
        form: ``student``, or the name of a form that is measured and not shipped.

    Raises:
        ConversionError: a file is not what was asked for.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    model = _keras.load_model(student.path / "model")
    temperature = 1.0
    if config.fit_temperature:
        temperature = metrics.fit_temperature(make_predict(model)(dataset.val.images), dataset.val.labels)
        _divide_logits(model, temperature)
    frozen = tflite.freeze(model)
    entries: list[dict[str, Any]] = []
    facts: dict[str, Any] | None = None
    for variant in config.variants:
        content = tflite.convert(frozen, variant, dataset.calibration_images, dataset.task.head)
        if variant == "int8":
            add_metadata = functools.partial(
                tflite.add_metadata,
                labels=dataset.class_names,
                name=dataset.facts["name"] or "edgekd",
                description=description,
                licence=dataset.facts["licence"],
                head=dataset.task.head,
            )
            if config.encoding == "smallest" and "pruned" in steps:
                sparse, count = tflite.encode(content)
                both = (add_metadata(content), add_metadata(sparse) if count else None)
                content, facts = encoding.choose(*both, dataset.calibration_images, config.encoding_measure)
            else:
                content = add_metadata(content)
        path = out_dir / f"{form}_{variant}.tflite"
        path.write_bytes(content)
        entry = tflite.describe(
            path,
            id=path.stem,
            role="student",
            steps=[*steps, "ptq"] if variant in ("int8", "int8_io", "dynamic") else list(steps),
            shipped=(form, variant) == ("student", "int8"),
        )
        entries.append(entry)
    return Artifact.seal(out_dir, {"models": entries, "temperature": temperature, "encoding": facts})


def _divide_logits(model: Any, temperature: float) -> None:
    layer = model.get_layer("logits")
    layer.set_weights([np.float32(weight / temperature) for weight in layer.get_weights()])
