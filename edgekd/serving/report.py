"""What export and measurement found of the served forms, as one entry of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FOLDER = "cloud"
"""Of the bundle."""

Facts = Mapping[str, Any]


def entry(exported: Facts, measured: Facts) -> dict[str, Any]:
    """``serving`` of report.json.

    Args:
        exported: facts of the export stage.
        measured: facts of the throughput stage.
    """
    timed = {form["id"]: form for form in measured["forms"]}
    forms = [{**form, "path": f"bundle/{FOLDER}/{form['path']}", **timed[form["id"]]} for form in exported["forms"]]
    names = ("target", "num_threads", "num_processes", "price_per_hour", "currency")
    told = {name: measured[name] for name in names}
    checked = {"num_images": exported["num_images"], "limits": exported["limits"]}
    return {**told, **checked, "forms": forms, "warnings": [*exported["warnings"], *measured["warnings"]]}


def in_manifest(exported: Facts) -> dict[str, Any]:
    """``cloud`` of a bundle's manifest: each form by its id, with what goes in and what comes out."""
    wanted = ("versions", "signature", "opset", "input", "output")
    return {
        form["id"]: {"path": f"{FOLDER}/{form['path']}", **{name: form[name] for name in wanted if name in form}}
        for form in exported["forms"]
    }
