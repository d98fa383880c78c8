"""The report: one document, written as JSON, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from edgekd import attribution, budget_report, host, pruning_report, target
from edgekd.artifact import Artifact, read_json, write_json
from edgekd.options import to_table
from edgekd.page import render
from edgekd.recipe import Recipe
from edgekd.run_report import SCHEMA_VERSION
from edgekd.tasks import TASKS
from edgekd.verification import FINDINGS

DATASET_FIELDS = (
    *("name", "licence", "source", "attribution", "task", "class_names", "image_size", "resize"),
    *("num_train", "num_calibration", "num_val", "num_test", "calibration_indices", "sha256", "warnings"),
)

Document = Mapping[str, Any]


def report(
    *,
    recipe: Recipe,
    data: Artifact,
    models: Sequence[Artifact],
    verification: Artifact,
    benchmark: Artifact | None,
    stages: Sequence[Mapping[str, Any]],
    out_dir: Path,
    pruned: Artifact | None = None,
    sensitivity: Artifact | None = None,
    aware: Artifact | None = None,
    budget: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    trainings: Mapping[str, Artifact] | None = None,
    fitted: Artifact | None = None,
    npu: Mapping[str, Any] | None = None,
    serving: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Assemble the document, hold it against its schema, and write ``report.json``, ``report.md``, ``report.html``.

    Args:
        recipe: as resolved.
        data: data set's artifact.
        models: artifacts with ``models`` entries in their facts.
        verification: of the verify stage.
        benchmark: of the benchmark stage, if it was run.
        stages: ``{"name", "key", "cached", "seconds"}`` each.
        out_dir: the run folder.
        pruned: of the prune stage, if there was one.
        sensitivity: of the analysis before it, if there was one.
        aware: of the qat stage, if there was one.
        budget: what was tried to keep the recipe's budget: ``shipped`` and the other ``candidates``.
        evidence: what is shown of single images and runs: of :mod:`edgekd.evidence`, :mod:`edgekd.lookalikes` and
            :mod:`edgekd.timing`.
        trainings: artifacts of the stages that trained, by name; their facts hold a ``history``.
        fitted: of the fit stage, if there was one.
        npu: facts of the compile stage, where the target has an NPU.
        serving: of :func:`edgekd.serving.report.entry`, where the target is a server.

    Returns:
        The document.
    """
    made = assemble(recipe, data, models, verification, benchmark, stages, pruned, sensitivity, aware, budget, fitted)
    curves = {name: list(training.facts["history"]) for name, training in (trainings or {}).items()}
    warnings = [*made["warnings"], *(serving["warnings"] if serving else ())]
    parts = {"npu": npu, "serving": serving, "warnings": warnings, "learning_curves": curves}
    document = {**made, **(evidence or {}), **parts}
    write(document, out_dir)
    return document


def write(document: dict[str, Any], out_dir: Path) -> None:
    """Hold a document against its schema, and write it in its three forms."""
    check(document)
    write_json(out_dir / "report.json", document)
    (out_dir / "report.md").write_text(render(document, "report.md.j2"), encoding="utf-8")
    (out_dir / "report.html").write_text(render(document, "report.html.j2"), encoding="utf-8")


def assemble(
    resolved: Recipe,
    data: Artifact,
    models: Sequence[Artifact],
    verification: Artifact,
    benchmark: Artifact | None,
    stages: Sequence[Mapping[str, Any]],
    pruned: Artifact | None = None,
    sensitivity: Artifact | None = None,
    aware: Artifact | None = None,
    budget: Mapping[str, Any] | None = None,
    fitted: Artifact | None = None,
) -> dict[str, Any]:
    """Bring together what the stages found, in the names of the schema."""
    timed = benchmark.facts["models"] if benchmark else {}
    rows = []
    for entry in (entry for model in models for entry in model.facts["models"]):
        figures = verification.facts["models"][entry["id"]]
        timing = timed.get(entry["id"], {"latency": [], "peak_rss_bytes": None})
        rows.append({**entry, "file": f"models/{entry['id']}.tflite", **figures, **timing})
    shipped = next(row for row in rows if row["shipped"])
    ratios = benchmark.facts["ratios"] if benchmark else []
    what = pruned.facts if pruned else None
    zeros = pruning_report.weight_pruning(to_table(resolved.prune), what, [model.facts for model in models])
    versions = host.versions()
    changes, task = verification.facts["accuracy_changes"], TASKS[data.facts["task"]]
    return {
        "schema_version": SCHEMA_VERSION,
        "edgekd_version": versions.pop("edgekd", "unknown"),
        "versions": versions,
        "commit": host.commit(),
        "host": {**host.host(), **(benchmark.facts["host"] if benchmark else {})},
        "recipe": to_table(resolved),
        "seed": resolved.seed,
        "dataset": {
            **{name: data.facts[name] for name in DATASET_FIELDS},
            "num_classes": len(data.facts["class_names"]),
            "num_unreadable": len(data.facts["unreadable"]),
        },
        "models": rows,
        "given_teacher": _given_teacher(models),
        "sensitivity": _sensitivity(sensitivity, pruned),
        "channel_pruning": pruning_report.channel_pruning(what),
        "weight_pruning": zeros,
        "pruning_gain": pruning_report.gain(shipped, rows, ratios),
        "quantization": _quantization(models),
        "weight_clustering": _said(pruned, "num_clusters", "distinct_values", "int8"),
        "quantization_aware_training": _said(aware, "val", "better", "preserved", "ranges"),
        "claims": verification.facts["claims"],
        "not_measured": [
            *_not_measured([row["id"] for row in rows], _given_teacher(models)),
            *filter(None, [target.why_not_timed(target.load(resolved.benchmark.target))]),
        ],
        "gates": verification.facts["gates"],
        "kernels": verification.facts["kernels"],
        "agreement": verification.facts["agreement"],
        **{name: verification.facts.get(name) for name in FINDINGS},
        "ratios": ratios,
        "attribution": attribution.steps(rows, changes, ratios, task),
        "candidates": [
            *(
                {"model": row["id"], "reason": _why_not_shipped(row["id"], shipped)}
                for row in rows
                if row["role"] == "student" and not row["shipped"]
            ),
            *pruning_report.encoding_candidates(shipped["id"], zeros and zeros["encoding"]),
            *((budget or {}).get("candidates", [])),
        ],
        "budget": budget and budget_report.shipped(resolved.budget, rows, budget["shipped"], task),
        "target": fitted and {name: value for name, value in fitted.facts.items() if name != "warnings"},
        "stages": [dict(stage) for stage in stages],
        "warnings": [
            *data.facts["warnings"],
            *(warning for model in models for warning in model.facts.get("warnings", [])),
            *verification.facts["warnings"],
            *(warning for made in (benchmark, fitted) if made for warning in made.facts["warnings"]),
        ],
    }


def check(document: Document) -> None:
    """Raise ``jsonschema.ValidationError`` unless the document follows the schema in the package."""
    import jsonschema

    schema = read_json(Path(str(resources.files("edgekd") / "schemas" / "report.schema.json")))
    jsonschema.validate(document, schema)


def _given_teacher(models: Sequence[Artifact]) -> dict[str, Any] | None:
    """A teacher that came as a file: which, and what it can do."""
    facts = next((model.facts for model in models if "given" in model.facts), None)
    return None if facts is None else {**facts["given"], "val": facts["val"], "test": facts["test"]}


def _sensitivity(analysis: Artifact | None, pruned: Artifact | None) -> dict[str, Any] | None:
    """What was measured of each layer, and what fraction of it pruning then took; None without an analysis."""
    if analysis is None or pruned is None:
        return None
    if "channels" in pruned.facts:
        taken = {name: 1 - count["after"] / count["before"] for name, count in pruned.facts["channels"].items()}
    else:
        taken = pruned.facts["layer_sparsities"]
    names = ("kind", "num_images", "baseline")
    layers = [{**row, "taken": taken[row["layer"]]} for row in analysis.facts["layers"]]
    return {**{name: analysis.facts[name] for name in names}, "layers": layers}


def _quantization(models: Sequence[Artifact]) -> dict[str, Any] | None:
    """How the shipped INT8 came about, and which layers stayed in float; None in runs from before this was noted."""
    facts = next(model.facts for model in models if any(entry["shipped"] for entry in model.facts["models"]))
    names = ("calibration", "temperature", "reestimated_batchnorm", "mixed")
    return {name: facts.get(name) for name in names} if "calibration" in facts else None


def _said(made: Artifact | None, *names: str) -> dict[str, Any] | None:
    """What a stage found, and its sentence; None where another stage, or none, stands in its place."""
    if made is None or names[0] not in made.facts:
        return None
    return {"text": made.facts["summary"], **{name: made.facts[name] for name in names}}


def _not_measured(ids: Sequence[str], teacher: Mapping[str, Any] | None = None) -> list[str]:
    """What a reader would look for among the claims, and why it is not there."""
    found = []
    if teacher is not None and not any(id.startswith("teacher_") for id in ids):
        found.append(f"size and latency against the teacher were not measured; {teacher['file']} is no .tflite")
    if "student_alone_fp32" in ids:
        return found
    return [
        *found,
        "what distillation brought over the same student trained alone was not measured; "
        "distill.train_alone = true trains that student too",
    ]


def _why_not_shipped(id: str, shipped: Mapping[str, Any]) -> str:
    int8 = "INT8 throughout: it lost too much on val, or the recipe keeps layers in float"
    if shipped["output_type"] == "int8":
        int8 = "float output: the target takes integers alone"
    return {
        "student_alone_fp32": "the student without the teacher, for comparison",
        "distilled_fp32": "the student before pruning or QAT, for comparison",
        pruning_report.UNPRUNED: "the student before pruning, for comparison",
        "pruned_fp32": "the student right after channels were removed, for comparison",
        "student_fp32": "the float form, for comparison",
        "student_fp16": "half precision: larger than INT8",
        "student_dynamic": "dynamic range: activations stay in float",
        "student_int8": int8,
        "student_int16x8": "16 bits between the layers: some fifty times slower than INT8 on x86",
        "student_int8_io": "integer input and output, for NPUs and microcontrollers",
    }.get(id, "another form of the student")
