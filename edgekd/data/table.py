"""A table that says which image is what: by the path of a file, or by an identifier in DICOM headers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from edgekd.config.data import Data
from edgekd.data import columns, dicom
from edgekd.data.columns import Facts
from edgekd.data.folder import SUFFIXES, reference, walk
from edgekd.data.rows import Rows, read_rows
from edgekd.data.source import Item, Listing, PictureRef
from edgekd.data.spelling import usual
from edgekd.errors import DataError, listed

PATH_NAMES = (
    *("path", "file", "filename", "filepath", "imagepath", "imagefile", "imagefilename", "image", "imageindex"),
    *("imagename", "imageid", "img", "id", "idcode"),
)
# The most specific first.
JOIN_NAMES = ("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber")
GUESSED_SUFFIXES = (*SUFFIXES, *dicom.SUFFIXES)


def list_table(path: Path, root: Path, config: Data) -> Listing:
    """List the images that a table names.

    Each row names a file, relative to ``root`` (its suffix may be missing); or, where the table has an identifier,
    DICOM files below ``root`` by their SOPInstanceUID, StudyInstanceUID or AccessionNumber.

    Raises:
        DataError: columns that are not there, files that are missing or outside ``root``, rows that contradict each
            other.
        MissingRequirementError: the package for this kind of table is not installed.
    """
    rows, notes = read_rows(path), list[str]()
    join = usual(rows.columns, [name.lower() for name in JOIN_NAMES])
    path_column = None
    if config.path_column or join is None:
        path_column = columns.guess(rows, "path", config.path_column, PATH_NAMES, notes)
    used = path_column or join
    if used is None:
        raise DataError(
            f"{rows.title}: which column names the files? It has {', '.join(rows.columns)}; name one with "
            f"--set data.path_column=... ({', '.join(JOIN_NAMES)} join DICOM files)"
        )
    reading = columns.interpret(rows, config, [used])
    facts, repeated = _by_key(rows.column(used, "data.path_column"), reading.facts, rows, used)
    warnings = [f"{rows.title}: {repeated} rows say the same as one above them and were taken once"] if repeated else []
    if path_column is not None:
        items = _by_path(facts, rows, path, root, config, warnings)
    else:
        keyword = next(name for name in JOIN_NAMES if usual([used], [name.lower()]))
        notes.append(f'DICOM files joined with column "{used}" by their {keyword}')
        items = _by_header(facts, rows, root, config, keyword, warnings)
    return Listing(path.stem, rows.title, items, reading.several, tuple(warnings), (*notes, *reading.notes))


def _by_key(keys: list[str], facts: list[Facts], rows: Rows, column: str) -> tuple[dict[str, Facts], int]:
    """Facts by file or identifier, and how many rows were repetitions."""
    found: dict[str, Facts] = {}
    conflicts, repeated = set(), 0
    for number, (key, fact) in enumerate(zip(keys, facts, strict=True), 2):
        if not key:
            raise DataError(f'{rows.title}, row {number}: column "{column}" is empty')
        if key in found:
            repeated += 1
            if found[key] != fact:
                conflicts.add(key)
        found.setdefault(key, fact)
    if conflicts:
        raise DataError(
            f"{rows.title}: {len(conflicts)} images have several rows that contradict each other"
            f"{_shown(sorted(conflicts), column)}; keep one row each (several labels of an image: data.task = "
            '"multi-label", in one cell)'
        )
    return found, repeated


def _shown(keys: list[str], column: str) -> str:
    """File names may be shown; identifiers may not."""
    return "" if usual([column], [name.lower() for name in JOIN_NAMES]) else f": {listed(keys)}"


def _by_path(
    facts: dict[str, Facts], rows: Rows, table: Path, root: Path, config: Data, warnings: list[str]
) -> list[Item]:
    inside = root.resolve()
    items: dict[str, Item] = {}
    outside, missing, twice = [], [], []
    for name, fact in facts.items():
        relative = PurePosixPath(name.replace("\\", "/"))
        found = _find(root, relative)
        if relative.is_absolute() or ".." in relative.parts or not (found or root).resolve().is_relative_to(inside):
            outside.append(name)
        elif found is None or (picture := reference(found, root, config)) is None:
            missing.append(name)
        elif picture.name in items:
            twice.append(name)
        else:
            items[picture.name] = _item(picture, fact)
    if outside:
        raise DataError(
            f'{rows.title}: {len(outside)} paths lead out of "{root}": {listed(outside)}; paths relative to data.path '
            "are wanted"
        )
    if twice:
        raise DataError(f"{rows.title}: {len(twice)} files are named in two ways: {listed(twice)}; keep one row each")
    if missing:
        text = f'{rows.title}: {len(missing)} of {len(facts)} images are not in "{root}": {listed(missing)}'
        if not config.skip_unreadable or not items:
            if not items:
                raise DataError(f"{text}; name the folder that the paths start from{_where(root, missing[0], table)}")
            raise DataError(f"{text}; mend the table, or go on without them: --set data.skip_unreadable=true")
        warnings.append(f"{rows.title}: {len(missing)} of {len(facts)} images are not there and were left out")
    return list(items.values())


def _where(root: Path, name: str, table: Path) -> str:
    """How to name a folder below the root in which the first missing file lies, or any folder."""
    wanted = PurePosixPath(name.replace("\\", "/")).stem
    found = next((path.parent for path in walk(root) if path.stem == wanted), None)
    return f": --data {found or 'FOLDER'} --set data.table={table}"


def _find(root: Path, relative: PurePosixPath) -> Path | None:
    """The file as it is named, or with a suffix added."""
    path = root / relative
    if path.is_file():
        return path
    if path.suffix.lower() in GUESSED_SUFFIXES:
        return None
    return next((file for end in GUESSED_SUFFIXES if (file := path.with_name(path.name + end)).is_file()), None)


def _by_header(
    facts: dict[str, Facts], rows: Rows, root: Path, config: Data, keyword: str, warnings: list[str]
) -> list[Item]:
    """Every DICOM file below the root whose header has an identifier of the table."""
    items, matched, unmatched, unreadable = [], set(), 0, list[str]()
    seen: dict[str, int] = defaultdict(int)
    for path in walk(root):
        picture = reference(path, root, config)
        if not isinstance(picture, dicom.DicomRef):
            continue
        try:
            key = dicom.read_header(path, picture.name, (keyword,))[keyword]
        except DataError:
            unreadable.append(picture.name)
            continue
        seen[key] += 1
        if key in facts:
            matched.add(key)
            items.append(_item(picture, facts[key]))
        else:
            unmatched += 1
    if not items:
        raise DataError(
            f'{rows.title}: no DICOM file below "{root}" has a {keyword} of the table; {sum(seen.values())} files were '
            "looked at"
        )
    if unreadable:
        warnings.append(f"{len(unreadable)} DICOM files have no readable header: {listed(unreadable)}")
    if unmatched:
        warnings.append(f"{unmatched} DICOM files have no row in {rows.title} and were passed over")
    if len(matched) < len(facts):
        warnings.append(f"{len(facts) - len(matched)} rows of {rows.title} have no DICOM file")
    return items


def _item(picture: PictureRef, fact: Facts) -> Item:
    return Item(picture, fact.labels, fact.split, fact.group, fact.columns)
