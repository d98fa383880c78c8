"""Content-addressed store of stage artifacts: equal work is done once, and nothing half-made is ever read.

The key is the SHA-256 of the canonical JSON of everything that the result depends on: the stage, its configuration, the
digests of its inputs, the versions of the libraries that matter, and the code itself (:func:`code_digest`). An entry is
written to a sibling temporary folder and renamed, so that a kill leaves either nothing or all of it; there is no lock.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekd.artifact import Artifact, digest_folder, digest_json, read_json, sha256_file, write_json
from edgekd.errors import OutputError, writing_to

logger = logging.getLogger("edgekd")

_REMEDY = "free space there, or name another cache folder with --cache-dir. What is finished is kept"

DIGEST_FILE = "digest.json"
ORIGIN_FILE = "origin.json"
"""Beside the artifact, and no part of it: which stage and recipe made it, when, in how many seconds, on what."""
WORK = "work"
PACKAGES = (
    "ai-edge-litert",
    "numpy",
    "pillow",
    "scikit-learn",
    "scipy",
    "tensorflow",
    "tensorflow-model-optimization",
    "tf-keras",
)


@dataclass(frozen=True)
class StageRecord:
    """What became of a stage in this run."""

    name: str
    key: str
    cached: bool
    seconds: float


class Cache:
    """The store below one folder: ``<key[:2]>/<key>/artifact/`` and, for checkpoints, ``work/<key>/``."""

    def __init__(self, root: Path):
        self.root = root

    def run(
        self,
        name: str,
        make: Callable[[Path, Path], Artifact],
        ingredients: Mapping[str, Any],
        origin: Callable[[Artifact], Mapping[str, Any]] = lambda made: {},
    ) -> tuple[Artifact, StageRecord]:
        """Return the artifact of a stage, from the store or by making it; see :meth:`find` and :meth:`make`."""
        return self.find(name, ingredients) or self.make(name, make, ingredients, origin)

    def find(self, name: str, ingredients: Mapping[str, Any]) -> tuple[Artifact, StageRecord] | None:
        """Return the stored artifact of a stage; None where there is none, or a broken one, which is removed.

        Args:
            name: of the stage.
            ingredients: all that the result depends on, as JSON.
        """
        started = time.monotonic()
        key = _key(name, ingredients)
        found = self._read(name, key)
        return None if found is None else (found, StageRecord(name, key, True, time.monotonic() - started))

    def make(
        self,
        name: str,
        make: Callable[[Path, Path], Artifact],
        ingredients: Mapping[str, Any],
        origin: Callable[[Artifact], Mapping[str, Any]] = lambda made: {},
    ) -> tuple[Artifact, StageRecord]:
        """Make the artifact of a stage and store it.

        Args:
            name: of the stage.
            make: called with a new output folder and a work folder for checkpoints that outlives a kill.
            ingredients: all that the result depends on, as JSON.
            origin: called with what was made; what is to be remembered of how it came about, beside name, time and
                seconds. Nothing reads it to decide what a result is.

        Raises:
            OutputError: the store cannot be written.
        """
        started = time.monotonic()
        key = _key(name, ingredients)
        work = self.work(name, ingredients)
        resumed = work.is_dir() and any(work.iterdir())
        with writing_to(self.root, _REMEDY):
            work.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f"{key[:8]}-", dir=self.root / WORK))
        try:
            with writing_to(self.root, _REMEDY):
                made = make(temporary, work)
                seconds = time.monotonic() - started
                facts = {"stage": name, "time": round(time.time()), "seconds": seconds, "resumed": resumed}
                artifact = self._publish(key, temporary, {**facts, **origin(made)})
        except OutputError:
            # Another process that made the same was first, and took the work folder away with it.
            found = self._read(name, key)
            if found is None:
                raise
            return found, StageRecord(name, key, True, time.monotonic() - started)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
        return artifact, StageRecord(name, key, False, time.monotonic() - started)

    def work(self, name: str, ingredients: Mapping[str, Any]) -> Path:
        """The folder of a stage's checkpoints."""
        return self.root / WORK / _key(name, ingredients)

    def has(self, name: str, ingredients: Mapping[str, Any]) -> bool:
        """Whether the store holds the artifact (its digest is not checked)."""
        return self._folder(_key(name, ingredients)).exists()

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    def _read(self, name: str, key: str) -> Artifact | None:
        """Return the stored artifact; None where there is none, or a broken one, which is removed with a warning."""
        folder = self._folder(key)
        if not folder.exists():
            return None
        try:
            artifact = Artifact.open(folder / "artifact")
            if artifact.digest == read_json(folder / DIGEST_FILE)["digest"]:
                with contextlib.suppress(OSError):  # a cache that may only be read
                    os.utime(folder)  # when it was last of use
                return artifact
            problem = "its files are not those that were written"
        except (OSError, ValueError, KeyError) as error:
            problem = str(error)
        logger.warning(f"cache entry of stage {name} is broken and is built anew: {problem}")
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def _publish(self, key: str, temporary: Path, origin: Mapping[str, Any]) -> Artifact:
        """Move a finished folder into place; where another process was first, its entry is kept."""
        entry = temporary.with_name(temporary.name + "-entry")
        entry.mkdir()
        try:
            temporary.replace(entry / "artifact")
            write_json(entry / DIGEST_FILE, {"digest": digest_folder(entry / "artifact")})
            write_json(entry / ORIGIN_FILE, dict(origin))
            for path in entry.rglob("*"):
                if path.is_file():
                    _fsync(path)
            final = self._folder(key)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                entry.rename(final)
            except OSError:
                if not final.is_dir():
                    raise
            return Artifact.open(final / "artifact")
        finally:
            shutil.rmtree(entry, ignore_errors=True)


def _key(name: str, ingredients: Mapping[str, Any]) -> str:
    return digest_json({"stage": name, **ingredients})


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def default_root() -> Path:
    """``EDGEKD_CACHE_DIR``, or the platform's cache folder of this user."""
    if named := os.environ.get("EDGEKD_CACHE_DIR"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgekd"))


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    return {package: version(package) for package in PACKAGES}


@functools.cache
def code_digest(module: str) -> str:
    """SHA-256 over the syntax trees of a module and of every edgekd module it imports, directly or not.

    Comments, docstrings and layout do not count: what cannot change a result does not throw it away.
    """
    modules: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        tree = _syntax_tree(name)
        modules[name] = ast.dump(_without_docstrings(tree))
        waiting += imported_modules(name, tree)
    return digest_json(modules)


def plugin_digest(function: Callable[..., Any]) -> str | None:
    """SHA-256 over the Python files of another package from which a function comes; None for one of our own."""
    name = function.__module__.split(".")[0]
    if name == "edgekd":
        return None
    package = sys.modules[name]
    folders = [Path(folder) for folder in getattr(package, "__path__", [])]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))] or [Path(package.__file__ or "")]
    return digest_json([sha256_file(path) for path in files])


def imported_modules(name: str, tree: ast.Module) -> list[str]:
    """Names of the edgekd modules that a syntax tree imports anywhere, packages' ``__init__`` included.

    What is imported for the type checker alone does not count: it is never run.
    """
    found = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return sorted(part for part in found if part.split(".")[0] == "edgekd" and part != name and _is_module(part))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # "edgekd.errors.DataError": the parent is no package
        return False


def _syntax_tree(name: str) -> ast.Module:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree
