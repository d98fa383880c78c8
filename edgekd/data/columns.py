"""Which column of a table, or feature of a record, is what; and what a row says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgekd.config.data import Data
from edgekd.data.groups import hasher
from edgekd.data.rows import Rows
from edgekd.data.spelling import plain, split_of, usual
from edgekd.errors import DataError

LABEL_NAMES = (
    *("label", "labels", "class", "classname", "diagnosis", "dx", "target", "finding", "findings", "findinglabels"),
    *("category", "imageclasstext", "imageclasslabel", "grade", "level"),
)
PATIENT_NAMES = ("patientid", "patient", "subjectid", "subject", "patientidentifier", "patientnumber")
SPLIT_NAMES = ("split", "subset", "partition", "set")
MAX_SUBGROUPS = 50
# More different cells than these are not shown: they may be identifiers.
MAX_SHOWN = 5

YES, NO = ("1", "1.0", "true", "yes", "y"), ("0", "0.0", "false", "no", "n")


@dataclass(frozen=True)
class Facts:
    """What one row says of its image; see :class:`~edgekd.data.source.Item`."""

    labels: tuple[str, ...]
    split: str
    group: str
    columns: dict[str, str]


@dataclass(frozen=True)
class Reading:
    """What all rows say.

    Attributes:
        facts: row by row.
        several: whether an image may have any number of labels.
        notes: which columns were guessed.
        taken: columns that are used; none of them is a subgroup.
    """

    facts: list[Facts]
    several: bool
    notes: tuple[str, ...]


def interpret(rows: Rows, config: Data, taken: Sequence[str]) -> Reading:
    """Read labels, patients, splits and subgroups out of a table.

    Args:
        rows: the table.
        config: which columns; those that it leaves open are guessed by their usual names.
        taken: columns that have another use already.

    Raises:
        DataError: a column that is not there, cells that cannot be labels or splits, a subgroup column that identifies.
    """
    notes: list[str] = []
    free = [column for column in rows.columns if column not in taken]
    several, labels = _labels(rows, config, free, notes)
    split_column = config.split_column
    if not split_column:
        guess = usual(free, SPLIT_NAMES)
        # Folds that are only numbered are no splits.
        if guess is not None and all(split_of(cell) for cell in rows.column(guess, "")):
            split_column = _guessed("split", guess, notes)
    splits = _splits(rows, split_column) if split_column else [""] * len(rows.rows)
    patient_column = config.patient_column
    if not patient_column and not config.patient_pattern and (guess := usual(free, PATIENT_NAMES)) is not None:
        patient_column = _guessed("patient", guess, notes)
    hashed = hasher()
    patients = rows.column(patient_column, "data.patient_column") if patient_column else [""] * len(rows.rows)
    if patient_column and not all(patients):
        raise DataError(
            f'{rows.title}: column "{patient_column}" is empty in {patients.count("")} of {len(patients)} rows; every '
            "image needs a patient"
        )
    subgroups = _subgroups(rows, config, {*taken, patient_column})
    facts = [
        Facts(label, split, hashed(patient), {name: cells[index] for name, cells in subgroups.items()})
        for index, (label, split, patient) in enumerate(zip(labels, splits, patients, strict=True))
    ]
    return Reading(facts, several, tuple(notes))


def guess(rows: Rows, key: str, chosen: str, names: Sequence[str], notes: list[str]) -> str | None:
    """The column that ``data.<key>_column`` names, or the first with a usual name; None without either.

    Raises:
        DataError: the recipe names one that is not there.
    """
    if chosen:
        rows.column(chosen, f"data.{key}_column")
        return chosen
    found = usual(rows.columns, names)
    return None if found is None else _guessed(key, found, notes)


def _guessed(key: str, column: str, notes: list[str]) -> str:
    notes.append(f'{key} from column "{column}", by its name (data.{key}_column says another)')
    return column


def _labels(rows: Rows, config: Data, free: Sequence[str], notes: list[str]) -> tuple[bool, list[tuple[str, ...]]]:
    if config.label_columns:
        return _one_hot(rows, config)
    column = config.label_column
    if not column:
        guess = usual(free, LABEL_NAMES)
        if guess is None:
            raise DataError(
                f"{rows.title}: which column is the label? It has {', '.join(rows.columns)}; name one with "
                "--set data.label_column=..., or columns of 0 and 1 with data.label_columns"
            )
        column = _guessed("label", guess, notes)
    cells = rows.column(column, "data.label_column")
    separator = config.label_separator
    if config.task == "multi-label":
        if not separator:
            raise DataError('data.label_separator is empty; the sign between labels in a cell is wanted, such as "|"')
        none = {plain(config.no_finding), ""}
        parts = [tuple(dict.fromkeys(part.strip() for part in cell.split(separator))) for cell in cells]
        return True, [tuple(part for part in found if plain(part) not in none) for found in parts]
    empty = cells.count("")
    if empty:
        raise DataError(
            f'{rows.title}: column "{column}" is empty in {empty} of {len(cells)} rows; every image needs a label: '
            "fill them in, or take the rows out"
        )
    # A wrong column may be one of identifiers, so that its cells are not shown.
    if len(set(cells)) > max(2, len(cells) / 3):
        raise DataError(
            f'{rows.title}: column "{column}" has {len(set(cells))} different values in {len(cells)} rows, too '
            "many for classes; is it the label? --set data.label_column=... names another"
        )
    joined = [cell for cell in cells if separator and separator in cell]
    if joined:
        raise DataError(
            f'{rows.title}: {len(joined)} cells of column "{column}" look like several labels, "{joined[0]}" for one; '
            "if they are: --set data.task=multi-label, else another data.label_separator"
        )
    return False, [(cell,) for cell in cells]


def _one_hot(rows: Rows, config: Data) -> tuple[bool, list[tuple[str, ...]]]:
    """Columns of 0 and 1, one a label; for a task of one class each row must have a single 1."""
    found: list[list[str]] = [[] for _ in rows.rows]
    for name in dict.fromkeys(config.label_columns):
        cells = [cell.lower() for cell in rows.column(name, "data.label_columns")]
        others = Counter(cell for cell in cells if cell not in (*YES, *NO))
        if others:
            shown = f" ({', '.join(sorted(others))})" if len(others) <= MAX_SHOWN else ""
            raise DataError(
                f'{rows.title}: column "{name}" has other values in {others.total()} rows{shown}; 0 and 1 are '
                "allowed (uncertain and missing findings must be decided first)"
            )
        for labels, cell in zip(found, cells, strict=True):
            labels += [name] if cell in YES else []
    several = config.task in ("auto", "multi-label")
    wrong = 0 if several else sum(1 for labels in found if len(labels) != 1)
    if wrong:
        raise DataError(
            f'{rows.title}: {wrong} rows have none or several of data.label_columns; data.task = "{config.task}" wants '
            "exactly one, multi-label takes any number"
        )
    return several, [tuple(labels) for labels in found]


def _splits(rows: Rows, column: str) -> list[str]:
    cells = rows.column(column, "data.split_column")
    unknown = {cell for cell in set(cells) if not split_of(cell)}
    if unknown:
        shown = ", ".join(map(repr, sorted(unknown))) if len(unknown) <= MAX_SHOWN else f"{len(unknown)} other values"
        raise DataError(
            f'{rows.title}: column "{column}" has {shown} in {sum(cell in unknown for cell in cells)} rows; '
            "train, val and test, or their usual names, are wanted"
        )
    return [split_of(cell) for cell in cells]


def _subgroups(rows: Rows, config: Data, identifying: set[str]) -> dict[str, list[str]]:
    found = {}
    for name in dict.fromkeys(config.subgroup_columns):
        cells = rows.column(name, "data.subgroup_columns")
        check_subgroup(name, cells, name in identifying)
        found[name] = [cell or "unknown" for cell in cells]
    return found


def check_subgroup(name: str, cells: Sequence[str], identifying: bool = False) -> None:
    """Refuse what tells single patients apart. Raises DataError."""
    if identifying:
        raise DataError(
            f'data.subgroup_columns: "{name}" names patients or files; it would identify them in the report'
        )
    if len(set(cells)) > MAX_SUBGROUPS:
        raise DataError(
            f'data.subgroup_columns: "{name}" has {len(set(cells))} different values, more than {MAX_SUBGROUPS}; bring '
            "them into a few ranges or kinds first"
        )
