"""What the workers of a test run: ``python tests/worker_programs.py NAME INDEX ADDRESSES FOLDER``.

``ADDRESSES`` are separated by commas; one alone means no cluster. What a program finds goes to ``FOLDER/INDEX.npz``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import _keras, losses
from edgekd import workers as shared
from edgekd.artifact import Artifact
from edgekd.cluster import Cluster
from edgekd.config.distill import Distill
from edgekd.config.training import Training, Views
from edgekd.data import Dataset
from edgekd.progress import Progress
from edgekd.stages.distill import beside_teacher
from edgekd.step import Learner
from edgekd.training import fit, make_predict
from edgekd.workers import ALONE, Workers, join

# 48 images of training: four steps of 11 an epoch, which two workers divide into 5 and 6.
TRAINING = Training(epochs=3, batch_size=11, learning_rate=0.02, warmup_epochs=0.5)
VIEWS = Views(horizontal_flip=False, max_shift=0.1, mixup_alpha=0.3)


def network(channels: int, name: str) -> Any:
    """Batch normalization of maps (the fused kernel) and of vectors (the plain one)."""
    layers = _keras.tf_keras.layers
    pixels = _keras.tf_keras.Input((16, 16, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(pixels)
    for index in range(2):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", name=f"conv{index}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"bn{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.BatchNormalization(momentum=0.9, name="bn_flat")(x)
    return _keras.tf_keras.Model(pixels, layers.Dense(2, name="logits")(x), name=name)


def labels(index: int) -> Learner:
    """A student that looks at the labels; every worker draws other weights, and only the chief's count."""
    _keras.reset(index)
    model = network(4, "student")
    return Learner.alone(model, lambda batch, logits: losses.cross_entropy(batch.targets, logits))


def relations(index: int) -> Learner:
    """A loss that compares the images of a batch with each other."""
    _keras.reset(index)
    model = network(4, "student")
    tf = _keras.tf

    def objective(batch: Any, logits: Any) -> Any:
        probs = tf.nn.softmax(logits)
        return tf.reduce_mean(tf.square(tf.matmul(probs, probs, transpose_b=True) - _alike(batch.targets)))

    def _alike(targets: Any) -> Any:
        return tf.matmul(targets, targets, transpose_b=True)

    return Learner.alone(model, objective)


def beside(index: int, mode: str) -> Learner:
    """Beside a teacher, with a loss on its answers; live, on features and relations too, with adapters that learn."""
    _keras.reset(0)
    # Two networks that both move and are compared by their features amplify rounding to some 3e-5 in these steps.
    more = {"fitnet": 0.5, "rkd": 0.5} if mode == "live" else {}
    config = Distill(mode=mode, loss={"kd": 1.0, **more})
    return beside_teacher(network(4, "student"), network(6, "teacher"), config, num_train=48)[0]


def train(learner: Learner, workers: Workers, folder: Path, training: Training = TRAINING) -> dict[str, Any]:
    """Train on the data in ``folder/prepared``."""
    dataset = Dataset.open(Artifact.open(folder / "prepared"))
    steps: list[float] = []

    class Noted(Progress):
        def task(self, title: str, total: int, unit: str = "images") -> Any:
            import contextlib

            from edgekd.progress import Task

            class NotedTask(Task):
                def advance(self, count: int, **figures: float) -> None:
                    steps.append(figures["loss"])

            return contextlib.nullcontext(NotedTask())

    options: dict[str, Any] = {"training": training, "views": VIEWS, "seed": 5, "progress": Noted(), "title": "tiny"}
    history = fit(learner, dataset, work=folder / "work", workers=workers, **options)
    weights = {f"weight{index:03d}": weight for index, weight in enumerate(learner.model.get_weights())}
    logits = make_predict(learner.model)(dataset.test.images)
    return {"steps": np.array(steps), "history": json.dumps(history), "logits": logits, **weights}


def told(index: int, workers: Workers) -> dict[str, Any]:
    """What the chief says, and where a variable lands."""
    variable = _keras.tf.Variable([1.0 + index, 2.0])
    workers.take_from_chief([variable])
    said = workers.from_chief(lambda: {"worker": index, "text": "ä", "pi": 3.141592653589793, "none": None})
    nothing = workers.from_chief(lambda: [])
    own = workers.own({"a": np.arange(5), "b": (np.arange(10).reshape(5, 2),)})
    return {"said": json.dumps([said, nothing]), "variable": variable.numpy(), "own": own["a"], "deep": own["b"][0]}


def main() -> None:
    """Join, run, and write down what was found."""
    name, number, text, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    addresses = tuple(text.split(","))
    _keras.set_determinism(1)
    workers = join(Cluster(addresses, number)) if len(addresses) > 1 else ALONE
    if name == "told":
        found = told(number, workers)
    elif name == "live":
        found = train(beside(number, name), workers, folder)
    elif name == "mutual":
        # Two networks that chase each other amplify rounding: in steps as long as the others' to some 1e-5.
        shorter = dataclasses.replace(TRAINING, learning_rate=0.002)
        found = train(beside(number, name), workers, folder, shorter)
    else:
        if name == "packed":  # gradients in many messages, some of one tensor that is larger than a pack
            shared._PACK = 40
        programs = {"labels": labels, "packed": labels, "relations": relations}
        found = train(programs[name](number), workers, folder)
    np.savez(folder / f"{number}.npz", **found)


if __name__ == "__main__":
    main()
