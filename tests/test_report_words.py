"""What the report says in words: the recipe, the model card, and no number that is not in report.json."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from reports import document_by_hand, of_labels, with_evidence

from edgekd import recipe
from edgekd.page import render
from edgekd.page.card import card
from edgekd.page.decisions import confusion
from edgekd.page.words import in_words
from edgekd.stages.report import check


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_every_recipe_can_be_told(name: str) -> None:
    steps = in_words(recipe.load(name, {"data.path": "images"} if name == "default" else {}))
    assert [title for title, _ in steps][-4:] == ["Pruning", "Quantization", "Proof", "Timing"]
    assert all(text.endswith(".") and "None:" not in text.replace("None: the student", "") for _, text in steps)


def test_a_recipe_in_words_by_hand() -> None:
    told = dict(in_words(recipe.load("pneumoniamnist")))
    assert told["Teacher"] == (
        "2 x mobilenet, whose logits are averaged, trained from ImageNet weights on the labels, "
        "12 epochs of sgd at 0.02, classes weighed alike."
    )
    assert (
        "learned from the teacher's answers to 10 views of each image, stored beforehand; loss dist"
        in (told["Distillation"])
    )
    assert "the labels counting 10%." in told["Distillation"]
    assert told["Pruning"].startswith("Whole channels removed by taylor until 50% of the MACs remained; trained on")


def told(**settings: Any) -> dict[str, str]:
    return dict(in_words(recipe.load("quickstart", {key.replace("__", "."): value for key, value in settings.items()})))


def test_other_ways_in_words() -> None:
    assert "Teacher" not in told(distill__hard_loss_weight=1.0)
    assert told(distill__hard_loss_weight=1.0)["Distillation"] == "None: the student learned from the labels alone."
    assert "from the student trained alone" in told(distill__mode="self")["Distillation"]
    assert told(prune__method="none")["Pruning"] == "None."
    assert told(prune__method="cluster")["Pruning"].startswith("The weights of each layer share 16 values at most; ")
    assert "two of each four neighbours" in told(prune__pattern="2:4")["Pruning"]
    assert told(quantize__method="qat")["Quantization"].startswith("INT8 by training on with its rounding, ")
    assert "stays in float" not in told()["Quantization"]
    # Where a stranger's files lie is nobody's business.
    assert told(teacher__model="/home/someone/secret/net.onnx")["Teacher"] == "net.onnx, as it came."


# The model card


def test_the_card_is_filled_in_where_the_run_knows_and_empty_where_a_person_must() -> None:
    fields = {field.name: field for _, group in card(with_evidence(document_by_hand())) for field in group}
    assert "1,000 parameters, 2,000 multiply-accumulates, 600.0 KiB as int8" in fields["Architecture"].value
    assert fields["Sample size"].value == "4,708 / 524 / 624 images in train / val / test"
    assert fields["Missing and excluded images"].value == "3 unreadable images left out"
    assert "AUC 0.938" in fields["Performance on test"].value
    assert fields["Robustness"].value == "at most 6 of 624 decisions differ between LiteRT's kernels"
    for name in (
        "Target population",
        "Ethical approval",
        "Annotators",
        "Subgroups and fairness",
        "External evaluation",
    ):
        assert fields[name].value == ""
    page = render(with_evidence(document_by_hand()), "report.html.j2")
    empty = sum(not field.value for field in fields.values())
    assert page.count("to be filled in by a person</span>") == empty
    assert f"{empty} are to be filled in by a person" in page


def test_items_are_those_of_the_checklists() -> None:
    fields = [field for _, group in card(document_by_hand()) for field in group]
    tripod = {item for field in fields for item in field.tripod.split(", ") if item}
    assert all(re.fullmatch(r"([1-9]|1\d|2[0-7])[a-g]?", item) for item in tripod)
    # Items 3 to 27 in their order, but 1 (title), 2 (abstract), and what the page as a whole answers.
    assert {int(re.sub(r"\D", "", item)) for item in tripod} >= {*range(3, 21), 22, 23, 24, 25, 26, 27}
    claim = {int(item) for field in fields for item in field.claim.split(", ") if item}
    assert claim >= set(range(3, 43)) - {15}
    assert max(claim) <= 42


# Numbers of the short report


def numbers(value: Any) -> Iterator[float]:
    """Every number of a document, those in its texts too."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(key)
            yield from numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, str):
        yield from (float(text.replace(",", "")) for text in re.findall(r"\d[\d,]*(?:\.\d+)?", value))
    elif isinstance(value, (int, float)):
        yield float(value)


def test_every_number_of_the_short_report_is_in_the_json() -> None:
    document = with_evidence(document_by_hand())
    check(document)
    known = set(numbers(json.loads(json.dumps(document))))
    baseline = document["models"][0]
    known |= {value / 1024 for value in known} | {value / 1024**2 for value in known} | {100 * value for value in known}
    # Against the teacher.
    known |= {baseline["tflite_bytes"] / row["tflite_bytes"] for row in document["models"]}
    known |= {
        baseline["latency"][0]["p50_ms"] / row["latency"][0]["p50_ms"] for row in document["models"] if row["latency"]
    }
    text = render(document, "report.md.j2")
    # The card says how many of its own fields are filled.
    text = text[: text.index("## Model card")]
    unknown = []
    for token in re.findall(r"(?<![\w.])\d[\d,]*\.\d+(?![\w.])|(?<![\w.])\d[\d,]{2,}(?![\w.])", text):
        digits = len(token.partition(".")[2])
        value = float(token.replace(",", ""))
        if not any(abs(abs(one) - value) <= 0.5000001 * 10**-digits for one in known):
            unknown.append(token)
    assert unknown == []


# Confusion in its three forms


def test_confusion_as_a_table_a_picture_and_by_label() -> None:
    document = document_by_hand()
    document["confusion"] = [{"model": "student_int8", "counts": [[3, 1], [0, 4]]}]
    table = confusion(document)
    assert table["kind"] == "table"
    cells = table["models"][0]["rows"][0]["cells"]
    assert cells == [{"count": 3, "share": 0.75, "right": True}, {"count": 1, "share": 0.25, "right": False}]

    names = [f"class {index}" for index in range(13)]
    counts = [
        [4 * (row == column) + (row, column).count(12) % 2 * (row == 0) for column in range(13)] for row in range(13)
    ]
    document["dataset"]["class_names"] = names
    document["confusion"] = [{"model": "student_int8", "counts": counts}]
    picture = confusion(document)
    assert picture["kind"] == "picture"
    # One of class 0 was taken for class 12, the other four are right.
    assert picture["models"][0]["pairs"] == [{"label": "class 0", "decided": "class 12", "count": 1, "n": 5}]
    assert {"x": 12, "y": 0, "share": 0.2, "right": False} in picture["models"][0]["cells"]

    document["dataset"] |= {"task": "multi-label", "class_names": ["mass"]}
    document["confusion"] = [{"model": "student_int8", "counts": [[[5, 1], [2, 3]]]}]
    labels = confusion(document)["labels"]
    assert labels == [{"name": "mass", "models": [{"found": 3, "missed": 2, "false": 1}]}]


def test_a_report_of_labels_has_every_section() -> None:
    document = of_labels()
    check(document)
    page, short = render(document, "report.html.j2"), render(document, "report.md.j2")
    for name in ("confusion", "recall", "calibration", "learning", "cases", "card"):
        assert f'<section id="{name}"' in page
    (row,) = [line for line in short.splitlines() if line.startswith("| oedema | ") and line.count("|") == 11]
    cells = [int(cell) for cell in row.split("|")[2:-1]]
    found, missed = document["confusion"][0]["counts"][1][1][::-1]
    assert cells[:2] == [found, missed]
    assert "false alarms" in page
    assert "All labels together." in page
    assert 'No thumbnails: report.thumbnails = "public".' in html.unescape(page)


def test_thumbnails_stand_in_the_page_where_they_are_in_the_document() -> None:
    shown = with_evidence(document_by_hand())
    cases = [*shown["cases"]["mistakes"], *shown["cases"]["changed"]]
    page = render(shown, "report.html.j2")
    assert page.count('<img src="data:image/png;base64,') == len(cases) > 2
    hidden = render(with_evidence(document_by_hand(), thumbnails=False), "report.html.j2")
    assert "<img" not in hidden
    assert hidden.count("<dt>image</dt>") == len(cases)
    assert "Text may be burned into pixels" in page
    assert "Text may be burned into pixels" not in hidden
