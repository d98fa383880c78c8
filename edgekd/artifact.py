"""What one stage hands to the next: a folder, the digest of its files, and a few facts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FACTS_FILE = "facts.json"


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: Path) -> str:
    """SHA-256 over the sorted ``relative name NUL sha256 LF`` lines of every file below ``folder``."""
    lines = [
        f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_json(value: Any) -> str:
    """SHA-256 of :func:`canonical_json`, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, ending in a newline; the file is replaced in one step."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Artifact:
    """A finished folder that nobody changes any more.

    Attributes:
        path: the folder.
        digest: ``digest_folder(path)``; what the next stage's cache key is made of.
        facts: the small JSON object that the stage left in ``facts.json`` (figures, names, provenance).
    """

    path: Path
    digest: str
    facts: Mapping[str, Any]

    @classmethod
    def seal(cls, path: Path, facts: Mapping[str, Any]) -> Artifact:
        """Write ``facts`` into the folder, digest it and return the artifact. Facts hold no time of day."""
        write_json(path / FACTS_FILE, dict(facts))
        return cls(path, digest_folder(path), dict(facts))

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Read a sealed folder back, digesting its files anew."""
        return cls(path, digest_folder(path), read_json(path / FACTS_FILE))
