from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from edgekd.data import rows
from edgekd.data.rows import read_rows
from edgekd.errors import DataError, MissingRequirementError

WANTED = (("a/1.png", "benign", ""), ("a/2.png", "mélanome", "7"))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "encoding", "delimiter"),
    [
        *(("t.csv", "utf-8", ","), ("t.csv", "utf-8-sig", ";"), ("t.tsv", "utf-8", "\t"), ("t.txt", "utf-16", "|")),
    ],
)
def test_text_in_its_encodings_and_delimiters(tmp_path: Path, name: str, encoding: str, delimiter: str) -> None:
    lines = [["path", "diagnosis", "age"], ["a/1.png", "benign", ""], [], ["a/2.png", " mélanome ", "7"]]
    table = read_rows(write(tmp_path / name, "\r\n".join(map(delimiter.join, lines)), encoding))
    assert (table.title, table.columns, table.rows) == (f'"{name}"', ("path", "diagnosis", "age"), WANTED)


def test_quoted_cells(tmp_path: Path) -> None:
    table = read_rows(write(tmp_path / "t.csv", 'path,label\n"a,1.png","one\ntwo"\n'))
    assert table.rows == (("a,1.png", "one\ntwo"),)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "path": ["a/1.png", "a/2.png"],
        "diagnosis": ["benign", "mélanome"],
        "age": [None, 7.0],
        "x": [True, False],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    table = read_rows(tmp_path / "t.parquet")
    assert [row[:3] for row in table.rows] == list(WANTED)
    assert [row[3] for row in table.rows] == ["1", "0"]


def test_excel_reads_the_first_sheet(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for line in (["path", "diagnosis", "age"], ["a/1.png", "benign", None], ["a/2.png", "mélanome", 7.0]):
        book.active.append(line)
    book.create_sheet("other").append(["nothing"])
    book.save(tmp_path / "t.xlsx")
    before = (tmp_path / "t.xlsx").read_bytes()
    assert read_rows(tmp_path / "t.xlsx").rows == WANTED
    assert (tmp_path / "t.xlsx").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n", "has no rows below the names of its columns"),
        ("path,label,label\na,b,c\n", 'has 2 columns named "label"; the first row is to name each column once'),
        ("path,label\na,b\nc\n", r"row 3: 1 cells, the first row has 2"),
        ("path,label\na,b,c\n", r"row 2: 3 cells, the first row has 2"),
        ("path,label\na,b\0\n", "holds zero bytes and is no text"),
        ('path,label\n"a,b\n', "cannot be read as a table"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(write(tmp_path / "t.csv", text))


def test_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'"t.csv", line 3 is not UTF-8; save it as "CSV UTF-8"'):
        read_rows(write(tmp_path / "t.csv", "path,label\na,b\nc,mélanome\n", "latin-1"))


def test_other_files_and_broken_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"save it as \.xlsx"):
        read_rows(write(tmp_path / "t.xls", "x"))
    with pytest.raises(DataError, match=r"wanted: \.csv, \.tsv"):
        read_rows(write(tmp_path / "t.json", "x"))
    for name in ("t.xlsx", "t.parquet"):
        with pytest.raises(DataError, match=f'"{name}" cannot be read as a table'):
            read_rows(write(tmp_path / name, "not this"))


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(5_000_000))
    monkeypatch.setattr(rows, "MAX_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"save it as CSV"):
        read_rows(tmp_path / "t.xlsx")


@pytest.mark.parametrize(("name", "module"), [("t.parquet", "pyarrow"), ("t.xlsx", "openpyxl")])
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingRequirementError, match=rf'{module}; pip install "edgekd\[tables\]"') as caught:
        read_rows(write(tmp_path / name, "x"))
    assert caught.value.exit_code == 3


def test_a_column_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    table = read_rows(write(tmp_path / "t.csv", "path,diagnosis\na,b\n"))
    with pytest.raises(
        DataError, match=r'data.label_column = "diagnose": "t.csv" has no such column; did you mean "diagnosis"'
    ):
        table.column("diagnose", "data.label_column")
