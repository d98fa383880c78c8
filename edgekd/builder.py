"""One pass over the chain, from data to bundle: each stage is looked up in the cache first."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekd import _keras, data, forms, keys, target, target_stages, training_stages, workload
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.claims import shipped_of
from edgekd.data.source import Pictures
from edgekd.logits_store import Part
from edgekd.preflight import check_fit
from edgekd.progress import Progress
from edgekd.recipe import Recipe
from edgekd.run_folder import RunFolder
from edgekd.stage_runner import StageRunner, Stop
from edgekd.timing import NUM_IMAGES, SPREAD, time_build
from edgekd.workers import ALONE, Workers

# Those that write .tflite files, in the order of the chain.
MODEL_STAGES = ("teacher", "student_alone", "quantize.distilled", "quantize.pruned", "quantize")


class Builder(StageRunner):
    """One pass over the chain."""

    def __init__(
        self,
        resolved: Recipe,
        fingerprint: str,
        folder: RunFolder | None,
        cache: Cache,
        progress: Progress,
        until: str | None,
        dry: bool = False,
        budget: Mapping[str, Any] | None = None,
        part: Part | None = None,
        workers: Workers = ALONE,
        originals: Pictures = (),
    ):
        super().__init__(resolved.seed, resolved.num_threads, folder, cache, progress, until, dry, workers)
        self.recipe, self.fingerprint, self.budget = resolved, fingerprint, budget
        self.part, self.originals = part, originals

    @property
    def paths(self) -> dict[str, Path]:
        """Every .tflite so far, by the model's id."""
        return {entry["id"]: model.path / entry["file"] for model in self.models for entry in model.facts["models"]}

    @property
    def models(self) -> list[Artifact]:
        """What the finished stages wrote as .tflite, the teacher first."""
        return [self.artifacts[name] for name in MODEL_STAGES if name in self.artifacts]

    def origin(self, name: str, made: Artifact) -> dict[str, Any]:
        """The recipe, and how much work it was, too."""
        facts = self.artifacts.get("data", made).facts
        return {**super().origin(name, made), **workload.origin(self.recipe, facts, name)}

    def chain(self) -> None:
        """The stages, in the order in which the data passes them."""
        from edgekd.stages import sensitivity
        from edgekd.stages.quantize import quantize
        from edgekd.stages.verify import check_classes, verify

        r = self.recipe
        _keras.set_determinism(r.num_threads)
        uncertain = r.prune.method != "none" or r.quantize.float_layers or r.quantize.method == "qat"
        if r.distill.weights != "none" or keys.plugins(r.distill) or uncertain:
            check_fit(r)

        source = {"source": self.fingerprint}
        images = self.cached("data", data.prepare, config=r.data, ingredients=source, shown=True)
        for table in ("gates", "budget"):
            check_classes(table, getattr(r, table).min_recall, images.facts["class_names"])
        if r.prune.analysis:
            sensitivity.check(r.sensitivity, images, r.data.split_seed)

        student, steps = training_stages.student(self, r, images, self.part)
        if not self.workers.is_chief:
            raise Stop
        self.workers = ALONE  # the others have gone: what is left is not trained

        name = f"{r.distill.student} {r.distill.width_multiplier:g} for {images.facts['name']}"
        final: dict[str, Any] = {"seed": r.seed, "description": f"{name}. {r.bundle.intended_use}"}
        for form, variants in forms.on_the_way(r).items():
            stage, folder = forms.FORMS[form]
            plain = dataclasses.replace(r.quantize, variants=variants, method="ptq", mixed="none", float_layers=())
            form_of: dict[str, Any] = {"form": form, "folder": folder, "steps": steps[form], **final}
            self.cached(f"quantize.{form}", quantize, images, self.artifacts[stage], config=plain, **form_of)
        mixes = r.quantize.mixed != "none" or r.quantize.float_layers
        final |= {"steps": steps["student"], "max_drop_pp": r.gates.max_accuracy_drop_pp if mixes else None}
        profile = target.load(r.benchmark.target)
        if profile.only_variant:
            final["ship"] = profile.only_variant
        small = self.cached("quantize", quantize, images, student, config=r.quantize, **final)
        verified = self.cached("verify", verify, images, self.models, config=r.verify, gates=r.gates)

        measured = self.fresh("benchmark", self.benchmark, images)
        fitted = self.fresh("fit", self.fit, images, measured) if profile.asks else None
        target_stages.compiled(self, small, profile)
        served = target_stages.served(self, images, small, profile, r.benchmark)
        self.fresh("bundle", self.bundle, images, small, verified)
        report = functools.partial(self.report, serving=served)
        self.fresh("report", report, images, verified, measured, fitted)

    def benchmark(self, images: Artifact) -> Artifact | None:
        """Time every model on real images of the test split; None where the target is not this machine."""
        if (reason := target.why_not_timed(target.load(self.recipe.benchmark.target))) is not None:
            self._warn([reason])
            return None
        pictures = data.Dataset.open(images).test.images[:NUM_IMAGES]
        return time_build(self.paths, pictures, self.originals, self.recipe, self.progress)

    def fit(self, images: Artifact, measured: Artifact | None) -> Artifact:
        """Hold what is shipped against the target's profile."""
        from edgekd.stages.fit import fit

        id = str(shipped_of(self.models)["id"])
        p50_ms = None if measured is None else measured.facts["models"][id]["latency"][0]["p50_ms"]
        profile = target.load(self.recipe.benchmark.target)
        pictures = data.Dataset.open(images).test.images[:NUM_IMAGES]
        with tempfile.TemporaryDirectory() as folder:
            return fit(id, self.paths[id], pictures, profile, Path(folder), p50_ms=p50_ms)

    def bundle(self, images: Artifact, small: Artifact, verified: Artifact) -> None:
        """Lay out the drop-in asset."""
        from edgekd.stages.bundle import bundle

        assert self.folder is not None
        out_dir = self.folder.staging / "bundle"
        out_dir.mkdir()
        bundle(
            small,
            images,
            verified,
            self.recipe.bundle,
            out_dir,
            recipe_name=self.recipe.name,
            teacher=keys.teacher_by_content(self.recipe.teacher),
            student=keys.by_content(self.recipe.distill),
            seed=self.recipe.seed,
            compiled=self.artifacts.get("compile"),
            exported=self.artifacts.get("export"),
        )

    def report(
        self,
        images: Artifact,
        verified: Artifact,
        measured: Artifact | None,
        fitted: Artifact | None,
        *,
        serving: Mapping[str, Any] | None,
    ) -> None:
        """Write the report."""
        from edgekd import evidence
        from edgekd.lookalikes import lookalikes
        from edgekd.stages.report import report

        assert self.folder is not None
        shipped = shipped_of(self.models)["id"]
        report(
            recipe=self.recipe,
            data=images,
            models=self.models,
            verification=verified,
            benchmark=measured,
            pruned=self.artifacts.get("prune"),
            sensitivity=self.artifacts.get("sensitivity"),
            aware=self.artifacts.get("qat"),
            budget=self.budget,
            evidence={
                **evidence.of_run(images, verified, shipped, self.recipe.report),
                **lookalikes(images, self.recipe.report),
                **{name: measured.facts[name] for name in SPREAD if measured and name in measured.facts},
            },
            trainings={name: made for name, made in self.artifacts.items() if "history" in made.facts},
            fitted=fitted,
            npu=self.artifacts["compile"].facts if "compile" in self.artifacts else None,
            serving=serving,
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
