"""Images for a network whose own are not at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekd import _keras
from edgekd.artifact import Artifact, sha256_file
from edgekd.data.made_up import HOW_DRAWN, made_up_images
from edgekd.tasks import BINARY, MULTI_CLASS, MULTI_LABEL, SIGMOID, probabilities
from edgekd.training import make_predict

NAME = "made-up images"


def make_up(network: Artifact, config: int, out_dir: Path, *, image_size: int, head: str, seed: int) -> Artifact:
    """Draw images and label them by what the network itself answers: a data set like any other.

    So nothing that reads it can measure accuracy; what it measures is how far a converted network agrees with this one.

    Args:
        network: with ``model/``.
        config: images in each of train (which calibrates), val and test.
        out_dir: where the arrays of :func:`edgekd.data.prepare` go.
        image_size: side, in pixels.
        head: of the network's logits.
        seed: of the images; equal seeds give equal images, whatever the network.
    """
    _keras.reset(0)
    model = _keras.load_model(network.path / "model")
    num_classes = int(model.output_shape[1])
    task = MULTI_LABEL if head == SIGMOID else BINARY if num_classes == 2 else MULTI_CLASS
    images = made_up_images(3 * config, image_size, seed)
    decisions = task.decisions(probabilities(make_predict(model)(images), head)).astype(np.int64)
    for number, split in enumerate(("train", "val", "test")):
        rows = slice(number * config, (number + 1) * config)
        np.save(out_dir / f"{split}_images.npy", images[rows])
        np.save(out_dir / f"{split}_labels.npy", decisions[rows])
    np.save(out_dir / "calibration_indices.npy", np.arange(config))
    facts = {
        "name": NAME,
        "licence": "",
        "source": HOW_DRAWN,
        "attribution": "",
        "public": True,
        "task": task.name,
        "class_names": [f"class {number}" for number in range(num_classes)],
        "image_size": image_size,
        "resize": "stretch",
        **{f"num_{split}": config for split in ("train", "val", "test")},
        "num_calibration": config,
        "calibration_indices": list(range(config)),
        "sha256": sha256_file(out_dir / "test_images.npy"),
        "warnings": [],
        "unreadable": [],
    }
    return Artifact.seal(out_dir, facts)
