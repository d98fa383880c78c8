"""The figures of the models, computed anew from their files and the data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd import apart, metrics
from edgekd._litert import KERNELS
from edgekd.claims import INTEGER
from edgekd.config.data import Data
from edgekd.config.verify import Verify
from edgekd.data import Dataset, prepare
from edgekd.errors import ModelError
from edgekd.recheck.check import Check, all_or_faults, differences
from edgekd.recheck.scores import claim_checks
from edgekd.verification.kernels import kernel_envelope

SPLITS = ("val", "test")
_RAW = "raw__"
Scores = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Stated:
    """What is said of one model.

    Attributes:
        path: its file, whose digest was found right.
        figures: by split.
        shipped: whether all three kernels are run.
    """

    path: Path
    figures: Mapping[str, Mapping[str, Any]]
    shipped: bool


@dataclass(frozen=True)
class Told:
    """What a report or a manifest says that data can confirm.

    Attributes:
        data_sha256: of the data set.
        class_names: in the order of the outputs.
        models: by id.
        verify: the margin of the claims.
        document: the report, whose claims and kernels are computed anew; None for a bundle by itself.
    """

    data_sha256: str
    class_names: list[str]
    models: Mapping[str, Stated]
    verify: Verify
    document: Mapping[str, Any] | None


def figure_checks(told: Told, config: Data) -> Iterator[Check]:
    """Run every model over val and test, the shipped one with all kernels, each in a process of its own.

    Raises:
        DataError: the data cannot be read.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifact = prepare(config, folder)
        dataset = Dataset.open(artifact)
        if artifact.facts["sha256"] != told.data_sha256:
            yield Check(
                "figures", None, f"{config.path or config.name}: not the data that the figures are about (SHA-256)"
            )
            return
        if dataset.class_names != told.class_names:
            yield Check("figures", False, f"the classes are {told.class_names}, the data has {dataset.class_names}")
            return
        scores: dict[str, Scores] = {}
        for index, (id, stated) in enumerate(told.models.items()):
            try:
                scores[id] = _scores(id, stated, dataset, folder, f"model_{index}")
            except ModelError as error:
                yield Check(f"figures of {id}", False, str(error))
                continue
            yield from _of_model(id, stated, scores[id], dataset)
        if told.document is not None:
            yield from _of_kernels(told, scores, dataset)
            yield from _of_claims(told.document, scores, dataset, told.verify)


def _scores(id: str, stated: Stated, dataset: Dataset, folder: Path, prefix: str) -> Scores:
    """Probabilities by ``<split>`` (XNNPACK); of the shipped model ``test__<kernel>``; logits ``raw__<kernel>``."""
    wanted = {split: (split, "xnnpack") for split in SPLITS}
    if stated.shipped:
        wanted |= {f"test__{kernel}": ("test", kernel) for kernel in KERNELS if kernel != "xnnpack"}
    if id == INTEGER:
        wanted |= {f"{_RAW}{kernel}": ("test", kernel) for kernel in KERNELS}
    jobs: dict[str, dict[str, Any]] = {
        name: {
            "images": str(folder / f"{split}_images.npy"),
            "kernel": kernel,
            "out": str(folder / f"{prefix}.{name}.npy"),
            "raw": name.startswith(_RAW),
        }
        for name, (split, kernel) in wanted.items()
    }
    request = {"model": str(stated.path), "head": dataset.task.head, "jobs": list(jobs.values())}
    apart.ask("predict", request, f'model "{id}"')
    found = {name: np.load(job["out"], allow_pickle=False) for name, job in jobs.items()}
    if any(probs.ndim != 2 or probs.shape[1] != dataset.num_classes for probs in found.values()):
        raise ModelError(f'model "{id}" does not give {dataset.num_classes} numbers for an image')
    return found


def _of_model(id: str, stated: Stated, scores: Scores, dataset: Dataset) -> Iterator[Check]:
    faults, shown = [], []
    for split, figures in stated.figures.items():
        labels = getattr(dataset, split).labels
        found = metrics.evaluate(scores[split], labels, dataset.class_names, dataset.task)
        faults += differences(dict(figures), found, split)
        shown.append(f"{dataset.task.accuracy_title} {found[dataset.task.accuracy]:.4f} on {split} (n = {len(labels)})")
    yield from all_or_faults(f"figures of {id}", faults, f"computed anew: {', '.join(shown)}")


def _of_kernels(told: Told, scores: Mapping[str, Scores], dataset: Dataset) -> Iterator[Check]:
    assert told.document is not None
    shipped = next((id for id, stated in told.models.items() if stated.shipped and id in scores), None)
    stated = told.document.get("kernels")
    if shipped is None or stated is None:
        return
    probs = {kernel: scores[shipped]["test" if kernel == "xnnpack" else f"test__{kernel}"] for kernel in KERNELS}
    integers = None
    if INTEGER in scores:
        integers = {kernel: scores[INTEGER][f"{_RAW}{kernel}"] for kernel in KERNELS}
    found = kernel_envelope(probs, dataset.task, integers)
    if integers is None:
        for row in found["against_xnnpack"].values():
            del row["max_int8_difference"]
    faults = differences(stated, found, "kernels")
    held = f"computed anew on {len(dataset.test.labels)} test images: {', '.join(KERNELS)}"
    yield from all_or_faults("kernels", faults, held)


def _of_claims(
    document: Mapping[str, Any], scores: Mapping[str, Scores], dataset: Dataset, config: Verify
) -> Iterator[Check]:
    shipped = next((row["id"] for row in document["models"] if row["shipped"]), None)
    if shipped is None or shipped not in scores:
        yield Check("claims on test", None, "the shipped model could not be run")
        return
    on_test = {id: found["test"] for id, found in scores.items()}
    yield from claim_checks(document, on_test, dataset.test.labels, config)


def available(config: Data) -> str | None:
    """Why the data of a recipe is not at hand; None where it is. Nothing is downloaded."""
    from edgekd.data import medmnist

    if config.path:
        return None if Path(config.path).exists() else f'"{config.path}" is not there; name the data with --data'
    if config.name in medmnist.TABLE:
        file = medmnist.cache_folder() / f"{config.name}.npz"
        return None if file.exists() else f"{config.name} is not in the cache; name it with --data"
    return None if config.name == "synthetic_cells" else f"name {config.name} with --data"
