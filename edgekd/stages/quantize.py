"""Write the .tflite files: the float student, its smaller forms, and the one that is shipped."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, batchnorm, encoding, metrics, mixed_precision, tflite
from edgekd.artifact import Artifact
from edgekd.config.quantize import Quantize
from edgekd.data import Dataset
from edgekd.errors import NothingToQuantizeError
from edgekd.training import make_predict

KERAS_FOLDER = "keras"


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
    max_drop_pp: float | None = None,
    folder: str = "model",
    ship: str = "",
) -> Artifact:
    """Convert the student once per variant and check that each file is of the type its name says.

    The temperature is fitted to val and folded into the last layer, so that it is inside every variant:
    ``softmax(z / T) = softmax((W / T) x + b / T)``, and a sigmoid alike.

    Args:
        data: calibration images and val.
        student: its Keras model, in ``folder``; the ranges that it was trained within, if any, are those of INT8.
        config: which variants, and how INT8 comes about. A dynamic file that would be the float one over again is left
            out, and ``left_out`` of the facts says so.
        out_dir: where ``<form>_<variant>.tflite`` go. Shipped is ``student_int8``, or ``student_mixed`` where layers
            stay in float, or what ``ship`` names; ``int8`` and ``mixed`` are final, metadata included. The
            student itself, temperature inside, goes to ``keras/``.
        seed: resets the global state; the conversion itself draws nothing.
        steps: what was done to the student so far (``distilled``, ``finetuned``, ``pruned``, ``qat``), for the entries.
        description: of the model, for the metadata.
        form: ``student``, or the name of a form that is measured and not shipped.
        max_drop_pp: points of accuracy on val that mixed precision may lose; None: 0.5.
        folder: of the Keras model in its artifact.
        ship: the variant that the target takes, where it takes no other.

    Raises:
        ConversionError: a file is not what was asked for, or a layer to keep in float that is not there.
    """
    dataset = Dataset.open(data)
    _keras.reset(seed)
    model = _keras.load_model(student.path / folder)
    found: dict[str, Any] = {}
    if config.reestimate_batchnorm:
        found["reestimated_batchnorm"] = batchnorm.reestimate_unless_worse(model, dataset)
    temperature = 1.0
    if config.fit_temperature:
        temperature = metrics.fit_temperature(make_predict(model)(dataset.val.images), dataset.val.labels)
        _divide_logits(model, temperature)
    if form == "student":
        # What a server is given: kept for every target, so that targets share this stage.
        _keras.save_model(model, out_dir / KERAS_FOLDER)
    frozen = tflite.freeze(model)
    trained = _ranges(student, temperature)
    integer = tflite.freeze(model, trained) if trained else frozen

    def convert(variant: str) -> bytes:
        return tflite.convert(
            integer if variant in tflite.INTEGER_VARIANTS else frozen,
            variant,
            dataset.calibration_images,
            dataset.task.head,
            ranges=config.calibration,
            percentile=config.calibration_percentile,
        )

    files: dict[str, bytes] = {}
    for variant in config.variants:
        try:
            files[variant] = convert(variant)
        except NothingToQuantizeError as error:
            found["left_out"] = {"variants": [variant], "text": f"left out: {error}"}
    if config.float_layers or config.mixed == "auto":
        mixed, found["mixed"] = mixed_precision.mix(
            files["int8"], files.get("fp32") or convert("fp32"), dataset, config.float_layers, max_drop_pp
        )
        if mixed is not None:
            files["mixed"] = mixed
    shipped = ship or ("mixed" if "mixed" in files else "int8")
    add_metadata = functools.partial(
        tflite.add_metadata,
        labels=dataset.class_names,
        name=dataset.facts["name"] or "edgekd",
        description=description,
        licence=dataset.facts["licence"],
        head=dataset.task.head,
    )
    dense = {name: content for name, content in files.items() if name in ("int8", "mixed")}
    files |= {name: add_metadata(content) for name, content in dense.items()}
    encoded: dict[str, Any] | None = None
    if config.encoding == "smallest" and "pruned" in steps and shipped in dense:
        sparse, count = tflite.encode(dense[shipped])
        other = add_metadata(sparse) if count else None
        files[shipped], encoded = encoding.choose(
            files[shipped], other, dataset.calibration_images, config.encoding_measure
        )
    after_training = ("dynamic", "int16x8") if trained else ("int8", "int8_io", "dynamic", "int16x8")
    done = dict.fromkeys(after_training, ("ptq",)) | {"mixed": ("ptq", "mixed")}
    entries = []
    for variant, content in files.items():
        path = out_dir / f"{form}_{variant}.tflite"
        path.write_bytes(content)
        all_steps = [*steps, *done.get(variant, ())]
        goes_out = (form, variant) == ("student", shipped)
        entries.append(tflite.describe(path, id=path.stem, role="student", steps=all_steps, shipped=goes_out))
    summary = "; ".join(facts["text"] for facts in found.values()) or None
    facts = {"calibration": config.calibration, "temperature": temperature, **found, "encoding": encoded}
    return Artifact.seal(out_dir, {"models": entries, **facts, "summary": summary})


def _divide_logits(model: Any, temperature: float) -> None:
    layer = model.get_layer("logits")
    layer.set_weights([np.float32(weight / temperature) for weight in layer.get_weights()])


def _ranges(student: Artifact, temperature: float) -> dict[str, tuple[float, float]] | None:
    """Those that the student was trained within, the logits' divided as the logits are; None after other training."""
    if "ranges" not in student.facts:
        return None
    ranges = {name: (low, high) for name, (low, high) in student.facts["ranges"].items()}
    low, high = ranges["logits"]
    return {**ranges, "logits": (low / temperature, high / temperature)}
