"""The chain from data to bundle: composes the stages, each looked up in the cache first."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekd import _keras, data, recipe
from edgekd.artifact import Artifact, read_json
from edgekd.cache import Cache, StageRecord, code_digest, versions
from edgekd.errors import OutputError, UserError, did_you_mean
from edgekd.progress import Progress
from edgekd.recipe import Distill, Recipe
from edgekd.run_folder import FIRST_EVENT, RunFolder
from edgekd.units import format_seconds

logger = logging.getLogger("edgekd")

STAGES = (
    "data",
    "teacher",
    "teacher_logits",
    "distill",
    "student_alone",
    "prune",
    "quantize",
    "verify",
    "benchmark",
    "bundle",
    "report",
)

NUM_BENCHMARK_IMAGES = 64


@dataclass(frozen=True)
class Run:
    """A finished build.

    Attributes:
        path: the run folder.
        report: ``report.json``, or None where the build stopped before (``until``).
        stages: what became of each stage.
    """

    path: Path
    report: Mapping[str, Any] | None
    stages: tuple[StageRecord, ...]

    @property
    def held(self) -> bool:
        """Whether every gate held."""
        return self.report is None or all(gate["held"] for gate in self.report["gates"])


class _Stop(Exception):
    """The stage named by ``until`` is done, or a dry run met the first stage that is not in the cache."""


def build(
    recipe_: Recipe, out: Path, *, cache: Cache, progress: Progress | None = None, until: str | None = None
) -> Run:
    """Build a recipe: from images to a measured .tflite, its report and its bundle.

    Args:
        recipe_: validated; what it leaves to the data is filled in here.
        out: run folder.
        cache: store of finished stages.
        progress: where long work is shown.
        until: name of the last stage to run.

    Raises:
        EdgekdError: see :mod:`edgekd.errors`.
    """
    check_stage(until)
    progress = progress or Progress()
    resolved, fingerprint = resolve(recipe_)
    with RunFolder(out) as folder:
        folder.log(FIRST_EVENT, recipe=resolved.name, seed=resolved.seed, versions=versions())
        builder = _Builder(resolved, fingerprint, folder, cache, progress, until)
        try:
            builder.chain()
        except _Stop:
            pass
        except BaseException as error:
            folder.log("stopped", reason=f"{type(error).__name__}: {error}")
            raise
        try:
            builder.stage_models()
            (folder.staging / "recipe.toml").write_text(recipe.to_toml(resolved), encoding="utf-8")
            folder.publish()
        except OSError as error:
            raise OutputError(
                f'"{out}" cannot be written ({error.strerror}); free space or name another folder with --out: finished '
                "stages are kept and are not run again"
            ) from error
        report_file = out / "report.json"
        report = read_json(report_file) if "report" in {record.name for record in builder.records} else None
        return Run(out, report, tuple(builder.records))


def plan(recipe_: Recipe, *, cache: Cache, until: str | None = None) -> tuple[Recipe, list[tuple[str, bool | None]]]:
    """Say what a build would do, without doing it.

    Returns:
        The recipe as resolved, and for each stage whether it is cached; None where that cannot be known before the
        stages ahead of it have run.
    """
    check_stage(until)
    resolved, fingerprint = resolve(recipe_)
    builder = _Builder(resolved, fingerprint, None, cache, Progress(), until)
    with contextlib.suppress(_Stop):
        builder.chain()
    known: dict[str, bool | None] = {record.name: record.cached for record in builder.records}
    wanted = [name for name in STAGES if name not in skipped_stages(resolved)]
    if until:
        wanted = wanted[: wanted.index(until) + 1]
    return resolved, [(name, known.get(name)) for name in wanted]


def check_stage(name: str | None) -> None:
    """Raise unless ``name`` is a stage or None."""
    if name is not None and name not in STAGES:
        raise UserError(f'unknown stage "{name}"{did_you_mean(name, STAGES)}')


def skipped_stages(resolved: Recipe) -> set[str]:
    """Stages that a recipe leaves out."""
    skipped = set()
    if not resolved.distill.train_alone:
        skipped.add("student_alone")
    if resolved.prune.method == "none":
        skipped.add("prune")
    return skipped


def resolve(recipe_: Recipe) -> tuple[Recipe, str]:
    """Look at the data and fill in what the recipe leaves to it; returns the digest of the source data too."""
    probe = data.probe(recipe_.data)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    resolved = recipe.sized_to(recipe_, num_train=probe.num_train, median_side=probe.median_side, num_threads=cores)
    return resolved, probe.fingerprint


class _Builder:
    """One pass over the chain. Without a folder it is a dry run: it ends at the first stage that is not cached."""

    def __init__(
        self,
        resolved: Recipe,
        fingerprint: str,
        folder: RunFolder | None,
        cache: Cache,
        progress: Progress,
        until: str | None,
    ):
        self.recipe, self.fingerprint, self.folder = resolved, fingerprint, folder
        self.cache, self.progress, self.until = cache, progress, until
        self.records: list[StageRecord] = []
        self.models: list[Artifact] = []

    def chain(self) -> None:
        """The stages, in the order in which the data passes them."""
        from edgekd.stages.distill import distill
        from edgekd.stages.prune import prune
        from edgekd.stages.quantize import quantize
        from edgekd.stages.teacher import teacher
        from edgekd.stages.teacher_logits import teacher_logits
        from edgekd.stages.verify import verify

        r, d = self.recipe, self.recipe.distill
        _keras.set_determinism(r.num_threads)

        images = self.cached("data", data.prepare, config=r.data, ingredients={"source": self.fingerprint})
        self.warn(images.facts["warnings"])

        large = self.trained("teacher", teacher, images, config=r.teacher)
        self.models.append(large)
        logits = self.trained("teacher_logits", teacher_logits, images, large, config=d.views, num_views=d.num_views)

        student = self.trained("distill", distill, images, logits, config=dataclasses.replace(d, train_alone=False))
        steps = ["distilled"]
        if d.train_alone:
            self.models.append(self.trained("student_alone", distill, images, None, config=_alone(r)))
        if r.prune.method != "none":
            loss = {"temperature": d.temperature, "hard_loss_weight": d.hard_loss_weight, "views": d.views}
            student = self.trained("prune", prune, images, logits, student, config=r.prune, **loss)
            steps.append("pruned")

        name = f"{d.student} {d.width_multiplier:g} for {images.facts['name']}"
        description = f"{name}. {r.bundle.intended_use}"
        small = self.cached(
            "quantize", quantize, images, student, config=r.quantize, seed=r.seed, steps=steps, description=description
        )
        self.models.append(small)
        verified = self.cached("verify", verify, images, self.models, config=r.verify, gates=r.gates, seed=r.seed)
        self.warn(verified.facts["warnings"])

        measured = self.fresh("benchmark", self.benchmark, images)
        self.fresh("bundle", self.bundle, images, small, verified)
        self.fresh("report", self.report, images, verified, measured)

    def cached(
        self,
        name: str,
        function: Callable[..., Artifact],
        *inputs: Any,
        config: Any,
        ingredients: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Artifact:
        """Run ``function(*inputs, config, out_dir, **options)``, or take what it made before."""
        return self._stage(
            name,
            function,
            inputs,
            {"config": config, **options, **(ingredients or {})},
            lambda out_dir, work: function(*inputs, config, out_dir, **options),
        )

    def trained(
        self, name: str, function: Callable[..., Artifact], *inputs: Any, config: Any, **options: Any
    ) -> Artifact:
        """The same for a stage that trains: it has a seed, a thread count, checkpoints and progress."""
        seed = self.recipe.seed
        return self._stage(
            name,
            function,
            inputs,
            {"config": config, **options, "seed": seed, "num_threads": self.recipe.num_threads},
            lambda out_dir, work: function(
                *inputs, config, out_dir, **options, seed=seed, work=work, progress=self.progress
            ),
        )

    def _stage(
        self,
        name: str,
        function: Callable[..., Artifact],
        inputs: Sequence[Any],
        ingredients: Mapping[str, Any],
        make: Callable[[Path, Path], Artifact],
    ) -> Artifact:
        key = {
            **{item: _plain(value) for item, value in ingredients.items()},
            "inputs": _digests(inputs),
            "code": code_digest(function.__module__),
            "versions": versions(),
        }
        if self.folder is None and not self.cache.has(name, key):
            raise _Stop
        self._announce(name)
        artifact, record = self.cache.run(name, make, key)
        self._finish(record)
        return artifact

    def fresh(self, name: str, function: Callable[..., Artifact | None], *inputs: Artifact) -> Any:
        """Run a stage that is never taken from the cache, because it reads the clock or is made in no time."""
        if self.folder is None:
            raise _Stop
        self._announce(name)
        started = time.monotonic()
        result = function(*inputs)
        self._finish(StageRecord(name, "", False, time.monotonic() - started))
        return result

    def _announce(self, name: str) -> None:
        if self.folder is not None:
            self.folder.log("stage started", stage=name)

    def _finish(self, record: StageRecord) -> None:
        self.records.append(record)
        if self.folder is not None:
            self.folder.log("stage finished", **asdict(record))
            logger.info(f"{record.name}: {'cached' if record.cached else format_seconds(record.seconds)}")
        if record.name == self.until:
            raise _Stop

    def warn(self, messages: Sequence[str]) -> None:
        """Pass on what a stage found worth a warning."""
        for message in messages:
            if self.folder is not None:
                logger.warning(message)
                self.folder.log("warning", message=message)

    def benchmark(self, images: Artifact) -> Artifact:
        """Time every model on real images of the test split."""
        from edgekd.stages.benchmark import benchmark

        paths = {entry["id"]: model.path / entry["file"] for model in self.models for entry in model.facts["models"]}
        pictures = data.Dataset.open(images).test.images[:NUM_BENCHMARK_IMAGES]
        with tempfile.TemporaryDirectory() as folder:
            return benchmark(
                paths, pictures, self.recipe.benchmark, Path(folder), seed=self.recipe.seed, progress=self.progress
            )

    def bundle(self, images: Artifact, small: Artifact, verified: Artifact) -> None:
        """Lay out the drop-in asset."""
        from edgekd.stages.bundle import bundle

        assert self.folder is not None
        out_dir = self.folder.staging / "bundle"
        out_dir.mkdir()
        bundle(
            small, images, verified, self.recipe.bundle, out_dir, recipe_name=self.recipe.name, seed=self.recipe.seed
        )

    def report(self, images: Artifact, verified: Artifact, measured: Artifact) -> None:
        """Write the report."""
        from edgekd.stages.report import report

        assert self.folder is not None
        report(
            recipe=self.recipe,
            data=images,
            models=self.models,
            verification=verified,
            benchmark=measured,
            stages=[asdict(record) for record in self.records],
            out_dir=self.folder.staging,
        )

    def stage_models(self) -> None:
        """Copy the .tflite files of every finished stage."""
        assert self.folder is not None
        target = self.folder.staging / "models"
        target.mkdir()
        for model in self.models:
            for entry in model.facts["models"]:
                shutil.copyfile(model.path / entry["file"], target / f"{entry['id']}.tflite")


def _alone(resolved: Recipe) -> Distill:
    """The student without the teacher: as many epochs as distillation and pruning have together."""
    d = resolved.distill
    epochs = d.training.epochs + (resolved.prune.training.epochs if resolved.prune.method != "none" else 0)
    return dataclasses.replace(
        d,
        training=dataclasses.replace(d.training, epochs=epochs),
        temperature=1.0,
        hard_loss_weight=1.0,
        num_views=1,
        train_alone=False,
    )


def _plain(value: Any) -> Any:
    return recipe.to_table(value) if dataclasses.is_dataclass(value) else value


def _digests(inputs: Sequence[Any]) -> list[Any]:
    return [_digests(part) if isinstance(part, Sequence) else part and part.digest for part in inputs]
