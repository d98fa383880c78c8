"""The folder of a run: what it holds, when it may be replaced, and its log.

::

    recipe.toml  report.html  report.md  report.json  models/  bundle/  scores.npz  disagreements.csv  log.jsonl

Everything but the log is prepared in a hidden folder inside and moved into place at the end, so that a run that fails
leaves the results of the one before it as they were.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from edgekd.errors import OutputError, writing_to
from edgekd.verification import DISAGREEMENTS_FILE, SCORES_FILE

LOG_FILE = "log.jsonl"
FIRST_EVENT = "run"
REPORTS = ("report.html", "report.md", "report.json")
RESULTS = (*REPORTS, "recipe.toml", "models", "bundle", SCORES_FILE, DISAGREEMENTS_FILE, "near_duplicates.png")
COMPRESSED = ("compression.md", "compression.json")
"""What ``edgekd compress`` writes beside ``models/``, in the place of the others."""

_STAGING = ".staging-"
_REMEDY = "free space, or name another folder with --out. Finished stages are kept and are not run again"


class RunFolder:
    """A run folder opened for writing.

    Args:
        path: a new or empty folder, or an earlier run.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        if path.exists() and not path.is_dir():
            raise OutputError(f'"{path}" is a file; name a folder with --out')
        with self.writing():
            path.mkdir(parents=True, exist_ok=True)
            if any(not entry.name.startswith(_STAGING) for entry in path.iterdir()) and not is_run(path):
                raise OutputError(f'"{path}" is not an edgekd run and is left alone; name a new folder with --out')
            for left in path.glob(f"{_STAGING}*"):
                shutil.rmtree(left, ignore_errors=True)
            self.staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=path))
        self._logged = False

    def writing(self) -> AbstractContextManager[None]:
        """Name this folder and the remedy where the block cannot write."""
        return writing_to(self.path, _REMEDY)

    def log(self, event: str, **facts: Any) -> None:
        """Append one line to ``log.jsonl``: seconds since the epoch, the event, and its facts.

        The first line replaces the log of the run before, in one step: a kill never leaves a folder without its mark.
        """
        line = json.dumps({"event": event, "time": round(time.time(), 3), **facts}) + "\n"
        with self.writing():
            if self._logged:
                with (self.path / LOG_FILE).open("a", encoding="utf-8") as file:
                    file.write(line)
            else:
                (self.staging / LOG_FILE).write_text(line, encoding="utf-8")
                (self.staging / LOG_FILE).replace(self.path / LOG_FILE)
                self._logged = True

    def publish(self) -> None:
        """Move what was staged into place; what the earlier run left there goes, the reports first."""
        with self.writing():
            for name in (*RESULTS, *COMPRESSED):
                final = self.path / name
                if final.is_dir():
                    shutil.rmtree(final)
                else:
                    final.unlink(missing_ok=True)
            for staged in sorted(self.staging.iterdir()):
                staged.replace(self.path / staged.name)

    def close(self) -> None:
        """Remove what was not published."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_run(path: Path) -> bool:
    """Whether a folder was written by an edgekd run: its log begins with the run's event."""
    try:
        with (path / LOG_FILE).open(encoding="utf-8") as file:
            return bool(json.loads(file.readline()).get("event") == FIRST_EVENT)
    except (OSError, ValueError, AttributeError):
        return False
