"""``edgekd verify``: every promise of a bundle or a run, checked anew from the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekd import android, api
from edgekd.config.data import Data
from edgekd.config.verify import Verify
from edgekd.errors import DataError, EdgekdError, RecipeError, UserError
from edgekd.manifest import MANIFEST_FILE, MODEL_FILE
from edgekd.recheck import figures
from edgekd.recheck.bundle import bundle_checks, manifest_of
from edgekd.recheck.check import Check
from edgekd.recheck.npu import npu_checks
from edgekd.recheck.on_target import OnTarget, on_target
from edgekd.recheck.report import REPORT_FILE, bundle_agrees, intact_models, report_checks, report_of
from edgekd.recheck.scores import score_checks
from edgekd.recheck.serving import serving_checks
from edgekd.run_folder import is_run
from edgekd.runtime import file_faults

__all__ = ["Check", "OnTarget", "recheck"]


def recheck(path: Path, data: str | None = None, target: OnTarget | None = None) -> list[Check]:
    """Check all that a bundle or a run says.

    Args:
        path: a run folder of ``edgekd build``, or a bundle folder.
        data: name or path of the data, for the figures; None: that of the recipe, where it is at hand. Nothing is
            downloaded without being named.
        target: a target on which the models are run too, and whose limits are held against them.

    Returns:
        Every promise with whether it holds; none is left out because another is broken.

    Raises:
        UserError: neither a run nor a bundle, a run that stopped before its report, or data that cannot be read.
        MissingRequirementError: what the target needs is not installed.
    """
    if target is not None:
        target.require()
    checks: Iterator[Check]
    if (path / MANIFEST_FILE).exists():
        checks, bundle, run = _guarded("bundle", _bundle(path, data)), path, None
    elif path.exists() and is_run(path) and (path / REPORT_FILE).exists():
        checks, bundle, run = _run(path, data), path / "bundle", path
    else:
        android.find_bundle(path)  # raises for what is no run
        raise UserError(f'run "{path}" has no {REPORT_FILE}: it stopped before; run the same edgekd build again')
    found = list(checks)
    if target is not None:
        found += _guarded("target", on_target(bundle, run, _data_at_hand(path, data), target))
    return found


def _guarded(about: str, checks: Iterator[Check]) -> Iterator[Check]:
    """A document that follows its schema may still hold what no build writes; that is broken, not a crash."""
    try:
        yield from checks
    except EdgekdError:
        raise
    except Exception as error:
        yield Check(about, False, f"cannot be checked to the end ({type(error).__name__}: {error}); build it again")


def _bundle(folder: Path, data: str | None) -> Iterator[Check]:
    manifest, checks = manifest_of(folder)
    yield from checks
    if manifest is None:
        return
    yield from bundle_checks(folder, manifest)
    if data is None:
        yield Check("figures", None, "name the data with --data NAME|PATH")
    elif MODEL_FILE in file_faults(folder, manifest):
        yield Check("figures", None, f"{MODEL_FILE} is not the file that was bundled")
    else:
        val = {"val": manifest["figures"]["val"]} if "val" in manifest["figures"] else {}
        stated = figures.Stated(folder / MODEL_FILE, {**val, "test": manifest["figures"]}, shipped=True)
        told = figures.Told(manifest["data"]["sha256"], list(manifest["labels"]), {"bundle": stated}, Verify(), None)
        yield from figures.figure_checks(told, _data_of_bundle(manifest, data))


def _data_at_hand(path: Path, data: str | None) -> Data | None:
    """The data of a run or a bundle, where it can be had without a download and its document can be read."""
    if (path / MANIFEST_FILE).exists():
        manifest, _ = manifest_of(path)
        return None if data is None or manifest is None else _data_of_bundle(manifest, data)
    try:
        config = api.load_recipe(str(path / "recipe.toml"), data=data).data
    except RecipeError:
        return None
    return config if data is not None or figures.available(config) is None else None


def _data_of_bundle(manifest: Mapping[str, Any], data: str) -> Data:
    """How the bundle takes images, from the data that is named. Of a known data set a path is its file."""
    from edgekd.data import DATASETS

    task, name = manifest.get("task", "auto"), manifest["data"]["name"]
    rule = manifest["preprocessing"]
    changes = {"data.image_size": rule["size"], "data.resize": rule["resize"]}
    changes |= {"data.task": task} if task in ("multi-class", "ordinal", "multi-label") else {}
    changes |= {"data.name": name} if name in DATASETS else {}
    return api.load_recipe("default", data=data, overrides=changes).data


def _run(run: Path, data: str | None) -> Iterator[Check]:
    document, checks = report_of(run)
    yield from checks
    folder = run / "bundle"
    manifest: Mapping[str, Any] | None = None
    if folder.is_dir():
        manifest, checks = manifest_of(folder)
        yield from checks
        if manifest is not None:
            yield from _guarded("bundle", bundle_checks(folder, manifest))
    else:
        yield Check("bundle", False, "the run has no bundle; build it again")
    if document is None:
        return
    intact = intact_models(run, document)
    yield from _guarded("report", report_checks(run, document, intact))
    yield from _guarded("scores", score_checks(run, document))
    yield from _guarded("npu", npu_checks(run, document))
    yield from _guarded("serving", serving_checks(run, document))
    if manifest is not None:
        yield from _guarded("bundle", bundle_agrees(document, manifest))
    yield from _guarded("figures", _figures(run, document, intact, data))


def _figures(run: Path, document: Mapping[str, Any], intact: Mapping[str, Path], data: str | None) -> Iterator[Check]:
    try:
        recipe = api.load_recipe(str(run / "recipe.toml"), data=data)
    except RecipeError as error:
        yield Check("figures", None, f"the recipe of the run cannot be read: {error}")
        return
    reason = None if data is not None else figures.available(recipe.data)
    if reason is not None:
        yield Check("figures", None, reason)
        return
    models = {}
    for row in document["models"]:
        if row["role"] == "teacher" and document.get("given_teacher"):
            yield Check(f"figures of {row['id']}", None, "a teacher's file takes images in its own way")
        elif row["id"] not in intact:
            yield Check(f"figures of {row['id']}", None, "its file is not the one that was measured")
        else:
            stated = {split: row[split] for split in figures.SPLITS}
            models[row["id"]] = figures.Stated(intact[row["id"]], stated, row["shipped"])
    dataset = document["dataset"]
    told = figures.Told(dataset["sha256"], list(dataset["class_names"]), models, recipe.verify, document)
    try:
        yield from figures.figure_checks(told, recipe.data)
    except DataError as error:
        if data is not None:
            raise
        yield Check("figures", None, str(error))
