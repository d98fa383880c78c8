"""What a report says of the forms for a server: the files, and the cost that follows from price and throughput."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekd.artifact import digest_folder, sha256_file
from edgekd.manifest import is_inside
from edgekd.recheck.check import Check, all_or_faults, differences
from edgekd.serving.cost import priced

Document = Mapping[str, Any]


def serving_checks(run: Path, document: Document) -> Iterator[Check]:
    """Check ``serving``; nothing where the report has none."""
    serving = document.get("serving")
    if serving is None:
        return
    faults = [fault for form in serving["forms"] for fault in _file_faults(run, form)]
    held = f"{len(serving['forms'])} forms for a server are those that were measured (SHA-256)"
    yield from all_or_faults("serving", faults, held)
    faults = []
    for form in serving["forms"]:
        for row in form["batches"]:
            known = {name: value for name, value in row.items() if not name.startswith("cost_")}
            found = priced(known, serving["price_per_hour"])
            faults += [f"{form['id']}, {row['batch_size']} at a time: {text}" for text in differences(row, found)]
    yield from all_or_faults("serving", faults, "the cost of a million images follows from price and throughput")


def _file_faults(run: Path, form: Document) -> Iterator[str]:
    path = run / form["path"]
    if not is_inside(form["path"]) or path.is_symlink() or not path.exists():
        yield f"{form['path']} is missing; build the run again"
    elif (digest_folder(path) if path.is_dir() else sha256_file(path)) != form["sha256"]:
        yield f"{form['path']} is not the form that was measured (SHA-256); build the run again"
