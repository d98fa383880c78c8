"""What the report of a run says of the files beside it, of its gates, and of its bundle."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd import limits, statistics
from edgekd.artifact import read_json, sha256_file
from edgekd.errors import EdgekdError
from edgekd.manifest import MODEL_FILE, is_inside
from edgekd.recheck.check import Check, all_or_faults, differences, gate_faults, schema_faults
from edgekd.statistics import Interval
from edgekd.tflite.describe import describe

REPORT_FILE = "report.json"
# Compressed sizes differ a little between builds of zlib.
GZIP_TOLERANCE = 0.02

Document = Mapping[str, Any]


def report_of(run: Path) -> tuple[Document | None, list[Check]]:
    """The report, or None where it cannot be used, and what is to be said of it."""
    try:
        document = read_json(run / REPORT_FILE)
    except (OSError, ValueError, RecursionError) as error:
        return None, [Check("report", False, f"{REPORT_FILE} cannot be read ({error}); build the run again")]
    faults = schema_faults(document, "report.schema.json", REPORT_FILE)
    checks = list(all_or_faults("report", faults, f"{REPORT_FILE} follows its schema"))
    return (None if faults else document), checks


def report_checks(run: Path, document: Document, intact: Mapping[str, Path]) -> Iterator[Check]:
    """Check what follows from the files and from the report itself, without data.

    Args:
        run: the folder.
        document: its report, which follows the schema.
        intact: of :func:`intact_models`.
    """
    for row in document["models"]:
        yield from _model_checks(run, row, intact)
    yield from all_or_faults("recipe", _recipe_faults(run, document), "recipe.toml is the recipe of the report")
    faults = [*gate_faults(limits.of_report(document)), *_limit_faults(document), *_measured_faults(document)]
    yield from all_or_faults("gates", faults, "the verdicts follow from the recipe's limits and the figures on val")
    faults = [fault for claim in document["claims"] for fault in _claim_faults(claim, document)]
    yield from all_or_faults("claims", faults, "the verdicts follow from the intervals and sizes")


def intact_models(run: Path, document: Document) -> dict[str, Path]:
    """Files of the models that are there, inside the run, and have the digest that the report states; by id."""
    found = {}
    for row in document["models"]:
        path = run / row["file"]
        if is_inside(row["file"]) and path.is_file() and not path.is_symlink() and sha256_file(path) == row["sha256"]:
            found[row["id"]] = path
    return found


def bundle_agrees(document: Document, manifest: Document) -> Iterator[Check]:
    """Whether the bundle is of this run: its model, figures and gates are those of the report."""
    shipped = [row for row in document["models"] if row["shipped"]]
    if len(shipped) != 1:
        yield Check("bundle", False, f"{REPORT_FILE} names {len(shipped)} shipped models, one is wanted")
        return
    (row,) = shipped
    digest = next(file["sha256"] for file in manifest["files"] if file["path"] == MODEL_FILE)
    faults = []
    if digest != row["sha256"]:
        faults.append(f"{MODEL_FILE} of the bundle is not the model that {REPORT_FILE} measured, {row['id']}")
    figures = manifest["figures"]
    for place, stated, found in (
        ("figures", row["test"], figures),
        ("figures.val", row["val"], figures.get("val", {})),
        ("gates", document["gates"], manifest["gates"]),
    ):
        faults += [f"the manifest and {REPORT_FILE} differ: {place} {text}" for text in differences(stated, found)]
    if manifest["labels"] != document["dataset"].get("class_names", manifest["labels"]):
        faults.append(f"the manifest and {REPORT_FILE} name other classes")
    yield from all_or_faults("bundle", faults, f"model, figures and gates are those of {REPORT_FILE}")


def _model_checks(run: Path, row: Document, intact: Mapping[str, Path]) -> Iterator[Check]:
    about = f"model {row['id']}"
    if row["id"] not in intact:
        there = is_inside(row["file"]) and (run / row["file"]).is_file()
        text = "is not the file that was measured (SHA-256)" if there else "is missing"
        yield Check(about, False, f"{row['file']} {text}; build the run again")
        return
    try:
        found = describe(intact[row["id"]], id=row["id"], role=row["role"], steps=row["steps"], shipped=row["shipped"])
    except EdgekdError as error:
        yield Check(about, False, str(error))
        return
    gzip_bytes, stated = found.pop("gzip_bytes"), row["gzip_bytes"]
    faults = differences(row, {**found, "file": row["file"]})
    if abs(gzip_bytes - stated) > GZIP_TOLERANCE * stated:
        faults.append(f"gzip_bytes is {gzip_bytes:,}, {stated:,} is stated")
    held = f"digest, {row['tflite_bytes']:,} bytes, {row['dtype']}, MACs and parameters are as stated"
    yield from all_or_faults(about, (f"{row['file']}: {fault}" for fault in faults), held)


def _recipe_faults(run: Path, document: Document) -> list[str]:
    try:
        table = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [f"recipe.toml cannot be read ({error}); build the run again"]
    return [] if table == document["recipe"] else [f"recipe.toml is not the recipe that {REPORT_FILE} states"]


def _limit_faults(document: Document) -> list[str]:
    """Gates that the recipe sets and the report leaves out or states with another limit."""
    wanted = dict(document["recipe"].get("gates", {}))
    wanted |= {f'min_recall."{name}"': limit for name, limit in wanted.pop("min_recall", {}).items()}
    stated = {gate["id"]: gate["limit"] for gate in document["gates"]}
    faults = [f"gate {name} of the recipe is not in {REPORT_FILE}" for name in sorted(set(wanted) - set(stated))]
    return faults + [
        f"gate {name} has the limit {stated[name]:g}, the recipe says {limit:g}"
        for name, limit in wanted.items()
        if name in stated and stated[name] != limit
    ]


def _measured_faults(document: Document) -> list[str]:
    """Gates whose measured figure is not the one that the report states of the shipped model."""
    shipped = next((row for row in document["models"] if row["shipped"]), None)
    if shipped is None:
        return []
    figures = {f"min_{name}": value for name, value in shipped["val"].items() if isinstance(value, (int, float))}
    figures |= {f'min_recall."{row["name"]}"': row["recall"] for row in shipped["val"]["per_class"]}
    figures["max_tflite_bytes"] = shipped["tflite_bytes"]
    stated = {gate["id"]: gate["measured"] for gate in document["gates"]}
    return [f"gate {text}" for text in differences(stated, figures)]


def _claim_faults(claim: Document, document: Document) -> Sequence[str]:
    """A claim whose verdict does not follow from its interval, or, of a size, whose figure not from the bytes."""
    kind, _, other = claim["id"].partition("_vs_")
    interval = Interval(claim["estimate"], *claim["ci95"])
    if kind == "size":
        sizes = {row["id"]: row["tflite_bytes"] for row in document["models"]}
        shipped = next((row["tflite_bytes"] for row in document["models"] if row["shipped"]), 0)
        ratio = sizes.get(other, 0) / shipped if shipped else 0
        wanted = "shown" if ratio > 1 else "refuted"
        if abs(ratio - claim["estimate"]) > 1e-9:
            return [f"claim {claim['id']} says {claim['estimate']:.4g}; the sizes give {ratio:.4g}"]
    elif kind in ("accuracy", "auc"):
        wanted = statistics.no_loss_verdict(interval, claim["margin"])
    elif kind.startswith("distillation_gain"):
        wanted = statistics.gain_verdict(interval)
    else:
        return []
    if claim["verdict"] == wanted:
        return []
    return [f"claim {claim['id']} is said to be {claim['verdict']}; its interval says {wanted}"]
