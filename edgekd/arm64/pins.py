"""What the user land is made of: names, versions and digests, as data (``pins.toml``)."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from importlib import resources

from edgekd.artifact import digest_json


@dataclass(frozen=True)
class Pin:
    """One file.

    Attributes:
        kind: ``package`` (Debian, arm64) or ``wheel`` (aarch64, or for any machine).
        name, version: in the names of its registry.
        sha256: of the file.
    """

    kind: str
    name: str
    version: str
    sha256: str

    @property
    def title(self) -> str:
        """As messages call it."""
        return f"{self.name} {self.version}"


def pins() -> tuple[Pin, ...]:
    """Those of this edgekd."""
    table = tomllib.loads((resources.files("edgekd.arm64") / "pins.toml").read_text(encoding="utf-8"))
    return tuple(Pin(kind=kind, **row) for kind in ("package", "wheel") for row in table[kind])


def digest(wanted: tuple[Pin, ...]) -> str:
    """One name for a set of pins: another pin is another user land."""
    return digest_json([asdict(pin) for pin in wanted])[:16]
