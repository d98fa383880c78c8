from __future__ import annotations

import pytest

from edgekd.data.spelling import class_order, confusable, split_of, usual


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "TRAIN", "Training", "training_set", "train data")),
        *((name, "val") for name in ("val", "valid", "Validation", "dev", "VAL_SPLIT", "validation set")),
        *((name, "test") for name in ("test", "Testing", "test_data", "Holdout")),
        *((name, "") for name in ("tests", "trainee", "raw", "set", "data", "1", "")),
    ],
)
def test_usual_names_of_splits(name: str, split: str) -> None:
    assert split_of(name) == split


def test_names_that_people_take_for_the_same() -> None:
    names = [
        "Pneumonia",
        "pneumonía",
        "PNEUMONIA ",
        "normal",
        "no finding",
        "No_Finding",
        "HER2+",
        "HER2-",
        "1-2",
        "12",
    ]
    assert confusable(names) == [["No_Finding", "no finding"], ["PNEUMONIA ", "Pneumonia", "pneumonía"]]


def test_numbers_are_ordered_by_value_and_names_by_letters() -> None:
    assert class_order(["10", "2", "-1", "2"]) == ["-1", "2", "10"]
    assert class_order(["10", "2", "b"]) == ["10", "2", "b"]


def test_a_usual_column_however_it_is_written() -> None:
    columns = ["Patient Age", "Image Index", "image/class/label", "Patient ID"]
    assert usual(columns, ["path", "imageindex"]) == "Image Index"
    assert usual(columns, ["imageclasslabel"]) == "image/class/label"
    assert usual(columns, ["patientid", "patient"]) == "Patient ID"
    assert usual(columns, ["split"]) is None
