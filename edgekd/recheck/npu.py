"""What a report says of the model that was compiled for an NPU: the file, and what in it stays on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekd import vela
from edgekd.artifact import sha256_file
from edgekd.errors import EdgekdError
from edgekd.manifest import is_inside
from edgekd.recheck.check import Check, all_or_faults, differences
from edgekd.tflite.view import open_view


def npu_checks(run: Path, document: Mapping[str, Any]) -> Iterator[Check]:
    """Check ``npu``; nothing where the report has none. Vela is not needed."""
    npu = document.get("npu")
    if npu is None:
        return
    path = run / "bundle" / npu["file"]
    if not is_inside(npu["file"]) or path.is_symlink() or not path.is_file() or sha256_file(path) != npu["sha256"]:
        yield Check("npu", False, f"bundle/{npu['file']} is not the model that was compiled (SHA-256); build it again")
        return
    try:
        found = vela.on_cpu(open_view(path))
    except EdgekdError as error:
        yield Check("npu", False, str(error))
        return
    faults = [f"operators on the CPU: {text}" for text in differences([npu["confirmed"]], [found])]
    if set(found) != set(npu["confirmed"]):
        faults.append(f"on the CPU stay {sorted(found)}, {sorted(npu['confirmed'])} are stated")
    if npu["agree"] != (npu["predicted"] == npu["confirmed"]):
        faults.append("whether the table foretold what stays on the CPU does not follow from the two counts")
    held = f"{npu['file']} is the file that Vela wrote, and leaves to the CPU what is stated"
    yield from all_or_faults("npu", faults, held)
