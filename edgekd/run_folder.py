"""The folder of a run: what it holds, when it may be replaced, and its log.

::

    recipe.toml  report.html  report.md  report.json  models/  bundle/  log.jsonl

Everything but the log is prepared in a hidden folder inside and moved into place at the end, so that a run that fails
leaves the results of the one before it as they were.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from edgekd.errors import OutputError

LOG_FILE = "log.jsonl"
FIRST_EVENT = "run"


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
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()) and not is_run(path):
                raise OutputError(f'"{path}" is not an edgekd run and is left alone; name a new folder with --out')
            for left in path.glob(".staging-*"):
                shutil.rmtree(left, ignore_errors=True)
            self.staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=path))
            self._log = (path / LOG_FILE).open("w", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f'"{path}" cannot be written ({error.strerror}); name another folder with --out, or free space'
            ) from error

    def log(self, event: str, **facts: Any) -> None:
        """Append one line to ``log.jsonl``: seconds since the epoch, the event, and its facts."""
        self._log.write(json.dumps({"event": event, "time": round(time.time(), 3), **facts}) + "\n")
        self._log.flush()

    def publish(self) -> None:
        """Move what was staged into place, each entry replacing the one of the earlier run."""
        for staged in sorted(self.staging.iterdir()):
            final = self.path / staged.name
            if final.is_dir():
                shutil.rmtree(final)
            staged.replace(final)

    def close(self) -> None:
        """Close the log and remove what was not published."""
        self._log.close()
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
