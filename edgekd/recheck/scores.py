"""The figures and claims of a run, computed anew from its raw scores: no data and no model is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import edgekd
from edgekd import metrics
from edgekd.artifact import sha256_file
from edgekd.claims import claims
from edgekd.config.verify import Verify
from edgekd.errors import DataError
from edgekd.options import read_table
from edgekd.page.figures import task_of
from edgekd.recheck.check import Check, all_or_faults, differences
from edgekd.tasks import Labels
from edgekd.verification import SCORES_FILE
from edgekd.verification.findings import ByModel, from_scores
from edgekd.verification.scores import read_scores

ABOUT = "scores"
# NumPy may draw otherwise in its next version; no verdict rests on the bootstrap.
_LEFT_OUT = ("text", "bootstrap_ci95")

Document = Mapping[str, Any]


def score_checks(run: Path, document: Document) -> Iterator[Check]:
    """Hold every figure and claim of a report against the scores beside it, whose digest it states."""
    stated = document.get("scores")
    if stated is None:
        yield Check(ABOUT, None, "the run is from before raw scores were kept beside the report")
        return
    path = run / SCORES_FILE
    if not path.is_file() or path.is_symlink() or sha256_file(path) != stated["sha256"]:
        text = "is not the file that the figures were computed from (SHA-256)" if path.is_file() else "is missing"
        yield Check(ABOUT, False, f"{SCORES_FILE} {text}; build the run again")
        return
    try:
        scores, labels = read_scores(path)
    except DataError as error:
        yield Check(ABOUT, False, str(error))
        return
    names, task = list(document["dataset"]["class_names"]), task_of(document)
    faults = []
    for row in document["models"]:
        for split in labels if row["id"] in scores else ():
            found = metrics.evaluate(scores[row["id"]][split], labels[split], names, task)
            faults += differences(row[split], found, f"{row['id']}: {split}")
    faults += [f"{row['id']} is not among them" for row in document["models"] if row["id"] not in scores]
    yield from all_or_faults(ABOUT, faults, f"the figures of {len(scores)} models come out of {SCORES_FILE}")
    shipped = next((row["id"] for row in document["models"] if row["shipped"]), None)
    if shipped in scores:
        config = read_table(Verify, document["recipe"].get("verify", {}), "verify.")
        yield from claim_checks(document, {id: rows["test"] for id, rows in scores.items()}, labels["test"], config)
        yield from _finding_checks(document, shipped, scores, labels, config)


def claim_checks(document: Document, on_test: Mapping[str, Any], labels: Labels, config: Verify) -> Iterator[Check]:
    """Compute the claims anew. They are compared where their method is the same: the version that made them.

    Args:
        document: the report.
        on_test: probabilities of each model on test, the shipped one among them.
        labels: of test.
        config: the margin.
    """
    about = "claims on test"
    if not _same_version(document):
        yield Check(about, None, _other_version(document))
        return
    sizes = {row["id"]: row["tflite_bytes"] for row in document["models"]}
    shipped = next(row["id"] for row in document["models"] if row["shipped"])
    found = {claim["id"]: claim for claim in claims(shipped, on_test, labels, sizes, config, task_of(document))}
    both = [claim for claim in document["claims"] if claim["id"] in found]
    faults = [
        f"claim {claim['id']}: {text}"
        for claim in both
        for text in differences(
            {key: value for key, value in claim.items() if key not in _LEFT_OUT}, found[claim["id"]]
        )
    ]
    yield from all_or_faults(about, faults, f"{len(both)} claims come out as stated")
    for claim in document["claims"]:
        if claim["id"] not in found:
            yield Check(about, None, f"{claim['id']}: a model that it compares with is not in the run")


def _finding_checks(
    document: Document, shipped: str, scores: ByModel, labels: Mapping[str, Labels], config: Verify
) -> Iterator[Check]:
    """Recalls before and after, thresholds and disagreements."""
    about = "classes"
    if not _same_version(document):
        yield Check(about, None, _other_version(document))
        return
    found = from_scores(shipped, scores, labels, document["dataset"]["class_names"], task_of(document), config)
    faults = [text for name in found if name in document for text in differences(document[name], found[name], name)]
    yield from all_or_faults(about, faults, "changes of recall, thresholds and disagreements come out as stated")


def _same_version(document: Document) -> bool:
    return bool(document["edgekd_version"] == edgekd.__version__)


def _other_version(document: Document) -> str:
    return f"they were computed by edgekd {document['edgekd_version']}, this is {edgekd.__version__}"
