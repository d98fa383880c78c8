"""The model card: what TRIPOD+AI and CLAIM ask for, filled in where the run knows.

Item numbers: TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378) and CLAIM in its first numbering (Mongan et al. 2020,
Radiology: Artificial Intelligence 2:e200029). What only a person can know stays empty, and is shown to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.page.figures import Document, baseline_of, shipped_of, task_of
from edgekd.units import format_bytes

_LEVEL = "how they were made, and the level at which they are disjoint: patient, site"


@dataclass(frozen=True)
class Field:
    """One line of the card.

    Attributes:
        name: what is asked.
        value: what the run knows; empty where a person must say it.
        tripod: items of TRIPOD+AI.
        claim: items of CLAIM.
        wanted: what a person is asked for, where the value is empty or only a part of the answer.
    """

    name: str
    value: str
    tripod: str
    claim: str
    wanted: str = ""


def card(document: Document) -> list[tuple[str, list[Field]]]:
    """Groups of fields, in the order of a paper."""
    dataset, shipped, baseline = document["dataset"], shipped_of(document), baseline_of(document)
    return [
        ("Purpose", _purpose(document)),
        ("Data", _data(dataset)),
        ("Reference standard", _reference(dataset)),
        ("Model", _model(document, shipped, baseline)),
        ("Evaluation", _evaluation(document, shipped)),
        ("Use and limits", _use(document)),
        ("Around the study", _around(document)),
    ]


def _purpose(document: Document) -> list[Field]:
    return [
        Field("Intended use", document["recipe"]["bundle"]["intended_use"], "3b", "3", "clinical role, care pathway"),
        Field("Target population", "", "3b", "3", "who is examined, where, and by whom the answer is used"),
        Field("Clinical background and existing models", "", "3a", "3", "why this model, and what is done today"),
        Field("Known health inequalities", "", "3c", "", "between groups of patients, in this question"),
        Field("Objective", "", "4", "4, 6", "development, evaluation, or both; hypotheses"),
        Field("Prospective or retrospective", "", "5a", "5", "whether images were taken for this study"),
    ]


def _data(dataset: Mapping[str, Any]) -> list[Field]:
    counts = f"{dataset['num_train']:,} / {dataset['num_val']:,} / {dataset['num_test']:,} images in train / val / test"
    unreadable = dataset.get("num_unreadable")
    source = ". ".join(part for part in (dataset["name"], dataset.get("source"), dataset.get("attribution")) if part)
    prepared = (
        f"EXIF rotation, RGB, {dataset['resize']} to {dataset['image_size']} × {dataset['image_size']} pixels, 8 bits"
        if "image_size" in dataset
        else ""
    )
    excluded = "" if unreadable is None else f"{unreadable:,} unreadable images left out"
    return [
        Field("Source", source, "5a", "7", "sites, scanners, how representative"),
        Field("Dates of acquisition", "", "5b", "7", "first and last"),
        Field("Setting and eligibility", "", "6a, 6b", "8", "inclusion and exclusion"),
        Field("Treatments before imaging", "", "6c", ""),
        Field("Preparation of the images", prepared, "7", "9"),
        Field("De-identification", "", "7", "12", "method; text burned into pixels"),
        Field("Missing and excluded images", excluded, "11", "10, 13", "and those left out before"),
        Field("Sample size", counts, "10, 20a", "19, 33", "and whether it was planned"),
        Field("Partitions", "train, val and test; images in two of them stand under Data", "12a", "20, 21", _LEVEL),
        Field("Demographic and clinical characteristics", "", "20b", "34", "of each partition"),
        Field("Licence", dataset["licence"], "18e", ""),
    ]


def _reference(dataset: Mapping[str, Any]) -> list[Field]:
    names = dataset.get("class_names", [])
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    outcome = f"{dataset.get('task', 'multi-class')}: {listed}" if names else ""
    return [
        Field("Outcome", outcome, "8a", "11, 14", "definition of each class, and why this standard"),
        Field("Annotators", "", "8b", "16, 17", "who, how many, how qualified, with which tools"),
        Field("Blinding", "", "8c", "16", "what annotators knew"),
        Field("Agreement between annotators", "", "8b", "18", "and how disagreements were settled"),
    ]


def _model(document: Document, shipped: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[Field]:
    recipe = document["recipe"]
    distill, teacher = recipe["distill"], recipe["teacher"]
    about = f"{distill['student']} of width {distill['width_multiplier']:g}; {shipped['num_params']:,} parameters, "
    about += f"{shipped['macs']:,} multiply-accumulates, {format_bytes(shipped['tflite_bytes'])} as {shipped['dtype']}"
    answer = "logit" if shipped["output_type"] == "int8" else "probability"
    takes = f"RGB image as {shipped['input_type']}; {answer} of each "
    takes += f"{'label' if task_of(document).several else 'class'} as {shipped['output_type']}"
    start = {"none": "random weights", "imagenet": "ImageNet weights"}.get(distill["weights"], "a file of weights")
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return [
        Field("Architecture", about, "12c, 22", "22"),
        Field("Input and output", takes, "9b, 15", "22"),
        Field("Initialization", f"student from {start}", "12c", "24"),
        Field("Training", f"as under What was asked; seed {document['seed']}", "12c", "25"),
        Field(
            "Choice of the final model",
            "highest AUC on val, epoch by epoch; compression as the gates allow",
            "12c",
            "26",
        ),
        Field("Ensembling", _ensembling(teacher), "12c", "27"),
        Field("Recalibration", _recalibration(document), "12f, 24", ""),
        Field("Class imbalance", _imbalance(recipe), "13", ""),
        Field("Software", f"edgekd {document['edgekd_version']}; {versions}", "12c", "23"),
    ]


def _ensembling(teacher: Mapping[str, Any]) -> str:
    several = teacher.get("copies", 1) > 1 or teacher.get("members")
    return "the teacher is the mean of several networks; the shipped model is one" if several else "none"


def _recalibration(document: Document) -> str:
    found = document.get("quantization")
    return f"temperature {found['temperature']:.3f}, fitted to val" if found else ""


def _imbalance(recipe: Mapping[str, Any]) -> str:
    balanced = recipe["distill"]["training"].get("class_weights") == "balanced"
    return "classes count alike in the loss" if balanced else "none: images count alike"


def _evaluation(document: Document, shipped: Mapping[str, Any]) -> list[Field]:
    task, test = task_of(document), shipped["test"]
    figures = f"{task.accuracy_title} {test[task.accuracy]:.3f}, AUC {test['auc']:.3f}, macro recall "
    figures += f"{test['macro_recall']:.3f}, ECE {test['ece']:.3f}, Brier score {test['brier']:.3f}; n = {test['n']:,}"
    cases = document.get("cases")
    failures = (
        f"{cases['num_mistakes']:,} of {cases['num_decisions']:,} decisions wrong; the surest are listed"
        if cases
        else ""
    )
    return [
        Field("Performance on test", figures, "23a", "35, 36"),
        Field("Uncertainty", "Wilson intervals of recalls; paired intervals of differences", "12e", "28, 29"),
        Field("Calibration", "reliability diagrams above" if document.get("reliability") else "", "12e, 23a", "28"),
        Field("Subgroups and fairness", "", "14, 23a", "34", "performance by age, sex, ethnicity, site, device"),
        Field("External evaluation", "", "12d, 16", "32", "on images of other sites"),
        Field("Robustness", _robustness(document), "12d", "30"),
        Field("Explainability", "", "12g", "31", "methods, and how they were validated"),
        Field("Failures", failures, "23a", "37", "what a clinician sees in them"),
    ]


def _robustness(document: Document) -> str:
    kernels = document.get("kernels")
    if not kernels:
        return ""
    flips = max(row["num_top1_flips"] for row in kernels["against_xnnpack"].values())
    return f"at most {flips} of {kernels['num_images']:,} decisions differ between LiteRT's kernels"


def _use(document: Document) -> list[Field]:
    confidence = document["recipe"]["bundle"].get("min_confidence", 0.0)
    return [
        Field("Limitations", "images like those of this data set alone; one split, one seed", "26", "38", "and others"),
        Field("Poor or unfamiliar input", f"below probability {confidence:g} the app says low confidence", "27a", ""),
        Field("Expertise and interaction of users", "", "27b", "39", "who acts on the answer, and how"),
        Field("Implications and next steps", "", "25, 27c", "39"),
    ]


def _around(document: Document) -> list[Field]:
    commit = document.get("commit")
    code = f"edgekd {document['edgekd_version']}" + (f", commit {commit}" if commit else "")
    return [
        Field("Ethical approval", "", "17", "", "committee, number, or why none was needed"),
        Field("Registration and protocol", "", "18c, 18d", "40, 41"),
        Field("Funding and conflicts of interest", "", "18a, 18b", "42"),
        Field("Patient and public involvement", "", "19", ""),
        Field("Availability of data", "", "18e", "41"),
        Field("Availability of code and model", code, "18f", "41"),
        Field("Responsible person, contact, date", "", "", ""),
    ]
