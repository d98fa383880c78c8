"""What verification found, in the report: the schema takes it, and both pages say it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jsonschema
import numpy as np
import pytest
from test_report import Page, document_by_hand

from edgekd import metrics
from edgekd.config.verify import Verify
from edgekd.stages.report import check, render
from edgekd.tasks import TASKS
from edgekd.verification import FINDINGS
from edgekd.verification.corruptions import CORRUPTIONS
from edgekd.verification.findings import from_images, from_scores, subgroups

Document = dict[str, Any]
NAMES = ["normal", "pneumonia"]


def lamp(threshold: float) -> Callable[[np.ndarray], np.ndarray]:
    def predict(images: np.ndarray) -> np.ndarray:
        on = 1 / (1 + np.exp(-0.05 * (images.mean(axis=(1, 2, 3)) - threshold)))
        return np.stack([1 - on, on], axis=1)

    return predict


def document() -> Document:
    """Two lamps on images of one grey each; the student's threshold is too high for the dim ones."""
    values = np.array([20, 120, 20, 150] * 10)
    labels = {split: np.array([0, 1] * 20) for split in ("val", "test")}
    images = np.stack([np.full((8, 8, 3), value, np.uint8) for value in values])
    predict = {"teacher_fp32": lamp(60), "student_int8": lamp(130)}
    scores = {name: {split: model(images) for split in labels} for name, model in predict.items()}
    task = TASKS["binary"]
    columns = {"site": np.array(["north", "south"] * 20)}
    made = document_by_hand()
    made |= from_scores("student_int8", scores, labels, NAMES, task, Verify(num_disagreements=3))
    made |= from_images(
        images,
        labels["test"],
        predict,
        scores["student_int8"]["test"],
        NAMES,
        task,
        shipped="student_int8",
        level=0.9,
        cells=True,
        count=40,
    )
    made["subgroups"] = subgroups("student_int8", scores, labels["test"], columns, task)
    shipped = made["models"][3]["test"]
    shipped["per_class"] = metrics.evaluate(scores["student_int8"]["test"], labels["test"], NAMES)["per_class"]
    made["scores"] = {"file": "scores.npz", "sha256": "a" * 64}
    for row in made["kernels"]["against_xnnpack"].values():
        row |= {"flips": [3, 17], "max_int8_difference": 12}
    made["claims"][0] |= {"mcnemar_p": 0.0371, "bootstrap_ci95": [-0.028, 0.008], "smallest_margin": 0.021}
    return made


@pytest.fixture(scope="module")
def full() -> Document:
    return document()


def test_the_schema_takes_what_is_found(full: Document) -> None:
    assert set(FINDINGS) <= set(full)
    check(full)
    check({**full, **dict.fromkeys(FINDINGS)})


@pytest.mark.parametrize("name", FINDINGS)
def test_the_schema_knows_every_part(name: str, full: Document) -> None:
    broken = copy.deepcopy(full)
    part = broken[name][0] if isinstance(broken[name], list) else broken[name]
    part.pop(next(iter(part)))
    with pytest.raises(jsonschema.ValidationError):
        check(broken)


def page(full: Document) -> str:
    return Page(render(full, "report.html.j2")).text


def test_both_pages_say_what_was_found(full: Document) -> None:
    for text in (page(full), render(full, "report.md.j2")):
        # Ten of twenty images of pneumonia are lost by a threshold above 120.
        assert "Recall before and after, test" in text
        assert "no difference shown" in text
        assert "Thresholds chosen on val, tried on test" in text
        assert "By subgroup, test" in text
        assert "site = south" in text
        assert "10 of 40 decisions; the most confident mistakes of student_int8 first, 3 of them" in text
        assert "loses significantly more than teacher_fp32 from these steps on" in text
        assert "Made-up noise: " in text
        assert "no effect on grey images" in text
        assert "McNemar's exact test, p = 0.037; paired bootstrap -2.8 to +0.8" in text
        assert "3, 17" in text


def test_ten_of_twenty_images_are_lost(full: Document) -> None:
    (pair,) = full["recall_changes"]
    assert [(row["after"], row["before"], row["verdict"]) for row in pair["classes"]] == [
        (1.0, 1.0, "no difference shown"),
        (0.5, 1.0, "lost"),
    ]


def test_tables_have_their_rows(full: Document) -> None:
    tables = Page(render(full, "report.html.j2")).tables
    steps = sum(len(corruption.severities) for corruption in CORRUPTIONS.values())
    (worse,) = [table for table in tables if table[0][0] == "pictures"]
    assert len(worse) == 1 + 1 + steps
    assert all(len(row) == len(worse[0]) for row in worse)
    (listed,) = [table for table in tables if table[0][0] == "test image"]
    assert len(listed) == 1 + 3


def test_markdown_tables_are_whole(full: Document) -> None:
    """Every row of a table has as many cells as its head."""
    block: list[str] = []
    for line in [*render(full, "report.md.j2").splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
        else:
            assert len({row.replace("\\|", "").count("|") for row in block}) <= 1, block[:2]
            block = []


def test_every_claim_and_heading_has_a_line_of_its_own(full: Document) -> None:
    lines = render(full, "report.md.j2").splitlines()
    assert sum(line.startswith("- **") for line in lines) == len(full["claims"]) + len(full["not_measured"]) + 2
    headings = [at for at, line in enumerate(lines) if "## " in line]
    assert all(lines[at].startswith(("## ", "### ")) for at in headings)
    assert all(lines[at - 1] == "" for at in headings)


def test_strangers_names_stay_in_their_cells(full: Document) -> None:
    strange = copy.deepcopy(full)
    strange["disagreements"]["listed"][0]["true"] = "<b>a|b</b>"
    strange["subgroups"]["groups"][0]["value"] = "<i>x</i>"
    html, markdown = (render(strange, name) for name in ("report.html.j2", "report.md.j2"))
    assert "<b>" not in html
    assert "<i>" not in html
    assert "&lt;b>a\\|b&lt;/b>" in markdown


def test_a_report_without_them_has_no_such_section() -> None:
    made = document_by_hand()
    for text in (page(made), render(made, "report.md.j2")):
        for title in (
            "before and after",
            "Thresholds chosen",
            "By subgroup",
            "and teacher_fp32 disagree",
            "Other pictures",
            "fed wrongly",
        ):
            assert title not in text
