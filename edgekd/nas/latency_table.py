"""What each form of block costs on the target, measured once, and what a network of them will cost by that.

``cost = rest + sum over its forms of (cost of the form alone - what a form costs less within a network)``

A form alone pays for a call of the interpreter and a file of its own. How much that is, and what stem, input and output
add to a network, is found by least squares from a few whole networks, measured in the same session. Milliseconds and
bytes alike.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, tflite
from edgekd._keras import tf_keras
from edgekd.artifact import Artifact
from edgekd.config.benchmark import Benchmark
from edgekd.config.blocks import Blocks
from edgekd.data import Dataset
from edgekd.models import build_student
from edgekd.nas.forms import forms_in, forms_of, model_of
from edgekd.progress import Progress
from edgekd.stages.benchmark import benchmark
from edgekd.supernet.space import Space

COSTS = ("p50_ms", "tflite_bytes")
NUM_DRAWN = 4  # whole networks beside the smallest and the largest
NUM_IMAGES = 16
MADE_UP = "was timed on made-up input"


@dataclass(frozen=True)
class LatencyTable:
    """Predicts what a network costs.

    Attributes:
        forms: costs of each form alone, by its name: ``{"p50_ms", "tflite_bytes"}``.
        less: what a form costs less within a network, by cost.
        rest: what a network has beside its forms, by cost.
    """

    forms: Mapping[str, Mapping[str, float]]
    less: Mapping[str, float]
    rest: Mapping[str, float]

    @classmethod
    def fitted(
        cls,
        forms: Mapping[str, Mapping[str, float]],
        networks: Sequence[tuple[Sequence[str], Mapping[str, float]]],
    ) -> LatencyTable:
        """Find ``less`` and ``rest`` by least squares; of networks with equally many forms, only their sum counts.

        Args:
            forms: costs of each form alone, by its name.
            networks: names of its forms and measured costs, of each network.
        """
        counts = np.array([[1.0, -len(names)] for names, _ in networks])
        less, rest = {}, {}
        for cost in COSTS:
            sums = [sum(forms[name][cost] for name in names) for names, _ in networks]
            missing = np.array([measured[cost] for _, measured in networks]) - sums
            solved = np.linalg.lstsq(counts, missing, rcond=None)[0]
            rest[cost], less[cost] = map(float, solved)
        return cls(forms, less, rest)

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> LatencyTable:
        """From the facts of :func:`measured`."""
        return cls(facts["forms"], facts["less"], facts["rest"])

    def predict(self, blocks: Blocks, image_size: int) -> dict[str, float]:
        """``{"p50_ms", "tflite_bytes"}`` of the INT8 model of a network."""
        names = [form.name for form in forms_of(blocks, image_size)]
        return {
            cost: self.rest[cost] + sum(self.forms[name][cost] - self.less[cost] for name in names) for cost in COSTS
        }


def measured(
    data: Artifact,
    config: Benchmark,
    out_dir: Path,
    *,
    space: Space,
    seed: int,
    progress: Progress | None = None,
) -> Artifact:
    """Convert every form of a space and a few whole networks, and time them all in one interleaved session.

    Weights are drawn: cost does not depend on them.

    Args:
        data: gives image size, classes, and the metadata that goes into a shipped file.
        config: target and processes.
        out_dir: of the artifact.
        space: of the networks.
        seed: of weights, of the networks drawn, and of the order.
        progress: where the tasks are shown.

    Returns:
        Facts ``{"forms", "less", "rest", "networks": [{"blocks", "measured", "predicted"}], "warnings"}``.

    Raises:
        ConversionError: a form that TensorFlow Lite cannot run in INT8.
    """
    dataset = Dataset.open(data)
    size, generator = dataset.image_size, np.random.default_rng(seed)
    forms = forms_in(space, size)
    drawn = [space.smallest, space.largest, *(space.drawn(generator) for _ in range(NUM_DRAWN))]
    networks = list(dict.fromkeys(drawn))
    _keras.reset(seed)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        shown = progress or Progress()
        with shown.task("latency table: converting", len(forms) + len(networks), "models") as task:
            for form in forms:
                pixels = generator.integers(0, 256, (4, form.side, form.side, form.in_channels)).astype(np.uint8)
                frozen = tflite.freeze(model_of(form, space.base, dataset.num_classes))
                files[form.name] = Path(folder) / f"{form.name}.tflite"
                files[form.name].write_bytes(tflite.convert(frozen, "int8_io", pixels))
                task.advance(1)
            for number, blocks in enumerate(networks):
                files[f"network{number}"] = Path(folder) / f"network{number}.tflite"
                files[f"network{number}"].write_bytes(whole(blocks, dataset))
                task.advance(1)
        timed = benchmark(files, None, config, Path(folder), seed=seed, progress=shown)
    costs = {
        name: {"p50_ms": float(row["latency"][0]["p50_ms"]), "tflite_bytes": float(row["tflite_bytes"])}
        for name, row in timed.facts["models"].items()
    }
    alone = {form.name: costs[form.name] for form in forms}
    known = [
        ([form.name for form in forms_of(blocks, size)], costs[f"network{number}"])
        for number, blocks in enumerate(networks)
    ]
    table = LatencyTable.fitted(alone, known)
    rows = [
        {"blocks": dataclasses.asdict(blocks), "measured": figures, "predicted": table.predict(blocks, size)}
        for blocks, (_, figures) in zip(networks, known, strict=True)
    ]
    warnings = [text for text in timed.facts["warnings"] if MADE_UP not in text]
    return Artifact.seal(
        out_dir, {"forms": alone, "less": table.less, "rest": table.rest, "networks": rows, "warnings": warnings}
    )


def whole(blocks: Blocks, dataset: Dataset) -> bytes:
    """The INT8 model of a network with drawn weights, metadata included, as it would be shipped."""
    student = build_student(
        "blocks",
        image_size=dataset.image_size,
        num_classes=dataset.num_classes,
        width_multiplier=1.0,
        blocks=blocks,
    )
    images = np.asarray(dataset.calibration_images[:NUM_IMAGES])
    # Drawn weights fade from layer to layer, beyond what INT8 can hold: one step of an average without memory.
    for layer in student.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.0
    student(np.float32(images), training=True)
    content = tflite.convert(tflite.freeze(student), "int8", images, dataset.task.head)
    return tflite.add_metadata(
        content,
        labels=dataset.class_names,
        name=dataset.facts["name"] or "edgekd",
        description="",
        licence=dataset.facts["licence"],
        head=dataset.task.head,
    )
