"""A stranger's trained network without its images: channels go, INT8 comes, and what that changed is measured.

Composes the stages of a build around a network that is not trained here. Without labelled images accuracy cannot be
measured, and the report says so; it gives how far each form agrees with the one before it.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from edgekd import _keras, data, host, keys
from edgekd.artifact import Artifact, read_json, write_json
from edgekd.cache import Cache, versions
from edgekd.compress_settings import used
from edgekd.compression_table import markdown
from edgekd.errors import DataError
from edgekd.models import kind_of, runtime_of
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.run_folder import FIRST_EVENT, RunFolder
from edgekd.stage_runner import StageRunner
from edgekd.stages.adopt import adopt
from edgekd.stages.benchmark import benchmark
from edgekd.stages.compare import compare, ids
from edgekd.stages.cut_channels import cut_channels
from edgekd.stages.make_up import NAME as MADE_UP
from edgekd.stages.make_up import make_up
from edgekd.stages.quantize import quantize
from edgekd.tasks import TASKS
from edgekd.timing import NUM_IMAGES

SCHEMA_VERSION = 1
ORIGINAL, PRUNED = "original", "pruned"


def compress(recipe_: Recipe, out: Path, *, cache: Cache, progress: Progress | None = None) -> dict[str, Any]:
    """Prune and convert the network of a recipe, and say what each step changed.

    Args:
        recipe_: of :func:`edgekd.compress_settings.load`.
        out: folder of ``compression.json``, ``compression.md`` and ``models/``: the .tflite files, and the pruned
            network as a Keras file, for training on.
        cache: store of finished stages.
        progress: where long work is shown.

    Returns:
        What ``compression.json`` holds: ``model``, ``accuracy_measured``, ``images``, ``channel_pruning``, ``models[]``
        (named as in ``report.json``), ``comparisons[]``, ``ratios[]`` of latency, ``warnings[]``; settings, host,
        versions, commit.

    Raises:
        EdgekdError: see :mod:`edgekd.errors`.
    """
    with RunFolder(out) as folder, folder.writing():
        folder.log(FIRST_EVENT, recipe=recipe_.name, seed=recipe_.seed, versions=versions())
        chain = _Chain(recipe_, StageRunner(recipe_.seed, 1, folder, cache, progress or Progress(), None))
        document = chain.run()
        models = folder.staging / "models"
        models.mkdir()
        for id, path in chain.files.items():
            shutil.copyfile(path, models / f"{id}.tflite")
        if PRUNED in chain.networks:
            _write_keras(chain.networks[PRUNED], models / f"{PRUNED}.h5")
        _check_document(document)
        write_json(folder.staging / "compression.json", document)
        (folder.staging / "compression.md").write_text(markdown(document), encoding="utf-8")
        folder.publish()
    return document


class _Chain:
    """One pass over the stages."""

    def __init__(self, recipe_: Recipe, runner: StageRunner):
        self.recipe, self.runner = recipe_, runner
        self.networks: dict[str, Artifact] = {}
        self.converted: dict[str, Artifact] = {}
        self.has_labels = recipe_.data.name != MADE_UP

    @property
    def files(self) -> dict[str, Path]:
        """The .tflite files by id, the original's float form first."""
        return {
            id: artifact.path / entry["file"]
            for name, artifact in self.converted.items()
            for id, entry in ids(name, artifact).items()
        }

    def run(self) -> dict[str, Any]:
        """The stages, in the order in which the network passes them; returns the document."""
        r, cached = self.recipe, self.runner.cached
        key = {"config": keys.teacher_by_content(r.teacher), "runtime": runtime_of(kind_of(Path(r.teacher.model)))}
        adopted = cached("adopt", adopt, config=r.teacher, ingredients=key, image_size=r.data.image_size)
        self.networks[ORIGINAL] = adopted
        seen = {ORIGINAL: self.images(ORIGINAL)}
        images = seen[ORIGINAL]
        if r.prune.keep_macs < 1:
            self.networks[PRUNED] = cached("cut_channels", cut_channels, images, adopted, config=r.prune)
            seen[PRUNED] = self.images(PRUNED)
        for name, network in self.networks.items():
            self.converted[name] = cached(
                f"quantize.{name}",
                quantize,
                seen[name],
                network,
                config=r.quantize,
                seed=r.seed,
                steps=["channel_pruned"] if name == PRUNED else [],
                description=f"{adopted.facts['given']['file']}, {name}. Not a medical device.",
            )
        compared = cached(
            "compare",
            compare,
            images,
            list(self.converted.values()),
            config=list(self.converted),
            has_labels=self.has_labels,
        )
        timed = self.runner.fresh("benchmark", self.benchmark, images)
        return self.document(images, compared, timed)

    def images(self, name: str) -> Artifact:
        """The data, or images that are made up and labelled by the network's own answers."""
        facts, r = self.networks[ORIGINAL].facts, self.recipe
        size = {"image_size": facts["image_size"]}
        if not self.has_labels:
            count = r.data.num_calibration_samples
            return self.runner.cached(
                f"make_up.{name}", make_up, self.networks[name], config=count, **size, head=facts["head"], seed=r.seed
            )
        if "data" in self.runner.artifacts:
            return self.runner.artifacts["data"]
        config = dataclasses.replace(r.data, **size)
        probe = data.probe(config)
        _check_outputs(facts, probe)
        source = {"source": probe.fingerprint}
        return self.runner.cached("data", data.prepare, config=config, ingredients=source, shown=True)

    def benchmark(self, images: Artifact) -> Artifact:
        """Time every file, interleaved."""
        pictures = data.Dataset.open(images).test.images[:NUM_IMAGES]
        with tempfile.TemporaryDirectory() as folder:
            seed, progress = self.recipe.seed, self.runner.progress
            return benchmark(self.files, pictures, self.recipe.benchmark, Path(folder), seed=seed, progress=progress)

    def document(self, images: Artifact, compared: Artifact, timed: Artifact) -> dict[str, Any]:
        """Bring together what the stages found."""
        r, found = self.recipe, versions_and_host()
        facts = self.networks[ORIGINAL].facts
        cut = self.networks.get(PRUNED)
        rows = []
        for name, artifact in self.converted.items():
            for id, entry in ids(name, artifact).items():
                kept = {key: value for key, value in entry.items() if key not in ("role", "shipped")}
                figures = {"test": compared.facts["models"].get(id), **timed.facts["models"][id]}
                rows.append({**kept, "id": id, "network": name, "file": f"models/{id}.tflite", **figures})
        shown = ("name", "source", "licence", "attribution", "task", "class_names", "num_test", "num_calibration")
        return {
            "schema_version": SCHEMA_VERSION,
            **found,
            "model": {key: value for key, value in facts.items() if key != "summary"},
            "settings": used(r),
            "seed": r.seed,
            "accuracy_measured": self.has_labels,
            "images": {key: images.facts[key] for key in (*shown, "sha256")},
            "channel_pruning": cut and {key: value for key, value in cut.facts.items() if key != "summary"},
            "quantization": {
                name: {key: value for key, value in artifact.facts.items() if key not in ("models", "warnings")}
                for name, artifact in self.converted.items()
            },
            "models": rows,
            "comparisons": compared.facts["pairs"],
            "differences": compared.facts["differences"],
            "ratios": timed.facts["ratios"],
            "stages": [dataclasses.asdict(record) for record in self.runner.records],
            "warnings": _warnings(images, [*self.converted.values(), compared, timed], rows, self.has_labels),
        }


def _check_document(document: Mapping[str, Any]) -> None:
    """Raise ``jsonschema.ValidationError`` unless the document follows the schema in the package."""
    import jsonschema

    schema = read_json(Path(str(resources.files("edgekd") / "schemas" / "compression.schema.json")))
    jsonschema.validate(document, schema)


def versions_and_host() -> dict[str, Any]:
    """What figures were measured with and on."""
    found = host.versions()
    edgekd_version = found.pop("edgekd", "unknown")
    return {"edgekd_version": edgekd_version, "versions": found, "commit": host.commit(), "host": host.host()}


def _check_outputs(facts: Mapping[str, Any], probe: data.Probe) -> None:
    """Raise where the network's outputs are not the data's classes."""
    file, head = facts["given"]["file"], TASKS[probe.task].head
    if facts["num_classes"] != probe.num_classes:
        raise DataError(
            f"{file} has {facts['num_classes']} outputs, the data {probe.num_classes} classes; images in the network's "
            "own classes are wanted, in the order of its outputs"
        )
    if facts["head"] != head:
        raise DataError(f"{file} ends with a {facts['head']}, the data ({probe.task}) takes a {head}")


def _warnings(
    images: Artifact, found: Sequence[Artifact], rows: Sequence[Mapping[str, Any]], has_labels: bool
) -> list[str]:
    texts = [*images.facts["warnings"], *(text for one in found for text in one.facts.get("warnings", []))]
    task = TASKS[images.facts["task"]]
    if has_labels and not task.several:
        figures = rows[0]["test"]
        largest = max(row["n"] for row in figures["per_class"]) / figures["n"]
        if figures[task.accuracy] <= largest:
            texts.append(
                f"{rows[0]['id']}: {task.accuracy_title} {figures[task.accuracy]:.3f}, no better than always naming "
                f"the largest class ({largest:.3f}); is the range of its input right, and the order of its classes?"
            )
    return list(dict.fromkeys(texts))


def _write_keras(network: Artifact, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        _keras.load_model(network.path / "model").save(path, include_optimizer=False)
