"""Tables: CSV and TSV by the standard library, Parquet by pyarrow, Excel by openpyxl; every cell as text."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import DataError, MissingRequirementError, did_you_mean

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".xlsm")
DELIMITERS = ",;\t|"
MAX_BYTES = 2 * 2**30
MAX_CELL = 1_000_000


@dataclass(frozen=True)
class Rows:
    """A table.

    Attributes:
        title: its file name, quoted, as messages begin.
        columns: their names.
        rows: cells without the spaces around them, each as many as columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str, key: str) -> list[str]:
        """The cells of a column.

        Args:
            name: of the column.
            key: the recipe key that named it.

        Raises:
            DataError: no such column.
        """
        if name not in self.columns:
            raise DataError(f'{key} = "{name}": {self.title} has no such column{did_you_mean(name, self.columns)}')
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


def read_rows(path: Path) -> Rows:
    """Read a table by its suffix; of a workbook the first sheet, its values and no formulas.

    Raises:
        DataError: another kind of file, a broken or empty one, columns without a name or with the same one.
        MissingRequirementError: pyarrow or openpyxl is not installed.
    """
    title, suffix = f'"{path.name}"', path.suffix.lower()
    readers = {".parquet": _parquet, ".xlsx": _excel, ".xlsm": _excel}
    if suffix not in SUFFIXES:
        remedy = "save it as .xlsx" if suffix == ".xls" else f"wanted: {', '.join(SUFFIXES)}"
        raise DataError(f'"{path}" is not read as a table; {remedy}')
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{title} is larger than {MAX_BYTES // 2**30} GiB; is it the table?")
        found = [[_text(cell) for cell in row] for row in readers.get(suffix, _text_file)(path)]
    except (DataError, MissingRequirementError):
        raise
    except Exception as error:  # csv, zipfile, openpyxl and pyarrow raise whatever the broken bytes lead them to
        raise DataError(f"{title} cannot be read as a table: {(str(error) or repr(error)).splitlines()[0]}") from None
    rows = [(number, row) for number, row in enumerate(found, 1) if any(row)]
    if len(rows) < 2:
        raise DataError(f"{title} has no rows below the names of its columns")
    header = rows[0][1]
    while header and not header[-1]:  # what a spreadsheet leaves at the right
        header.pop()
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise DataError(
            f'{title} has {Counter(header)[twice[0]]} columns named "{twice[0]}"; the first row is to name each column '
            "once"
        )
    cells = []
    for number, row in rows[1:]:
        if len(row) < len(header) or any(row[len(header) :]):
            raise DataError(f"{title}, row {number}: {len(row)} cells, the first row has {len(header)}")
        cells.append(tuple(row[: len(header)]))
    return Rows(title, tuple(header), tuple(cells))


def _text(cell: Any) -> str:
    if cell is None or cell != cell:  # NaN is unequal to itself
        return ""
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, bytes):
        return cell.decode("utf-8").strip()
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell).strip()


def _text_file(path: Path) -> Iterable[list[str]]:
    raw = path.read_bytes()
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f'"{path.name}", line {line} is not UTF-8; save it as "CSV UTF-8"') from None
    if "\0" in text:
        raise DataError(f'"{path.name}" holds zero bytes and is no text')
    csv.field_size_limit(MAX_CELL)
    first = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(DELIMITERS, key=first.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)


def _parquet(path: Path) -> Iterable[list[Any]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingRequirementError(
            f'"{path.name}" is Parquet, which needs pyarrow; pip install "edgekd[tables]"'
        ) from None
    with parquet.ParquetFile(path) as file:
        table = file.read()
    columns = [column.to_pylist() for column in table.columns]
    return [list(table.column_names), *map(list, zip(*columns, strict=True))]


def _excel(path: Path) -> Iterable[list[Any]]:
    try:
        import openpyxl
    except ImportError:
        raise MissingRequirementError(
            f'"{path.name}" is a workbook, which needs openpyxl; pip install "edgekd[tables]"'
        ) from None
    with zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > MAX_BYTES:
        raise DataError(f'"{path.name}" unpacks to {size / 2**30:.0f} GiB; save it as CSV')
    book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    try:
        rows = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
    finally:
        book.close()
    width = max(map(len, rows), default=0)
    return [row + [None] * (width - len(row)) for row in rows]
