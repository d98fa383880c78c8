"""Write the report of a finished run anew, with something added to it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema

from edgekd.artifact import read_json
from edgekd.errors import UserError, writing_to
from edgekd.run_folder import is_run
from edgekd.stages.report import check, write

REPORT_FILE = "report.json"

_REMEDY = "free space or make the folder writable, then run the same command again"

Document = dict[str, Any]


def read_report(run: Path) -> Document:
    """The report of a run.

    Raises:
        UserError: no finished run, or a report that does not follow the schema.
    """
    if not is_run(run) or not (run / REPORT_FILE).is_file():
        raise UserError(f'"{run}" is no finished run; name the --out folder of edgekd build')
    try:
        document: Document = read_json(run / REPORT_FILE)
        check(document)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f'"{run / REPORT_FILE}" cannot be read ({error}); build the run again') from None
    except jsonschema.ValidationError as error:
        raise UserError(
            f'"{run / REPORT_FILE}" is no report of this version ({error.message[:200]}); build the run again'
        ) from None
    return document


def rewrite(run: Path, change: Callable[[Document], None] = lambda document: None) -> Document:
    """Read the report of a run, change it in place, and put all three forms where they were, each in one step.

    Raises:
        UserError: as :func:`read_report`.
        OutputError: the folder cannot be written.
    """
    document = read_report(run)
    change(document)
    with writing_to(run, _REMEDY), tempfile.TemporaryDirectory(prefix=".staging-", dir=run) as folder:
        write(document, Path(folder))
        for staged in sorted(Path(folder).iterdir()):
            staged.replace(run / staged.name)
    return document
