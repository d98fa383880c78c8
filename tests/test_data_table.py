from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import data
from edgekd.artifact import Artifact
from edgekd.config.data import Data
from edgekd.data import folder
from edgekd.data.source import Source
from edgekd.errors import DataError, RecipeError

HEADER = ["image", "dx", "patient_id", "sex", "site"]


def draw_images(root: Path, count: int) -> None:
    for number in range(count):
        path = root / f"ward{number % 3}" / f"img_{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 12), np.uint8)).save(path)


def write(root: Path, rows: list[list[str]], name: str = "labels.csv") -> Path:
    path = root / name
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    return path


@pytest.fixture
def rows(tmp_path: Path) -> list[list[str]]:
    """A table of 60 images of 20 patients, three each, with its images beside it."""
    draw_images(tmp_path, 60)
    return [
        HEADER,
        *(
            [
                f"ward{n % 3}/img_{n:03d}.png",
                "benign" if n % 20 < 13 else "malignant",
                f"SECRET{n % 20:02d}",
                "FM"[n % 2],
                "x",
            ]
            for n in range(60)
        ),
    ]


def load(path: Path, **config: object) -> Source:
    return data.load_source(Data(path=str(path), **config))


def names(source: Source, split: str) -> list[str]:
    return [picture.name for picture in source.splits[split].pictures]


def test_columns_are_guessed_and_patients_kept_whole(tmp_path: Path, rows: list[list[str]]) -> None:
    path = write(tmp_path, rows)
    source = load(path, subgroup_columns=("sex",))
    assert source.class_names == ("benign", "malignant")
    assert source.notes == (
        'path from column "image", by its name (data.path_column says another)',
        'label from column "dx", by its name (data.label_column says another)',
        'patient from column "patient_id", by its name (data.patient_column says another)',
        "patients: 14 in train, 3 in val, 3 in test; none in two splits",
    )
    by_name = {row[0]: row for row in rows[1:]}
    owners = {}
    for split, part in source.splits.items():
        assert part.labels.tolist() == [int(by_name[name][1] == "malignant") for name in names(source, split)]
        assert part.columns["sex"].tolist() == [by_name[name][3] for name in names(source, split)]
        owners[split] = {by_name[name][2] for name in names(source, split)}
        # One number for each patient, which is not in the identifier.
        pairs = {(by_name[name][2], group) for name, group in zip(names(source, split), part.groups, strict=True)}
        assert len(pairs) == len(owners[split])
    assert sum(map(len, owners.values())) == len(set.union(*owners.values())) == 20


def test_the_outcome_does_not_depend_on_the_order_of_rows(tmp_path: Path, rows: list[list[str]]) -> None:
    first = load(write(tmp_path, rows))
    shuffled = rows[1:]
    random.Random(0).shuffle(shuffled)
    second = load(write(tmp_path, [HEADER, *shuffled]))
    assert {split: names(first, split) for split in first.splits} == {
        split: names(second, split) for split in second.splits
    }
    assert first.sha256 == second.sha256
    assert names(first, "val") != names(load(tmp_path / "labels.csv", split_seed=5), "val")


def test_identifiers_stand_in_nothing_that_is_written(tmp_path: Path, rows: list[list[str]]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    config = Data(path=str(write(tmp_path, rows)), image_size=8, num_calibration_samples=4, subgroup_columns=("sex",))
    artifact = data.prepare(config, out)
    for file in out.iterdir():
        assert b"SECRET" not in file.read_bytes()
    dataset = data.Dataset.open(Artifact.open(out))
    assert artifact.digest == Artifact.open(out).digest
    for split in (dataset.train, dataset.val, dataset.test):
        assert set(split.columns["sex"]) <= {"F", "M"}
        assert len(split.columns["sex"]) == len(split.groups) == len(split.labels)
    again = tmp_path / "again"
    again.mkdir()
    assert data.prepare(config, again).digest == artifact.digest  # the key of the hashes is not in the outcome


def test_unreadable_images_take_their_columns_along(tmp_path: Path, rows: list[list[str]]) -> None:
    (tmp_path / "ward0" / "img_003.png").write_bytes(b"x")
    out = tmp_path / "out"
    out.mkdir()
    config = Data(
        path=str(write(tmp_path, rows)),
        image_size=8,
        num_calibration_samples=4,
        subgroup_columns=("sex",),
        skip_unreadable=True,
    )
    dataset = data.Dataset.open(data.prepare(config, out))
    splits = (dataset.train, dataset.val, dataset.test)
    assert sum(len(split.images) for split in splits) == 59
    assert all(len(split.columns["sex"]) == len(split.groups) == len(split.images) for split in splits)


def test_the_table_may_lie_elsewhere_and_suffixes_be_left_out(tmp_path: Path, rows: list[list[str]]) -> None:
    elsewhere = tmp_path / "tables"
    elsewhere.mkdir()
    path = write(elsewhere, [rows[0], *([row[0].removesuffix(".png"), *row[1:]] for row in rows[1:])], "meta.csv")
    source = load(tmp_path, table=str(path))
    assert source.name == "meta"
    assert sum(len(part.labels) for part in source.splits.values()) == 60
    with pytest.raises(DataError, match=r"with data.table, the folder of the images is wanted"):
        load(path, table=str(path))
    with pytest.raises(DataError, match=r'data.table = ".*none.csv": no such file'):
        load(tmp_path, table=str(tmp_path / "none.csv"))


def test_given_splits_are_kept_and_must_not_divide_patients(tmp_path: Path, rows: list[list[str]]) -> None:
    def split(number: int) -> str:
        return ("Training", "Training", "val", "TEST")[number % 20 % 4]

    table = [[*HEADER, "subset"], *([*row, split(n)] for n, row in enumerate(rows[1:]))]
    source = load(write(tmp_path, table))
    assert {name: len(part.labels) for name, part in source.splits.items()} == {"train": 30, "val": 15, "test": 15}
    table[1][-1], table[22][-1] = "TEST", "val"  # images 0 and 21: patients 0 and 1, who were in train
    with pytest.raises(DataError) as caught:
        load(write(tmp_path, table))
    message = str(caught.value)
    assert "1 patient(s) stand in both train and val (3 images)" in message
    assert "1 patient(s) stand in both train and test (3 images)" in message
    assert "SECRET" not in message
    table[1][-1] = ""
    with pytest.raises(DataError, match="column \"subset\" has '' in 1 rows; train, val and test"):
        load(write(tmp_path, table), split_column="subset")


def test_val_is_taken_out_of_train_by_patient(tmp_path: Path, rows: list[list[str]]) -> None:
    table = [
        [*HEADER, "split"],
        *([*row, "test" if n % 20 in (0, 1, 18) else "train"] for n, row in enumerate(rows[1:])),
    ]
    source = load(write(tmp_path, table))
    assert len(names(source, "test")) == 9
    owner = {row[0]: row[2] for row in rows[1:]}
    held = [{owner[name] for name in names(source, split)} for split in source.splits]
    assert sum(map(len, held)) == 20


def test_patients_from_file_names(tmp_path: Path) -> None:
    for label in "ab":
        for number in range(24):
            path = tmp_path / label / f"p{label}{number // 3}_{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("L", (8, 8), number + 24 * (label == "b")).save(path)
    source = load(tmp_path, patient_pattern=r"(p[ab]\d+)_")
    held = [{name.split("/")[1].split("_")[0] for name in names(source, split)} for split in source.splits]
    assert sum(map(len, held)) == 16
    assert "not known" in load(tmp_path).notes[-1]
    with pytest.raises(DataError, match=r"both say who the patient is"):
        load(tmp_path, patient_pattern=r"(p\d+)_", patient_column="x")
    with pytest.raises(RecipeError, match=r"has 0 groups"):
        load(tmp_path, patient_pattern=r"p\d+_")


def test_the_order_in_which_a_folder_is_listed_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_images(tmp_path, 30)
    first, walk = load(tmp_path), folder.walk
    monkeypatch.setattr(folder, "walk", lambda *args: reversed(list(walk(*args))))
    second = load(tmp_path)
    assert first.sha256 == second.sha256
    assert names(first, "val") == names(second, "val")


def test_several_labels_in_a_cell(tmp_path: Path) -> None:
    draw_images(tmp_path, 60)
    cells = ["Mass", "Mass|Edema", "no finding", "Edema|Mass|Edema", "Edema", ""]
    path = write(tmp_path, [["path", "labels"], *([f"ward{n % 3}/img_{n:03d}.png", cells[n % 6]] for n in range(60))])
    with pytest.raises(DataError, match=r"is empty in 10 of 60 rows; every image needs a label"):
        load(path)
    source = load(path, task="multi-label")
    assert (source.task, source.class_names) == ("multi-label", ("Edema", "Mass"))
    wanted = {0: [0, 1], 1: [1, 1], 2: [0, 0], 3: [1, 1], 4: [1, 0], 5: [0, 0]}
    for split, part in source.splits.items():
        for name, row in zip(names(source, split), part.labels.tolist(), strict=True):
            assert row == wanted[int(name[-7:-4]) % 6]
    cells[2] = cells[5] = "none"
    path = write(tmp_path, [["path", "labels"], *([f"ward{n % 3}/img_{n:03d}.png", cells[n % 6]] for n in range(60))])
    with pytest.raises(DataError, match=r'20 cells of column "labels" look like several labels, "Mass|Edema" for one'):
        load(path)


def test_one_column_a_label(tmp_path: Path) -> None:
    draw_images(tmp_path, 30)
    header = ["path", "mass", "edema"]
    body = [[f"ward{n % 3}/img_{n:03d}.png", ("1", "No")[n % 2], ("0", "true", "1.0")[n % 3]] for n in range(30)]
    path = write(tmp_path, [header, *body])
    source = load(path, label_columns=("mass", "edema"))
    assert (source.task, source.class_names) == ("multi-label", ("mass", "edema"))
    assert load(path, label_columns=("edema", "mass")).class_names == ("edema", "mass")
    # One finding: n even and n % 3 == 0, five images; n odd and n % 3 > 0, ten.
    with pytest.raises(
        DataError, match=r'15 rows have none or several of data.label_columns; data.task = "multi-class"'
    ):
        load(path, label_columns=("mass", "edema"), task="multi-class")
    body[4][1] = "-1"
    with pytest.raises(DataError, match=r'column "mass" has other values in 1 rows \(-1\); 0 and 1 are allowed'):
        load(write(tmp_path, [header, *body]), label_columns=("mass", "edema"))
    exclusive = [[row[0], str(n % 2), str(1 - n % 2)] for n, row in enumerate(body)]
    assert (
        load(write(tmp_path, [header, *exclusive]), label_columns=("mass", "edema"), task="multi-class").task
        == "binary"
    )


def test_grades_are_in_the_order_that_is_given(tmp_path: Path) -> None:
    draw_images(tmp_path, 33)
    path = write(
        tmp_path,
        [["path", "label"], *([f"ward{n % 3}/img_{n:03d}.png", ("mild", "severe", "none")[n % 3]] for n in range(33))],
    )
    order = ("none", "mild", "severe")
    source = load(path, task="ordinal", classes=order)
    assert (source.class_names, source.warnings) == (order, ())
    assert "mild < none < severe; data.classes gives another" in load(path, task="ordinal").warnings[0]
    with pytest.raises(
        DataError, match=r'11 images have the label "severe", which is not in data.classes; did you mean "sever"'
    ):
        load(path, classes=("none", "mild", "sever"))
    with pytest.raises(DataError, match=r'no image has the label "worst" of data.classes'):
        load(path, classes=(*order, "worst"))


def test_paths_outside_of_the_folder_are_refused(tmp_path: Path, rows: list[list[str]]) -> None:
    (tmp_path / "far.png").write_bytes((tmp_path / "ward0" / "img_000.png").read_bytes())
    root = tmp_path / "ward1"
    (root / "link.png").symlink_to(tmp_path / "far.png")
    good = [["path", "label"], *([f"img_{n:03d}.png", "ab"[n % 2]] for n in range(1, 60, 3))]
    for bad in ("../far.png", str(tmp_path / "far.png"), "link.png", "..\\far.png"):
        with pytest.raises(DataError, match=r"1 paths lead out of .*; paths relative to data.path are wanted"):
            load(write(root, [*good, [bad, "a"]]))


def test_rows_that_repeat_contradict_or_name_nothing(tmp_path: Path, rows: list[list[str]]) -> None:
    source = load(write(tmp_path, [*rows, rows[3], rows[4]]))
    assert source.warnings == ('"labels.csv": 2 rows say the same as one above them and were taken once',)
    other = [rows[3][0], "malignant", *rows[3][2:]]
    with pytest.raises(DataError, match=r"1 images have several rows that contradict each other: ward2/img_002.png"):
        load(write(tmp_path, [*rows, other]))
    absent = [["gone.png", "benign", "SECRET00", "F", "x"], ["ward0/none", "benign", "SECRET00", "F", "x"]]
    with pytest.raises(DataError, match=r'2 of 62 images are not in ".*": gone.png, ward0/none'):
        load(write(tmp_path, [*rows, *absent]))
    bare = [rows[0], *([row[0].removeprefix("ward0/"), *row[1:]] for row in rows[1:] if row[0].startswith("ward0/"))]
    with pytest.raises(DataError, match=r"20 of 20 images are not in .*--data .*/ward0 --set data.table=.*labels.csv$"):
        load(write(tmp_path, bare))
    source = load(write(tmp_path, [*rows, *absent]), skip_unreadable=True)
    assert source.warnings == ('"labels.csv": 2 of 62 images are not there and were left out',)
    with pytest.raises(DataError, match=r'row 62: column "image" is empty'):
        load(write(tmp_path, [*rows, ["", *rows[1][1:]]]))


def test_labels_that_differ_only_in_spelling_are_listed(tmp_path: Path, rows: list[list[str]]) -> None:
    rows[1][1], rows[2][1] = "Benign", "BENIGN"
    with pytest.raises(
        DataError, match=r'"BENIGN" \(1 images\), "Benign" \(1 images\), "benign" \(37 images\); write each'
    ):
        load(write(tmp_path, rows))


def test_wrong_columns_are_told_without_their_cells(tmp_path: Path, rows: list[list[str]]) -> None:
    path = write(tmp_path, rows)

    def refused(**config: object) -> str:
        with pytest.raises(DataError) as caught:
            load(path, **config)
        assert "SECRET" not in str(caught.value)
        return str(caught.value)

    assert 'has no such column; did you mean "patient_id"' in refused(patient_column="patientid")
    assert "too many for classes; is it the label?" in refused(label_column="image")
    assert "has 20 other values in 60 rows; train, val and test" in refused(split_column="patient_id")
    assert "would identify them" in refused(subgroup_columns=("patient_id",))
    assert "would identify them" in refused(subgroup_columns=("image",))
    rows[5][2] = ""
    write(tmp_path, rows)
    assert 'column "patient_id" is empty in 1 of 60 rows' in refused()
    write(tmp_path, [["where", *HEADER[1:]], *rows[1:]])
    assert "which column names the files? It has where, dx, patient_id" in refused()
    write(tmp_path, [["path", "verdict", *HEADER[2:]], *rows[1:]])
    assert "which column is the label? It has path, verdict" in refused()


def test_subgroups_with_many_values_are_refused(tmp_path: Path) -> None:
    draw_images(tmp_path, 60)
    path = write(
        tmp_path,
        [["path", "label", "age"], *([f"ward{n % 3}/img_{n:03d}.png", "ab"[n % 2], str(n)] for n in range(60))],
    )
    with pytest.raises(DataError, match=r'"age" has 60 different values, more than 50; bring them into a few ranges'):
        load(path, subgroup_columns=("age",))


def test_a_flat_folder_points_to_its_table(tmp_path: Path) -> None:
    draw_images(tmp_path, 3)
    for path in tmp_path.rglob("*.png"):
        path.rename(tmp_path / path.name)
    for path in tmp_path.iterdir():
        if path.is_dir():
            path.rmdir()
    write(tmp_path, [["path", "label"], ["img_000.png", "a"]], "meta.csv")
    with pytest.raises(DataError, match=r"if a table says what the images are, name it: --set data.table=.*meta.csv"):
        load(tmp_path)


def test_keys_without_use_are_refused(tmp_path: Path, make_npz: Callable[..., Path]) -> None:
    draw_images(tmp_path / "in", 30)
    for path in (tmp_path / "in", make_npz()):
        with pytest.raises(DataError, match=r"data.patient_column is set, and .* has no use for it"):
            load(path, patient_column="patient")
    with pytest.raises(DataError, match=r'data.subgroup_columns: ".*" has no columns, "sex" for one'):
        load(tmp_path / "in", subgroup_columns=("sex",))
    with pytest.raises(DataError, match=r'data.classes is set, and data set "synthetic_cells" has no use for it'):
        data.load_source(Data(name="synthetic_cells", classes=("a", "b")))


def test_a_window_needs_two_numbers(tmp_path: Path) -> None:
    for window in ((40.0,), (40.0, 0.5), (1.0, 2.0, 3.0)):
        with pytest.raises(DataError, match=r"\[centre, width\] with a width of at least 1 is wanted"):
            load(tmp_path, dicom_window=window)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    draw_images(tmp_path, 30)
    (tmp_path / "ward1").chmod(0)
    try:
        with pytest.raises(DataError, match=r'ward1" cannot be read: Permission denied'):
            load(tmp_path)
    finally:
        (tmp_path / "ward1").chmod(0o755)
