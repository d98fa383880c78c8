"""Check a bundle on this machine, and lay it into an Android project's assets. Needs no tensorflow."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgekd._litert import KERNELS
from edgekd.artifact import sha256_file
from edgekd.errors import DataError, ModelError, OutputError, UserError, writing_to
from edgekd.manifest import MANIFEST_FILE, MODEL_FILE, parse_golden
from edgekd.run_folder import is_run
from edgekd.runtime import LoadedBundle, load_bundle

ASSETS = Path("app/src/main/assets/edgekd")
# A folder that begins with a dot is left out of the app, should a kill leave it behind.
_STAGING = ".edgekd-staging-"
_REMEDY = "free space or make the folder writable, then run the same command again"
_BUILD_FILES = ("app/build.gradle.kts", "app/build.gradle")
_PROJECT_FILES = (*_BUILD_FILES, "app/src/main/AndroidManifest.xml")


@dataclass(frozen=True)
class Laid:
    """What :func:`lay_into` did.

    Attributes:
        path: the folder of the bundle inside the project.
        replaced: name of the recipe of the bundle that was there before, or None.
        unchanged: whether the very same files lay there already, so that nothing was written.
        keeps_model_mappable: whether the app's build file says that .tflite files stay uncompressed.
    """

    path: Path
    replaced: str | None
    unchanged: bool
    keeps_model_mappable: bool


def find_bundle(path: Path) -> Path:
    """The bundle of a run, or the bundle that ``path`` is itself.

    Raises:
        UserError: neither a run nor a bundle, or a run that stopped before its bundle was written.
    """
    if (path / MANIFEST_FILE).exists():
        return path
    if not path.exists():
        raise UserError(f'"{path}": no such folder; name a run folder of edgekd build, or a bundle folder')
    if not is_run(path):
        raise UserError(f'"{path}" is neither an edgekd run nor a bundle; name the --out folder of edgekd build')
    if not (path / "bundle").is_dir():
        raise UserError(
            f'run "{path}" has no bundle: it stopped before; run the same edgekd build again without --until '
            "(finished stages are kept)"
        )
    return path / "bundle"


def check_bundle(folder: Path) -> LoadedBundle:
    """Check digests, tensors and labels, and run the self-test with all three kernels of LiteRT.

    In a run folder the model must also be the file that the report's figures are about.

    Raises:
        DataError: a missing, extra or changed file, or a manifest that cannot be used.
        ModelError: a model that is not the one that was measured, or that gives other answers than it must.
    """
    bundle = load_bundle(folder)
    _check_against_report(bundle)
    for kernel in KERNELS:
        failures = bundle.self_test(kernel)  # type: ignore[arg-type]
        if failures:
            more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
            raise ModelError(
                f'bundle "{folder}" fails its self-test with the {kernel} kernels: {failures[0]}{more}; build it again'
            )
    return bundle


def describe(bundle: LoadedBundle) -> list[str]:
    """What a bundle holds, in lines for people."""
    manifest = bundle.manifest
    sizes = {row["path"]: row["bytes"] for row in manifest["files"]}
    golden = parse_golden((bundle.path / manifest["golden"]).read_bytes(), manifest, str(bundle.path))
    side, labels = manifest["preprocessing"]["size"], manifest["labels"]
    takes, gives = manifest["input"]["dtype"], manifest["output"]["meaning"]
    shown = ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
    source, figures, task = manifest["golden_source"], manifest["figures"], bundle.task
    kind = "made, no patient's images"
    if source["kind"] != "made":
        kind = f"images of {source.get('split')} under {source.get('licence')}"
    answers = f"independent {gives}" if task.several else gives
    lines = [
        f"model: {MODEL_FILE}, {sizes[MODEL_FILE]:,} bytes; {side} x {side} RGB in as {takes}, "
        f"{len(labels)} {answers} out",
        f"labels: {shown}",
        f"goldens: {len(golden['vectors'])} inputs ({kind}) and {len(golden['pictures'])} pictures",
        f"measured: {task.accuracy_title} {figures[task.accuracy]:.3f} on {figures['dataset']}, {figures['split']} "
        f"split, n = {figures['n']}, seed {manifest.get('seed')}",
        f"licence of the data: {manifest['data']['licence'] or 'not stated'}",
        f"intended use: {manifest['intended_use']}",
    ]
    if "onnx" in manifest:
        lines.append(f"ONNX: {manifest['onnx']['path']}, {sizes[manifest['onnx']['path']]:,} bytes")
    return lines


def lay_into(bundle: LoadedBundle, project: Path) -> Laid:
    """Copy a checked bundle into the assets of an Android project, byte for byte.

    The new folder is prepared beside the old one and takes its place at the end; nothing else is touched.

    Raises:
        UserError: no Android project, or a bundle that was built for a target without Android.
        OutputError: the place holds something else than a bundle, or cannot be written.
    """
    if (dtype := bundle.manifest["input"]["dtype"]) != "uint8":
        raise UserError(
            f'bundle "{bundle.path}" takes {dtype}: it was built for a microcontroller or an NPU, and the app feeds '
            "uint8; build with --target host-as-phone-1t"
        )
    if not any((project / name).is_file() for name in _PROJECT_FILES):
        raise UserError(
            f'"{project}" is not an Android project: it has none of {", ".join(_PROJECT_FILES)}; name the folder that '
            "Android Studio opens, android_demo for one"
        )
    target = project / ASSETS
    names = [MANIFEST_FILE, *(row["path"] for row in bundle.manifest["files"])]
    former = _former_bundle(target)
    build_files = [project / name for name in _BUILD_FILES if (project / name).is_file()]
    mappable = any("noCompress" in file.read_text(encoding="utf-8", errors="replace") for file in build_files)
    if former is not None and _same(bundle.path, target, names):
        return Laid(target, former, unchanged=True, keeps_model_mappable=mappable)
    with writing_to(target.parent, _REMEDY):
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f"{_STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=target.parent))
        try:
            _copy(bundle.path, staging / "new", names)
            _swap(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return Laid(target, former, unchanged=False, keeps_model_mappable=mappable)


def next_steps(bundle: LoadedBundle, laid: Laid, project: Path) -> list[str]:
    """What was done and what is left to do in Android Studio, in lines for people."""
    size = (sum(row["bytes"] for row in bundle.manifest["files"]) + (laid.path / MANIFEST_FILE).stat().st_size) / 1024
    files = f"{len(bundle.manifest['files']) + 1} files, {size:,.0f} KiB"
    if laid.unchanged:
        lines = [f"{laid.path} holds these very files already ({files}); nothing was written"]
    else:
        instead = f', in the place of the bundle of recipe "{laid.replaced}"' if laid.replaced else ""
        lines = [f"laid into {laid.path}: {files}{instead}"]
    if not laid.keeps_model_mappable:
        lines.append(
            'note: no build file of the app says noCompress; add androidResources { noCompress += "tflite" } to its '
            "android block, so that the model can be mapped"
        )
    lines += [
        f'next: open "{project}" in Android Studio, choose a phone, and press Run',
        "      the app runs the same goldens before it classifies; its self-test must pass",
    ]
    return lines


def _check_against_report(bundle: LoadedBundle) -> None:
    run = bundle.path.parent
    report = run / "report.json"
    if not is_run(run) or not report.is_file():
        return
    try:
        shipped = [row["sha256"] for row in json.loads(report.read_bytes())["models"] if row["shipped"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'"{report}" cannot be read ({error}); build the run again') from None
    if sha256_file(bundle.path / MODEL_FILE) not in shipped:
        raise ModelError(
            f'bundle "{bundle.path}": {MODEL_FILE} is not the model that {report.name} measured; build the run again'
        )


def _former_bundle(target: Path) -> str | None:
    """Name of the recipe of the bundle at ``target``; None where there is nothing. Raise where there is more."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f'"{target}" is no folder and is left alone; move it away')
    found = sorted(path for path in target.rglob("*") if path.is_symlink() or not path.is_dir())
    if not found:
        return None
    try:
        manifest = json.loads((target / MANIFEST_FILE).read_bytes())
        known = {MANIFEST_FILE, *(row["path"] for row in manifest["files"])}
        recipe = str(manifest.get("recipe") or "unknown")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OutputError(
            f'"{target}" holds {found[0].relative_to(target).as_posix()} and no edgekd bundle; it is left alone, '
            "move it away"
        ) from None
    for path in found:
        name = path.relative_to(target).as_posix()
        if name not in known or path.is_symlink():
            raise OutputError(
                f'"{target}" holds {name}, which is no part of the edgekd bundle there; it is left alone, move it away'
            )
    return recipe


def _same(source: Path, target: Path, names: list[str]) -> bool:
    there = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    return there == set(names) and all(sha256_file(source / name) == sha256_file(target / name) for name in names)


def _copy(source: Path, target: Path, names: list[str]) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    if not _same(source, target, names):
        raise OutputError(f'"{source}" changed while it was copied; nothing was replaced, run the same command again')


def _swap(staging: Path, target: Path) -> None:
    """Put ``staging/new`` in the place of ``target``; where that fails, the old folder is back in its place."""
    if not target.exists():
        (staging / "new").replace(target)
        return
    target.replace(staging / "old")
    try:
        (staging / "new").replace(target)
    except BaseException:
        (staging / "old").replace(target)
        raise
